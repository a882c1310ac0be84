"""What a study did, as HTML: what was tuned, what failed, on which machine, and what its words mean.

The report of a study: one HTML file, in the order in which a sceptic asks; no script, no network, no other file.
"""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from multitudes.atomic import write_text
from multitudes.report import study_figures as figures
from multitudes.report import study_sentences as words
from multitudes.report import study_tables as tables
from multitudes.report.formatting import SYSTEM_MEANINGS, format_number
from multitudes.report.html_elements import Chart, html_document, svg
from multitudes.report.study_figures import critical_difference_diagram
from multitudes.report.study_sentences import count_times
from multitudes.report.study_tables import html_table


def record_section(summary: dict[str, Any]) -> str:
    """Return the last section of the report."""
    parts = {
        "Tuning, on validation": _tuning(summary["tuning"] or []),
        "Other settings that are not the defaults": _settings(summary["chosen"]),
        "Failed": _failures(summary["failed"]),
        "Machine and versions": _facts(summary),
        "Words": _glossary(summary["data"]),
    }
    return "\n".join(f"<h3>{title}</h3>\n{body}" for title, body in parts.items() if body)


def format_settings(values: dict[str, Any]) -> str:
    """Return ``train.learning_rate = 0.001, model.dropout = 0.2``."""
    return ", ".join(f"{key} = {f'{v:.4g}' if isinstance(v, float) else v}" for key, v in values.items())


def _tuning(tuning: list[dict[str, Any]]) -> str:
    """Return what was tried for each method on each data set, and what was chosen, with the scores."""
    if not any(search["trials"] for search in tuning):
        return "<p>Nothing was tuned: every method ran with its own settings.</p>"
    rows = []
    for search in tuning:
        scores = [trial["score"] for trial in search["trials"] if trial["score"] is not None]
        spread = f"{format_number(min(scores))}–{format_number(max(scores))}" if scores else "–"
        over = sorted({key for trial in search["trials"] for key in trial["settings"]})
        numbers = [f"<td class=number>{text}</td>" for text in (len(search["trials"]), spread)]
        where = [f"<td>{escape(search[key])}</td>" for key in ("data", "method")]
        rows.append(("", [*where, *numbers, _code_cell(", ".join(over)), _code_cell(format_settings(search["best"]))]))
    return html_table(["data", "method", "trials", "scores", "over", "chosen"], rows, numbers_from=6)


def _settings(chosen: dict[str, Any]) -> str:
    """Return what each method was set to, but for what was tuned; once where it is the same on every data set."""
    found = {
        (
            method,
            format_settings(
                {key: value for key, value in (own["settings"] or {}).items() if key not in (own["tuned"] or {})}
            ),
        ): None
        for methods in chosen.values()
        for method, own in methods.items()
    }
    rows = [("", [f"<td>{escape(method)}</td>", _code_cell(text)]) for method, text in found]
    return html_table(["method", "settings"], rows, numbers_from=2) if rows else ""


def _failures(failed: list[dict[str, Any]]) -> str:
    """Return the cells that died, and of what."""
    if not failed:
        return "<p>Nothing failed.</p>"
    keys = ["data", "method", "seed", "error"]
    rows = [("", [f"<td>{escape(str(cell[key]))}</td>" for key in keys]) for cell in failed]
    return html_table(keys, rows, numbers_from=4)


def _facts(summary: dict[str, Any]) -> str:
    seeds = ", ".join(map(str, summary["seeds"]))
    study = {"split": summary["split"], "test was opened": count_times(summary["opened_test"]), "seeds": seeds}
    study["resamples of users"] = ", ".join(f"{n:,} for {what}" for what, n in summary["resamples"].items())
    return _definition_list((study | (summary["machine"] or {}) | (summary["versions"] or {})).items())


def _glossary(data: dict[str, Any]) -> str:
    """Return the meaning of the systems of this study; the names of its methods are its own."""
    systems = [
        name.rpartition("/")[2]
        for part in data.values()
        for name, v in part["methods"].items()
        if v["role"] != "method"
    ]
    return _definition_list(
        (system, SYSTEM_MEANINGS[system]) for system in dict.fromkeys(systems) if system in SYSTEM_MEANINGS
    )


def _definition_list(pairs: Iterable[tuple[str, Any]]) -> str:
    shown = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in pairs if v is not None)
    return f"<dl>{shown}</dl>" if shown else ""


def _code_cell(text: str) -> str:
    return f"<td class=wide><code>{escape(text) or '–'}</code></td>"


_SECTIONS = {
    "data": "Data set by data set",
    "overall": "Who wins overall",
    "curves": "Hit rate against budget",
    "segments": "For whom",
    "health": "Diversity, and health of the interests",
    "costs": "What it costs",
    "record": "What was done",
}


