"""The HTML report of a study, from the comparison of methods to the provenance of the figures."""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from multitudes.atomic import write_text
from multitudes.report import study_figures as figures
from multitudes.report import study_sentences as sentences
from multitudes.report import study_tables as tables
from multitudes.report.formatting import SYSTEM_MEANINGS, format_number
from multitudes.report.html_elements import figure, figure_row, html_document
from multitudes.report.kinds_table import study_kinds_table

_SECTIONS = {
    "data": "Data set by data set",
    "overall": "Ranking across data sets",
    "curves": "Hit rate against budget",
    "segments": "By segment",
    "health": "Diversity and interest health",
    "costs": "Costs",
    "record": "How the study was run",
}


def write_study_page(summary: dict[str, Any], out: Path) -> None:
    """Write the report of a study's summary atomically to ``out``."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, study_page(summary))


def study_page(summary: dict[str, Any]) -> str:
    """Return the page. All its figures come from the summary."""
    styles = _method_styles(summary)
    bodies = {
        "data": "".join(
            _data_set_section(name, data_set, summary["reference"]) for name, data_set in summary["data"].items()
        ),
        "overall": _overall_section(summary),
        "curves": "".join(
            _budgets_section(name, data_set, summary["reference"], styles) for name, data_set in summary["data"].items()
        ),
        "segments": _segments_section(summary, styles),
        "health": "".join(_health_section(name, data_set, summary) for name, data_set in summary["data"].items()),
        "costs": "".join(_costs_section(name, data_set, summary) for name, data_set in summary["data"].items()),
        "record": _provenance_section(summary),
    }
    links = "".join(f'<a href="#{key}">{_SECTIONS[key]}</a>' for key, body in bodies.items() if body)
    sections = "".join(f'<h2 id="{key}">{_SECTIONS[key]}</h2>\n{body}\n' for key, body in bodies.items() if body)
    return html_document(str(summary["name"]), f"{_header(summary)}\n<nav>{links}</nav>\n{sections}", "study.css")


def _method_styles(summary: dict[str, Any]) -> figures.MethodStyles:
    """Return the styles of the methods in figures: the reference first, so its style is stable; popularity last."""
    methods = [
        m for data_set in summary["data"].values() for m, v in data_set["methods"].items() if v["role"] == "method"
    ]
    popularity = [m for data_set in summary["data"].values() for m in data_set["methods"] if m == "popularity"]
    first = [summary["reference"]] if summary["reference"] in methods else []
    ordered = dict.fromkeys([*first, *methods, *popularity])
    return figures.MethodStyles({method: position for position, method in enumerate(ordered)})


def _header(summary: dict[str, Any]) -> str:
    seeds = ", ".join(map(str, summary["seeds"]))
    headlines = "".join(f"<p class=headline>{escape(line)}</p>\n" for line in sentences.headlines(summary))
    failed = f"Failed cells: {len(summary['failed'])}; see"
    note = f'<p class=note>{failed} <a href="#record">{_SECTIONS["record"]}</a>.</p>\n' if summary["failed"] else ""
    return (
        f"<h1>{escape(str(summary['name']))}</h1>\n<p class=soft>"
        f"{sentences.count_data_sets(len(summary['data']))} · seeds {seeds} · {sentences.describe_split(summary)}</p>\n"
        f"{headlines}{note}<p class=soft>{escape(sentences.explain_verdicts(summary))}</p>"
    )


def _data_set_section(name: str, data_set: dict[str, Any], reference: str) -> str:
    """Return the tables and the figure of one data set."""
    chart = figures.difference_chart(data_set, reference)
    caption = (
        f"Difference of each method to {reference}, with 95 % intervals. The table above has the verdicts on controls."
    )
    strongest = sentences.describe_strongest_baseline(data_set)
    blocks = [
        f"<h3>{escape(name)}</h3>",
        f"<p class=soft>{sentences.describe_data(data_set)}</p>",
        f"<p>{escape(strongest)}</p>" if strongest else "",
        _note("" if reference in data_set["methods"] else f"The reference {reference} has no figure here."),
        tables.methods_table(data_set, reference, tables.row_order(data_set)),
        _with_title("Do interests matter?", tables.controls_table(data_set, reference)),
        figure(chart, caption),
        _with_title(
            "Other controls: the same models, queried differently", tables.other_controls_table(data_set, reference)
        ),
        _with_title("All targets, including repeats", tables.all_targets_table(data_set)),
    ]
    return "\n".join(block for block in blocks if block)


def _overall_section(summary: dict[str, Any]) -> str:
    overall = summary["overall"]
    conclusion, left_out = sentences.conclusion(overall, summary["level"]), ", ".join(overall["left_out"])
    chart = figures.critical_difference_diagram(overall)
    caption = (
        "Average rank over the data sets; a bar joins methods without a significant difference between any two"
        " (Wilcoxon's signed-rank test, exact, with Holm's correction over the pairs)."
    )
    blocks = [
        tables.wins_table(summary),
        f"<p>{escape(conclusion)}</p>" if overall["enough"] else _note(conclusion),
        f"<p class=soft>Not ranked, because not on every data set: {escape(left_out)}.</p>" if left_out else "",
        figure(chart, caption),
    ]
    return "\n".join(block for block in blocks if block)


def _budgets_section(name: str, data_set: dict[str, Any], reference: str, styles: figures.MethodStyles) -> str:
    gains = f"The same relative to {reference}, in percent, with 95 % intervals."
    charts = figure_row(
        [
            (
                figures.budget_chart(data_set, styles),
                "Hit rate against the number of candidates; both axes logarithmic.",
            ),
            (figures.gain_by_budget_chart(data_set, reference, styles), gains),
        ]
    )
    return _keep_together(name, charts) if charts else ""


def _segments_section(summary: dict[str, Any], styles: figures.MethodStyles) -> str:
    rows = {
        name: figure_row(
            (chart, f"By {title}; number of targets in brackets.")
            for title, chart in figures.segment_charts(data_set, summary["reference"], styles)
        )
        for name, data_set in summary["data"].items()
    }
    blocks = {name: f"{row}\n{study_kinds_table(summary['data'][name])}".strip() for name, row in rows.items()}
    charts = "\n".join(_keep_together(name, block) for name, block in blocks.items() if block)
    about = (
        f"Differences to {summary['reference']} with 95 % intervals. They show where a gain comes from and have"
        f" no verdicts; segments of fewer than {summary['fewest_users']} users are left out."
    )
    return f"<p class=soft>{escape(about)}</p>\n{charts}" if charts else ""


def _health_section(name: str, data_set: dict[str, Any], summary: dict[str, Any]) -> str:
    health = summary["health"].get(name, {})
    sources = figure(figures.source_chart(health), "Share of hits by kind of vector; mean over seeds.")
    return f"<h3>{escape(name)}</h3>\n{tables.diversity_table(data_set)}\n{tables.health_table(health)}\n{sources}"


def _costs_section(name: str, data_set: dict[str, Any], summary: dict[str, Any]) -> str:
    costs = summary["costs"].get(name, {})
    return _keep_together(name, tables.costs_table(costs, data_set)) if costs else ""


def _keep_together(name: str, body: str) -> str:
    """Return a section that a printed page does not split."""
    return f"<section class=unbroken>\n<h3>{escape(name)}</h3>\n{body}\n</section>\n"


def _with_title(title: str, body: str) -> str:
    return f"<h4>{escape(title)}</h4>\n{body}" if body else ""


def _note(text: str) -> str:
    return f"<p class=note>{escape(text)}</p>" if text else ""


def _provenance_section(summary: dict[str, Any]) -> str:
    """Return the section on tuning, settings, failures, machine and terms."""
    blocks = {
        "Tuning, on validation": _tuning_table(summary["tuning"] or []),
        "Other settings that differ from the defaults": _settings_table(summary["chosen"]),
        "Failed": _failures_table(summary["failed"]),
        "Machine and versions": _provenance_list(summary),
        "Terms": _glossary(summary["data"]),
    }
    return "\n".join(f"<h3>{title}</h3>\n{body}" for title, body in blocks.items() if body)


def format_settings(values: dict[str, Any]) -> str:
    """Return ``train.learning_rate = 0.001, model.dropout = 0.2``."""
    return ", ".join(f"{key} = {f'{v:.4g}' if isinstance(v, float) else v}" for key, v in values.items())


def _tuning_table(tuning: list[dict[str, Any]]) -> str:
    """Return the trials, their scores and the best settings of each method on each data set."""
    if not any(search["trials"] for search in tuning):
        return "<p>No tuning: each method ran with the settings of the study file.</p>"
    rows = []
    for search in tuning:
        scores = [trial["score"] for trial in search["trials"] if trial["score"] is not None]
        spread = f"{format_number(min(scores))}–{format_number(max(scores))}" if scores else "–"
        space = sorted({key for trial in search["trials"] for key in trial["settings"]})
        numbers = [f"<td class=number>{text}</td>" for text in (len(search["trials"]), spread)]
        where = [f"<td>{escape(search[key])}</td>" for key in ("data", "method")]
        rows.append(("", [*where, *numbers, _code_cell(", ".join(space)), _code_cell(format_settings(search["best"]))]))
    return tables.html_table(
        ["data", "method", "trials", "scores", "search space", "best settings"], rows, numbers_from=6
    )


def _settings_table(chosen: dict[str, Any]) -> str:
    """Return each method's settings except the tuned ones; once if they are the same on all data sets."""
    unique = {
        (
            method,
            format_settings(
                {key: value for key, value in (own["settings"] or {}).items() if key not in (own["tuned"] or {})}
            ),
        ): None
        for methods in chosen.values()
        for method, own in methods.items()
    }
    rows = [("", [f"<td>{escape(method)}</td>", _code_cell(text)]) for method, text in unique]
    return tables.html_table(["method", "settings"], rows, numbers_from=2) if rows else ""


