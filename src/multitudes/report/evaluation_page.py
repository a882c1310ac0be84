"""The part of a report that shows people: the interests of a few users, drawn at random, and what they got.

``report``: one HTML file that says what a run learned; it needs no script, no network and no run beside it.
"""

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
    Estimate,
    excludes_zero,
    format_difference,
    format_interval,
    format_number,
)
from multitudes.report.html_elements import Chart, html_document, svg


def sample_users_section(result: dict[str, Any]) -> str:
    """Return one card for each sample user of a result."""
    cards = "\n".join(_user_card(person) for person in result["samples"])
    if not cards:
        return ""
    return (
        "<h2>Three users, drawn at random</h2>\n<p class=soft>Interests with their share of the list and the newest"
        f" items of the history behind them; then the first candidates. ✓ marks a target that was found.</p>\n{cards}"
    )


def _user_card(person: dict[str, Any]) -> str:
    follows = ", ".join(person["follows"]) or "nothing"
    return (
        f'<section class="person"><h3>User {escape(str(person["user_id"]))}</h3>\n'
        f'<p class="soft">{person["events"]:,} events; follows {escape(follows)}; {person["hits"]} of'
        f" {person['targets']} targets found</p>\n"
        f'<div class="scroll"><table><tr><th>interest</th><th class=number>share</th><th></th><th>from the history</th>'
        f"</tr>{''.join(_interest_row(interest) for interest in person['interests'])}</table></div>\n"
        f"<p>{' · '.join(_candidate_label(candidate) for candidate in person['candidates'])}</p></section>"
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


def write_evaluation_page(run: Path, out: Path, split: Split = "test") -> None:
    """Write the report of an evaluated run; the file appears whole or not at all.

    Raises:
        ArtefactError: the run has not been evaluated on this split, or a file of it is damaged.
    """
    page = evaluation_page(read_result(run, split), read_epochs(run))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, page)


