"""The HTML report of an evaluated run."""

import json
from html import escape
from pathlib import Path
from typing import Any

from multitudes.atomic import write_text
from multitudes.data.prepared import Split
from multitudes.errors import ArtefactError
from multitudes.evaluation.compare import read_result
from multitudes.report import evaluation_figures
from multitudes.report.formatting import (
    HEALTH_LABELS,
    NOT_COMPARED,
    SYSTEM_MEANINGS,
    TARGET_LABELS,
    explain_absence,
    format_interval,
    format_number,
    informative_systems,
    is_same_list,
    negate,
    verdicts,
)
from multitudes.report.html_elements import figure, figure_row, gain_cell, html_document, table_element
from multitudes.report.kinds_table import run_kinds_table
from multitudes.report.sample_users import sample_users_section


def write_evaluation_page(run: Path, out: Path, split: Split = "test") -> None:
    """Write the report of an evaluated run atomically to ``out``.

    Raises:
        ArtefactError: the run has not been evaluated on this split, or a file of it is damaged.
    """
    page = evaluation_page(read_result(run, split), read_epochs(run))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, page)


def read_epochs(run: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl, one for each epoch; empty if nothing was learned in epochs.

    Raises:
        ArtefactError: a line is damaged.
    """
    file = run / "metrics.jsonl"
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
    except FileNotFoundError:
        return []
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ArtefactError(
            f"{file}: damaged, so the training curve cannot be drawn; delete the file to omit the curve"
        ) from None
    return [line for line in lines if "validation_hit_rate" in line]  # that of a linear model has only its speed


def evaluation_page(result: dict[str, Any], epochs: list[dict[str, Any]]) -> str:
    """Return the page. All its figures come from the result and the epochs."""
    title = f"{result['method']} on {Path(result['data']['path']).name}"
    sections = [
        _header(result, title),
        _targets_section(result, result["method"]),
        _segment_section(result),
        _interest_section(result),
        sample_users_section(result),
        *([_targets_section(result["all_targets"], result["method"])] if result["all_targets"] else []),
        _training_section(epochs),
        _reading_section(result),
    ]
    return html_document(title, "\n".join(section for section in sections if section), "users.css")


def _header(result: dict[str, Any], title: str) -> str:
    data, budget = result["data"], result["budget"]
    rate = result["methods"][result["method"]][f"hr@{budget}"]
    found = (
        f"With {budget} candidates for each user, {result['method']} finds {format_interval(rate)} of the"
        f" {TARGET_LABELS[result['targets']]}."
    )
    headlines = "".join(f'<p class="headline">{escape(line)}</p>\n' for line in verdicts(result, result["method"]))
    return (
        f"<h1>{escape(title)}</h1>\n{headlines}<p>{found}</p>\n"
        f'<p class="soft">seed {result["seed"]} · {result["split"]} split · {result["users"]:,} users ·'
        f" {result['n_targets']:,} targets · {data['items']:,} items · {data['topics']:,} topics</p>"
    )


def _targets_section(block: dict[str, Any], own: str) -> str:
    charts = figure_row(
        [
            (
                evaluation_figures.hit_rate_chart(block, own),
                "Hit rate of every system at the same budget, with 95 % intervals.",
            ),
            (
                evaluation_figures.gain_chart(block, own),
                f"Difference of each system to {own}, paired by user; to the left of zero, {own} finds more.",
            ),
            (
                evaluation_figures.budget_curve(block, own),
                "Hit rate against the number of candidates; both axes logarithmic.",
            ),
        ]
    )
    title = TARGET_LABELS[block["targets"]].capitalize()
    return f"<h2>{title}</h2>\n{_methods_table(block, own)}\n{charts}"


def _methods_table(block: dict[str, Any], own: str) -> str:
    budget = block["budget"]
    names = ("served", "recall", "ndcg", "topics", "tail_share")
    heads = (f"HR@{budget}", "served", "recall", "NDCG", "topics hit", "tail share of hits", f"− {own}, HR")
    rows = []
    for method in informative_systems(block):
        figures, gain = block["methods"][method], block["differences"].get(method, {}).get(f"hr@{budget}")
        values = [
            format_interval(figures[f"hr@{budget}"]),
            *(format_number(figures[f"{name}@{budget}"]["mean"]) for name in names),
            "" if not gain else NOT_COMPARED if is_same_list(block, method, own) else gain_cell(negate(gain)),
        ]
        cells = _number_cells("td", values)
        rows.append(f"<tr{' class=own' if method == own else ''}><td>{escape(method)}</td>{cells}</tr>")
    head = _number_cells("th", [escape(name) for name in heads])
    return table_element(f"<tr><th>system</th>{head}</tr>{''.join(rows)}", "Figures of every system")


def _number_cells(element: str, contents: list[str]) -> str:
    """Return the cells of a row of figures; those between the first and the last are left out on a phone."""
    styles = ["number", *["number minor"] * (len(contents) - 2), "number"]
    return "".join(
        f'<{element} class="{style}">{content}</{element}>' for style, content in zip(styles, contents, strict=True)
    )


def _segment_section(result: dict[str, Any]) -> str:
    charts = figure_row(
        (chart, f"By {name}; number of targets in brackets.")
        for name, chart in evaluation_figures.segment_charts(result, result["method"])
    )
    return f"<h2>Hit rate by segment</h2>\n{run_kinds_table(result)}\n{charts}" if charts else ""


def _interest_section(result: dict[str, Any]) -> str:
    interests = result["interests"]
    facts = "".join(
        f"<dt>{format_interval(interests[key], 2)}</dt><dd>{text}</dd>"
        for key, text in HEALTH_LABELS.items()
        if key in interests
    )
    chart = figure(evaluation_figures.source_chart(result), "Share of the candidates and of the hits by vector.")
    return f'<h2>Interest health</h2>\n<div class="row"><dl>{facts}</dl>\n{chart}</div>'


def _training_section(epochs: list[dict[str, Any]]) -> str:
    if not epochs:
        return ""
    best = max(epochs, key=lambda line: line["validation_hit_rate"])
    caption = (
        f"{len(epochs)} epochs, {epochs[-1]['seconds']:,.0f} s; best epoch {best['epoch']}"
        f" with validation HR@{best['validate_at']} {format_number(best['validation_hit_rate'])}."
    )
    charts = figure_row((chart, "") for _, chart in evaluation_figures.training_charts(epochs))
    return f'<h2>Training</h2>\n<p class="soft">{caption}</p>\n{charts}'


def _reading_section(result: dict[str, Any]) -> str:
    evaluate, budget = result["settings"]["evaluate"], result["budget"]
    systems = [m for m in informative_systems(result) if m in SYSTEM_MEANINGS]
    meanings = "".join(f"<dt>{m}</dt><dd>{SYSTEM_MEANINGS[m]}</dd>" for m in systems)
    settings = escape(json.dumps(result["settings"]["retrieve"]))
    absent = "".join(f"<p>{escape(sentence)}</p>\n" for sentence in explain_absence(result))
    return (
        "<h2>How to read this</h2>\n<p>Every system returns the same number of candidates from the full corpus. HR"
        " pools targets: hits / targets. Recall, NDCG and topics hit are means over users. Served: share of a user's"
        " interests that get half their share of the list. Intervals: 95 %, bootstrap over users,"
        f" {evaluate['resamples']:,} resamples, paired between systems; * excludes zero. They do not cover the"
        " variation between training seeds. A − B is the figure of A less that of B; in tables and charts A is the"
        " row.</p>\n"
        f"<p>Max-score, from the paper, ranks the whole corpus by the best of a user's vectors, so it is not at equal"
        f" budget: HR@{budget} {format_interval(result['max_score'][f'hr@{budget}'])}.</p>\n"
        f'{absent}<dl>{meanings}</dl>\n<p class="soft">Served with {settings}</p>'
    )
