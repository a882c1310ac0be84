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
    SYSTEM_MEANINGS,
    TARGET_LABELS,
    compare_with_baseline,
    excludes_zero,
    explain_absence,
    format_difference,
    format_interval,
    format_number,
)
from multitudes.report.html_elements import figure, figure_row, gain_cell, html_document
from multitudes.report.kinds_table import run_kinds_table


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
    return html_document(title, "\n".join(section for section in sections if section))


def _header(result: dict[str, Any], title: str) -> str:
    data, budget = result["data"], result["budget"]
    rate = result["methods"][result["method"]][f"hr@{budget}"]
    sentences = [
        f"With {budget} candidates for each user, {result['method']} finds {format_interval(rate)} of the"
        f" {TARGET_LABELS[result['targets']]}.",
        compare_with_baseline(result, result["method"]),
    ]
    for other in ("unconditioned", "random_partition"):
        if other in result["differences"]:
            gain = result["differences"][other][f"hr@{budget}"]
            verdict = "" if excludes_zero(gain) else ": no significant difference"
            sentences.append(f"Against {other}: {format_difference(gain)}{verdict}.")
    return (
        f"<h1>{escape(title)}</h1>\n"
        f'<p class="soft">seed {result["seed"]} · {result["split"]} split · {result["users"]:,} users ·'
        f" {result['n_targets']:,} targets · {data['items']:,} items · {data['topics']:,} topics</p>\n"
        f'<p class="headline">{escape(" ".join(sentence for sentence in sentences if sentence))}</p>'
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
                "Difference of the run to each system, paired by user; to the right of zero, the run is better.",
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
    names = ("recall", "ndcg", "topics", "tail_share")
    heads = (f"HR@{budget}", "recall", "NDCG", "topics hit", "tail share of hits", f"{own} − this, HR")
    rows = []
    for method, figures in block["methods"].items():
        if f"hr@{budget}" in figures:
            values = [
                format_interval(figures[f"hr@{budget}"]),
                *(format_number(figures[f"{name}@{budget}"]["mean"]) for name in names),
            ]
            gain = block["differences"].get(method, {}).get(f"hr@{budget}")
            values.append(gain_cell(gain) if gain else "")
            cells = "".join(f"<td class=number>{cell}</td>" for cell in values)
            rows.append(f"<tr{' class=own' if method == own else ''}><td>{escape(method)}</td>{cells}</tr>")
    head = "".join(f"<th class=number>{escape(name)}</th>" for name in heads)
    return f'<div class="scroll"><table><tr><th>system</th>{head}</tr>{"".join(rows)}</table></div>'


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
    return f"<h2>Interest health</h2>\n<dl>{facts}</dl>\n{chart}"


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
    meanings = "".join(f"<dt>{m}</dt><dd>{SYSTEM_MEANINGS[m]}</dd>" for m in result["methods"] if m in SYSTEM_MEANINGS)
    settings = escape(json.dumps(result["settings"]["retrieve"]))
    absent = "".join(f"<p>{escape(sentence)}</p>\n" for sentence in explain_absence(result))
    return (
        "<h2>How to read this</h2>\n<p>Every system returns the same number of candidates from the full corpus. HR"
        " pools targets: hits / targets. Recall, NDCG and topics hit are means over users. Intervals: 95 %, bootstrap"
        f" over users, {evaluate['resamples']:,} resamples, paired between systems; * excludes zero. They do not cover"
        " the variation between training seeds.</p>\n"
        f"<p>Max-score, from the paper, ranks the whole corpus by the best of a user's vectors, so it is not at equal"
        f" budget: HR@{budget} {format_interval(result['max_score'][f'hr@{budget}'])}.</p>\n"
        f'{absent}<dl>{meanings}</dl>\n<p class="soft">Served with {settings}</p>'
    )


def sample_users_section(result: dict[str, Any]) -> str:
    """Return a card for each sample user of a result: interests, candidates and hits."""
    cards = "\n".join(_user_card(user) for user in result["samples"])
    if not cards:
        return ""
    return (
        "<h2>Three random users</h2>\n<p class=soft>Interests with their share of the list and the newest"
        f" items of the history that they represent; then the first candidates. ✓ marks a hit.</p>\n{cards}"
    )


def _user_card(user: dict[str, Any]) -> str:
    follows = ", ".join(user["follows"]) or "nothing"
    return (
        f'<section class="user"><h3>User {escape(str(user["user_id"]))}</h3>\n'
        f'<p class="soft">{user["events"]:,} events; follows {escape(follows)}; {user["hits"]} of'
        f" {user['targets']} targets found</p>\n"
        f'<div class="scroll"><table><tr><th>interest</th><th class=number>share</th><th></th><th>from the history</th>'
        f"</tr>{''.join(_interest_row(interest) for interest in user['interests'])}</table></div>\n"
        f"<p>{' · '.join(_candidate_label(candidate) for candidate in user['candidates'])}</p></section>"
    )


def _interest_row(interest: dict[str, Any]) -> str:
    kind = "" if interest["kind"] == "unconditioned" else f' <span class="soft">{interest["kind"]}</span>'
    width = f"{6 * interest['share']:.2f}rem"
    items = ", ".join(interest["items"])
    more = interest["n_items"] - len(interest["items"])
    return (
        f"<tr><td>{escape(interest['name'])}{kind}</td><td class=number>{interest['share']:.0%}</td>"
        f'<td><span class="bar" style="width:{width}"></span></td>'
        f"<td>{escape(items)}{f' <span class=soft>+ {more} more</span>' if more > 0 else ''}</td></tr>"
    )


def _candidate_label(candidate: dict[str, Any]) -> str:
    hit = " class=hit" if candidate["hit"] else ""
    return f"<span{hit}>{escape(candidate['title'])}</span> <span class=soft>({escape(candidate['interest'])})</span>"