def read_epochs(run: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl, one for each epoch; none where the run kept none.

    Raises:
        ArtefactError: a line is damaged.
    """
    file = run / "metrics.jsonl"
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
    except FileNotFoundError:
        return []
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ArtefactError(f"{file}: damaged; the training curve cannot be drawn. Delete it to go without") from None


def evaluation_page(result: dict[str, Any], epochs: list[dict[str, Any]]) -> str:
    """Return the page; every number in it comes from the result or from the epochs."""
    title = f"{result['method']} on {Path(result['data']['path']).name}"
    sections = [
        _head(result, title),
        _targets_section(result, result["method"]),
        _segment_section(result),
        _interest_section(result),
        sample_users_section(result),
        *([_targets_section(result["all_targets"], result["method"])] if result["all_targets"] else []),
        _training_section(epochs),
        _reading_section(result),
    ]
    return html_document(title, "\n".join(section for section in sections if section))


def _head(result: dict[str, Any], title: str) -> str:
    data, budget = result["data"], result["budget"]
    figure = result["methods"][result["method"]][f"hr@{budget}"]
    sentences = [
        f"With {budget} candidates for each user, {result['method']} finds {format_interval(figure)} of the"
        f" {TARGET_LABELS[result['targets']]}."
    ]
    for other in ("unconditioned", "random_partition", "popularity"):
        if other in result["differences"]:
            gain = result["differences"][other][f"hr@{budget}"]
            verdict = "" if excludes_zero(gain) else ": not shown to differ"
            sentences.append(f"Against {other}: {format_difference(gain)}{verdict}.")
    return (
        f"<h1>{escape(title)}</h1>\n"
        f'<p class="soft">seed {result["seed"]} · {result["split"]} split · {result["users"]:,} users ·'
        f" {result['n_targets']:,} targets · {data['items']:,} items · {data['topics']:,} topics</p>\n"
        f'<p class="headline">{escape(" ".join(sentences))}</p>'
    )


def _targets_section(block: dict[str, Any], own: str) -> str:
    charts = [
        (
            evaluation_figures.hit_rate_chart(block, own),
            "Hit rate of every system at the same budget, with 95 % intervals.",
        ),
        (
            evaluation_figures.gain_chart(block, own),
            "What the run gains over each, paired by user; right of zero it is better.",
        ),
        (
            evaluation_figures.budget_curve(block, own),
            "Hit rate against the number of candidates; both axes logarithmic.",
        ),
    ]
    drawn = "".join(_figure(chart, caption) for chart, caption in charts if chart is not None)
    title = TARGET_LABELS[block["targets"]].capitalize()
    return f'<h2>{title}</h2>\n{_methods_table(block, own)}\n<div class="row">{drawn}</div>'


def _methods_table(block: dict[str, Any], own: str) -> str:
    budget = block["budget"]
    names = ("recall", "ndcg", "topics", "tail_share")
    heads = (f"HR@{budget}", "recall", "NDCG", "topics hit", "tail share of hits", f"{own} − this, HR")
    rows = []
    for method, found in block["methods"].items():
        if f"hr@{budget}" in found:
            shown = [
                format_interval(found[f"hr@{budget}"]),
                *(format_number(found[f"{name}@{budget}"]["mean"]) for name in names),
            ]
            gain = block["differences"].get(method, {}).get(f"hr@{budget}")
            shown.append(_gain_cell(gain) if gain else "")
            cells = "".join(f"<td class=number>{cell}</td>" for cell in shown)
            rows.append(f"<tr{' class=own' if method == own else ''}><td>{escape(method)}</td>{cells}</tr>")
    head = "".join(f"<th class=number>{escape(name)}</th>" for name in heads)
    return f'<div class="scroll"><table><tr><th>system</th>{head}</tr>{"".join(rows)}</table></div>'


def _gain_cell(figure: Estimate) -> str:
    style = "" if not excludes_zero(figure) else " class=better" if (figure["mean"] or 0) > 0 else " class=worse"
    return f"<span{style}>{format_difference(figure)}</span>"


def _segment_section(result: dict[str, Any]) -> str:
    drawn = "".join(
        _figure(chart, f"By {name}; in brackets the number of targets.")
        for name, chart in evaluation_figures.segment_charts(result, result["method"])
    )
    return f'<h2>Who is served, and with what</h2>\n<div class="row">{drawn}</div>' if drawn else ""


def _interest_section(result: dict[str, Any]) -> str:
    interests = result["interests"]
    facts = "".join(
        f"<dt>{format_interval(interests[key], 2)}</dt><dd>{text}</dd>"
        for key, text in HEALTH_LABELS.items()
        if key in interests
    )
    chart = _figure(
        evaluation_figures.source_chart(result), "What each vector brings: its share of the candidates and of the hits."
    )
    return f"<h2>Health of the interests</h2>\n<dl>{facts}</dl>\n{chart}"


def _training_section(epochs: list[dict[str, Any]]) -> str:
    if not epochs:
        return ""
    best = max(epochs, key=lambda line: line["validation_hit_rate"])
    caption = (
        f"{len(epochs)} epochs, {epochs[-1]['seconds']:,.0f} s; best epoch {best['epoch']}"
        f" with validation HR@{best['validate_at']} {format_number(best['validation_hit_rate'])}."
    )
    drawn = "".join(_figure(chart, "") for _, chart in evaluation_figures.training_charts(epochs))
    return f'<h2>Training</h2>\n<p class="soft">{caption}</p>\n<div class="row">{drawn}</div>'


def _reading_section(result: dict[str, Any]) -> str:
    evaluate, budget = result["settings"]["evaluate"], result["budget"]
    meanings = "".join(f"<dt>{m}</dt><dd>{SYSTEM_MEANINGS[m]}</dd>" for m in result["methods"] if m in SYSTEM_MEANINGS)
    settings = escape(json.dumps(result["settings"]["retrieve"]))
    return (
        "<h2>How to read this</h2>\n<p>Every system returns the same number of candidates out of the full corpus. HR"
        " pools targets: found / wanted. Recall, NDCG and topics hit are means over users. Intervals: 95 %, bootstrap"
        f" over users, {evaluate['resamples']:,} resamples, paired between systems; * excludes zero. They do not cover"
        " what another training seed would change.</p>\n"
        f"<p>Max-score, the paper's figure, ranks the whole corpus by the best of a user's vectors and is not at equal"
        f" budget: HR@{budget} {format_interval(result['max_score'][f'hr@{budget}'])}.</p>\n"
        f'<dl>{meanings}</dl>\n<p class="soft">Served with {settings}</p>'
    )


def _figure(chart: Chart, caption: str) -> str:
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{svg(chart)}{below}</figure>\n"