def write_study_page(summary: dict[str, Any], out: Path) -> None:
    """Write the report of a study's summary; the file appears whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, study_page(summary))


def study_page(summary: dict[str, Any]) -> str:
    """Return the page; every number in it comes from the summary."""
    look = _method_styles(summary)
    bodies = {
        "data": "".join(_data_set(name, part, summary["reference"]) for name, part in summary["data"].items()),
        "overall": _overall(summary),
        "curves": "".join(_curves(name, part, summary["reference"], look) for name, part in summary["data"].items()),
        "segments": _segments(summary, look),
        "health": "".join(_health(name, part, summary) for name, part in summary["data"].items()),
        "costs": "".join(_costs(name, part, summary) for name, part in summary["data"].items()),
        "record": record_section(summary),
    }
    links = "".join(f'<a href="#{key}">{_SECTIONS[key]}</a>' for key, body in bodies.items() if body)
    sections = "".join(f'<h2 id="{key}">{_SECTIONS[key]}</h2>\n{body}\n' for key, body in bodies.items() if body)
    return html_document(str(summary["name"]), f"{_head(summary)}\n<nav>{links}</nav>\n{sections}", "study.css")


def _method_styles(summary: dict[str, Any]) -> figures.MethodStyles:
    """Return the look of the methods that figures show: the reference first, so that it stays; popularity last."""
    found = [m for part in summary["data"].values() for m, v in part["methods"].items() if v["role"] == "method"]
    popularity = [m for part in summary["data"].values() for m in part["methods"] if m == "popularity"]
    first = [summary["reference"]] if summary["reference"] in found else []
    shown = dict.fromkeys([*first, *found, *popularity])
    return figures.MethodStyles({method: place for place, method in enumerate(shown)})


def _head(summary: dict[str, Any]) -> str:
    seeds = ", ".join(map(str, summary["seeds"]))
    said = "".join(f"<p class=headline>{escape(sentence)}</p>\n" for sentence in words.headlines(summary))
    failed = f"Cells that failed: {len(summary['failed'])}; they are named under"
    note = f'<p class=note>{failed} <a href="#record">{_SECTIONS["record"]}</a>.</p>\n' if summary["failed"] else ""
    return (
        f"<h1>{escape(str(summary['name']))}</h1>\n<p class=soft>"
        f"{words.count_data_sets(len(summary['data']))} · seeds {seeds} · {words.describe_split(summary)}</p>\n"
        f"{said}{note}<p class=soft>{escape(words.explain_verdicts(summary))}</p>"
    )


def _data_set(name: str, part: dict[str, Any], reference: str) -> str:
    """Return the tables and the picture of one data set."""
    chart = figures.difference_chart(part, reference)
    caption = f"What each gains over {reference}, with 95 % intervals. Controls are judged in the table above."
    blocks = [
        f"<h3>{escape(name)}</h3>",
        f"<p class=soft>{words.describe_data(part)}</p>",
        _note("" if reference in part["methods"] else f"{reference}, the reference, has no figure here."),
        tables.methods_table(part, reference, tables.row_order(part)),
        _with_title("Have interests won?", tables.controls_table(part, reference)),
        _figure(chart, caption) if chart else "",
        _with_title("The same models, asked otherwise", tables.other_controls_table(part, reference)),
        _with_title("All targets, repeats too", tables.all_targets_table(part)),
    ]
    return "\n".join(block for block in blocks if block)


def _overall(summary: dict[str, Any]) -> str:
    found = summary["overall"]
    said, left_out = words.conclusion(found, summary["level"]), ", ".join(found["left_out"])
    chart = critical_difference_diagram(found)
    caption = (
        "Average rank over the data sets; a bar joins methods of which no pair is told apart (Wilcoxon's signed-rank"
        " test, exact, with Holm's correction over the pairs)."
    )
    blocks = [
        tables.wins_table(summary),
        f"<p>{escape(said)}</p>" if found["enough"] else _note(said),
        f"<p class=soft>Not ranked, since not on every data set: {escape(left_out)}.</p>" if left_out else "",
        _figure(chart, caption) if chart else "",
    ]
    return "\n".join(block for block in blocks if block)


def _curves(name: str, part: dict[str, Any], reference: str, look: figures.MethodStyles) -> str:
    gains = f"The same beside {reference}, in per cent, with 95 % intervals."
    drawn = _figure_row(
        [
            (figures.budget_chart(part, look), "Hit rate against the number of candidates; both axes logarithmic."),
            (figures.gain_by_budget_chart(part, reference, look), gains),
        ]
    )
    return _keep_together(name, drawn) if drawn else ""


def _segments(summary: dict[str, Any], look: figures.MethodStyles) -> str:
    rows = {
        name: _figure_row(
            (chart, f"By {title}; in brackets the targets.")
            for title, chart in figures.segment_charts(part, summary["reference"], look)
        )
        for name, part in summary["data"].items()
    }
    drawn = "\n".join(_keep_together(name, row) for name, row in rows.items() if row)
    about = (
        f"Differences to {summary['reference']} with 95 % intervals. They show where a gain comes from and are not"
        f" judged one by one; segments of fewer than {summary['fewest_users']} users are left out."
    )
    return f"<p class=soft>{escape(about)}</p>\n{drawn}" if drawn else ""


def _health(name: str, part: dict[str, Any], summary: dict[str, Any]) -> str:
    health = summary["health"].get(name, {})
    chart = figures.source_chart(health)
    drawn = _figure(chart, "Which vectors bring the hits; mean over seeds.") if chart else ""
    return f"<h3>{escape(name)}</h3>\n{tables.diversity_table(part)}\n{tables.health_table(health)}\n{drawn}"


def _costs(name: str, part: dict[str, Any], summary: dict[str, Any]) -> str:
    costs = summary["costs"].get(name, {})
    return _keep_together(name, tables.costs_table(costs, part)) if costs else ""


def _figure_row(charts: Iterable[tuple[Chart | None, str]]) -> str:
    drawn = "".join(_figure(chart, caption) for chart, caption in charts if chart is not None)
    return f'<div class="row">{drawn}</div>' if drawn else ""


def _keep_together(name: str, body: str) -> str:
    """Return what stays together on a printed page."""
    return f"<section class=kept>\n<h3>{escape(name)}</h3>\n{body}\n</section>\n"


def _figure(chart: Chart, caption: str) -> str:
    return f"<figure>{svg(chart)}<figcaption>{escape(caption)}</figcaption></figure>\n"


def _with_title(title: str, body: str) -> str:
    return f"<h4>{escape(title)}</h4>\n{body}" if body else ""


def _note(text: str) -> str:
    return f"<p class=note>{escape(text)}</p>" if text else ""