def _failures_table(failed: list[dict[str, Any]]) -> str:
    """Return the failed cells with their errors."""
    if not failed:
        return "<p>Nothing failed.</p>"
    keys = ["data", "method", "seed", "error"]
    rows = [("", [f"<td>{escape(str(cell[key]))}</td>" for key in keys]) for cell in failed]
    return tables.html_table(keys, rows, numbers_from=4)


def _provenance_list(summary: dict[str, Any]) -> str:
    seeds = ", ".join(map(str, summary["seeds"]))
    study = {
        "split": summary["split"],
        "test set accessed": sentences.count_times(summary["opened_test"]),
        "seeds": seeds,
    }
    study["resamples of users"] = ", ".join(f"{n:,} for {what}" for what, n in summary["resamples"].items())
    return _definition_list((study | (summary["machine"] or {}) | (summary["versions"] or {})).items())


def _glossary(data: dict[str, Any]) -> str:
    """Return the meaning of the controls and baselines in this study; it names its methods itself."""
    systems = [
        name.rpartition("/")[2]
        for data_set in data.values()
        for name, v in data_set["methods"].items()
        if v["role"] != "method"
    ]
    return _definition_list(
        (system, SYSTEM_MEANINGS[system]) for system in dict.fromkeys(systems) if system in SYSTEM_MEANINGS
    )


def _definition_list(pairs: Iterable[tuple[str, Any]]) -> str:
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in pairs if v is not None)
    return f"<dl>{items}</dl>" if items else ""


def _code_cell(text: str) -> str:
    return f"<td class=wide><code>{escape(text) or '–'}</code></td>"
