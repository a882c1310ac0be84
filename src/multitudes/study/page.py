"""``python -m multitudes.study.page STUDY``: the figures of a study as a Markdown page of the documentation.

One table of all data sets comes first, then the tables of each: on the same page, or on a page of their own.
Without the per-user outcomes, as in a repository that stores only figures, the page uses the stored summary.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from multitudes.atomic import write_text
from multitudes.errors import ArtefactError, MultitudesError
from multitudes.report.formatting import (
    KIND_LABELS,
    format_difference,
    format_interval,
    format_number,
)
from multitudes.report.kinds_table import study_kinds_rows
from multitudes.report.study_sentences import (
    CONTROL_LABELS,
    beats_controls,
    conclusion,
    count_times,
    describe_data,
    describe_split,
    describe_strongest_baseline,
    explain_verdicts,
    headlines,
    main_comparison,
)
from multitudes.report.study_tables import has_served, row_order
from multitudes.study.comparison import OUTCOMES_FILE
from multitudes.study.summary import SUMMARY_FILE, summarise

_WRITTEN_BY = "Written by `python -m multitudes.study.page STUDY` from the files of a study; do not edit."
_FEW_METHODS = 4  # of more, the first table has a row each
_STRONGEST = "strongest baseline"
_BEATS = {True: "yes", False: "no", None: "–"}


def markdown_page(summary: dict[str, Any], words: str = "", picture: str = "", appendix: str = "") -> str:
    """Return the page.

    Args:
        summary: of the study.
        words: Markdown placed before the figures of the data sets.
        picture: address of a picture below the first table, relative to the page.
        appendix: address of the page with the tables of each data set; empty: they are on this one.
    """
    elsewhere = [f"The tables of each data set are in [an appendix]({appendix})."]
    return _join_blocks(
        f"# Results: {summary['name']}",
        _WRITTEN_BY,
        f"Seeds {', '.join(map(str, summary['seeds']))}; {describe_split(summary)}.",
        overview_table(summary),
        f"![{_describe_picture(summary)}]({picture})" if picture else "",
        *(f"**{sentence}**" for sentence in headlines(summary)),
        explain_verdicts(summary),
        words.strip(),
        *(elsewhere if appendix else _all_data_set_blocks(summary)),
        *_overall_blocks(summary),
        *_provenance_blocks(summary),
    )


def appendix_page(summary: dict[str, Any], page: str) -> str:
    """Return the page with the tables of each data set; ``page`` is the address of the first page."""
    return _join_blocks(
        f"# Results: {summary['name']}, by data set",
        _WRITTEN_BY,
        f"What the figures say is on [the first page]({page}).",
        *_all_data_set_blocks(summary),
    )


def overview_table(summary: dict[str, Any]) -> str:
    """Return the first table: each method beside the strongest baseline of each data set, else beside the reference.

    It is empty if there is nothing to compare.
    """
    reference, compared = main_comparison(summary)
    if not compared:
        return ""
    data, short = summary["data"], reference or "baseline"
    methods = list(dict.fromkeys(m for _, minus in compared.values() for m in minus))
    budget = data[next(iter(compared))]["budget"]
    labels = {name: f"{name}, {data[name]['users']:,} users" for name in compared}
    opponents = {
        name: f"{'' if reference else f'{opponent} '}{format_number(_hit_rate(data[name], opponent))}"
        for name, (opponent, _) in compared.items()
    }
    cells = {m: {name: _beside_opponent(data[name], m, *compared[name]) for name in compared} for m in methods}
    if len(methods) <= _FEW_METHODS:
        head = [f"HR@{budget}", reference or _STRONGEST, *(cell for m in methods for cell in (m, f"{m} − {short}"))]
        rows = [
            [labels[name], opponents[name], *(cell for m in methods for cell in cells[m][name])] for name in compared
        ]
    else:
        head = [f"HR@{budget}, × {short}: − {short}", *labels.values()]
        rows = [[m, *map(": ".join, by_name.values())] for m, by_name in cells.items()]
        rows.insert(0, [reference or _STRONGEST, *opponents.values()])
    return markdown_table(head, rows) + "\n\n\\* the interval excludes zero, without correction."


def _beside_opponent(data_set: dict[str, Any], method: str, opponent: str, minus: dict[str, Any]) -> tuple[str, str]:
    """Return the hit rate of a method with its share of the opponent's, and the difference."""
    if method not in minus:
        return "–", "–"
    rate, other = _hit_rate(data_set, method), _hit_rate(data_set, opponent)
    factor = rate / other if other else float("nan")
    return f"{format_number(rate)}, × {factor:.2f}", format_difference(minus[method])


def _hit_rate(data_set: dict[str, Any], method: str) -> float:
    return float(data_set["methods"][method]["figures"]["hr"]["mean"])


def _join_blocks(*blocks: str) -> str:
    return "\n\n".join(block for block in blocks if block) + "\n"


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table; empty without rows."""
    if not rows:
        return ""
    aligned = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, aligned, *rows)
    )


def _all_data_set_blocks(summary: dict[str, Any]) -> Iterable[str]:
    return (block for name, data_set in summary["data"].items() for block in _data_set_blocks(name, data_set, summary))


def _data_set_blocks(name: str, data_set: dict[str, Any], summary: dict[str, Any]) -> Iterable[str]:
    reference = summary["reference"]
    yield f"## {name}"
    yield describe_data(data_set)
    yield describe_strongest_baseline(data_set)
    yield _methods_table(data_set, reference)
    yield _controls_table(data_set, reference)
    yield _served_table(data_set)
    yield _budgets_table(data_set)
    yield _segments_table(data_set, reference)
    yield _kinds_table(data_set)
    yield _all_targets_table(data_set)
    yield _costs_table(summary["costs"].get(name, {}), summary["health"].get(name, {}))


def _methods_table(data_set: dict[str, Any], reference: str) -> str:
    budget, rows = data_set["budget"], []
    shown = {"ndcg": (f"NDCG@{budget}", 3), "served": ("served", 3), "topics": ("topics among hits", 2)}
    if not has_served(data_set):
        del shown["served"]
    for method in row_order(data_set):
        entry = data_set["methods"][method]
        gain, figures = entry["minus"].get("hr"), entry["figures"]
        name = f"↳ {method.partition('/')[2]}" if "/" in method else f"**{method}**" if method == reference else method
        difference = "reference" if method == reference else _difference_cell(gain)
        others = [
            format_interval(figures[key], digits) if key in figures else "–" for key, (_, digits) in shown.items()
        ]
        rows.append([name, format_interval(figures["hr"]), difference, *others])
    return markdown_table(["", f"HR@{budget}", f"− {reference}", *(head for head, _ in shown.values())], rows)


def _controls_table(data_set: dict[str, Any], reference: str) -> str:
    rows = []
    for method, gains in data_set["controls"].items():
        differences = [data_set["methods"][method]["minus"].get("hr"), *(gains.get(name) for name in CONTROL_LABELS)]
        rows.append([method, *map(_difference_cell, differences), _BEATS[beats_controls(gains)]])
    opponents = [f"− {opponent}" for opponent in (reference, *CONTROL_LABELS.values())]
    return markdown_table(["HR of", *opponents, "beats its controls"], rows)


def _served_table(data_set: dict[str, Any]) -> str:
    """Return what each other system of a method serves, and what the method has more, paired by user and seed."""
    systems, rows = data_set.get("systems", {}), []
    if not has_served(data_set):
        return ""
    for name in sorted(systems, key=lambda name: -data_set["methods"][name]["figures"]["served"]["mean"]):
        figures = data_set["methods"][name]["figures"]
        gains = [_difference_cell(systems[name][key]) for key in ("served", "hr")]
        rows.append([name, *(format_interval(figures[key]) for key in ("served", "hr")), *gains])
    budget = data_set["budget"]
    return markdown_table(
        ["system", f"served of {budget}", f"HR@{budget}", "method − it, served", "method − it, HR"], rows
    )


def _budgets_table(data_set: dict[str, Any]) -> str:
    """Return the hit rates of the methods that have one at every budget, if there are several budgets."""
    budgets = [str(budget) for budget in data_set["budgets"]]
    methods = [m for m in row_order(data_set) if "/" not in m and all(m in data_set["curves"][n] for n in budgets)]
    rows = [[method, *(format_interval(data_set["curves"][n][method]) for n in budgets)] for method in methods]
    return markdown_table(["", *(f"HR@{n}" for n in budgets)], rows) if len(budgets) > 1 else ""


def _segments_table(data_set: dict[str, Any], reference: str) -> str:
    """Return the differences to the reference in each segment, one column per method."""
    segments = {
        f"{name}: {label}": segment
        for name, segmentation in data_set["segments"].items()
        for label, segment in segmentation.items()
    }
    methods = list(dict.fromkeys(m for segment in segments.values() for m in segment["minus"]))
    rows = [
        [
            label,
            f"{segment['targets']:,}",
            *(format_difference(segment["minus"][m]).removesuffix(" *") for m in methods),
        ]
        for label, segment in segments.items()
        if segment["minus"]
    ]
    return markdown_table([f"HR − {reference}", "targets", *methods], rows)


def _kinds_table(data_set: dict[str, Any]) -> str:
    """Return when each kind of vector pays: its HR by segment, and that less the HR of the whole history's vector."""
    found = study_kinds_rows(data_set)
    if not found:
        return ""
    rows = [
        [
            row.segment,
            f"{row.targets:,}",
            format_number(row.whole["mean"]),
            *(f"{format_number(rate['mean'])} ({format_difference(gain)})" for rate, gain in row.others),
        ]
        for row in found
    ]
    names = (name.rpartition("/")[2] for name in data_set["kinds"]["systems"])
    systems = [KIND_LABELS.get(name, name) for name in names]
    systems[1:] = [f"{name} (− {systems[0]})" for name in systems[1:]]
    return markdown_table([f"when each pays: HR@{data_set['budget']}", "targets", *systems], rows)


def _all_targets_table(data_set: dict[str, Any]) -> str:
    best = sorted((m for m in data_set["all"] if "/" not in m), key=lambda m: -(data_set["all"][m]["mean"] or 0))
    return markdown_table(
        ["all targets, including repeats", f"HR@{data_set['budget']}"],
        [[m, format_interval(data_set["all"][m])] for m in best],
    )


def _costs_table(costs: dict[str, dict[str, Any]], health: dict[str, dict[str, Any]]) -> str:
    rows = [
        [
            method,
            format_number(cost["train_seconds"], 0),
            "–" if cost["parameters"] is None else f"{cost['parameters']:,.0f}",
            format_number(cost["vectors_per_user"], 1),
            format_number(cost["p90_ms"], 2),
            *(format_number(health.get(method, {}).get(key), 2) for key in ("effective", "cosine", "empty_slots")),
        ]
        for method, cost in costs.items()
    ]
    head = ["", "training, s", "parameters", "vectors per user", "request, p90 ms"]
    return markdown_table([*head, "effective interests", "cosine between them", "empty slots"], rows)


def _overall_blocks(summary: dict[str, Any]) -> Iterable[str]:
    overall = summary["overall"]
    yield "## Across the data sets"
    yield conclusion(overall, summary["level"])
    yield markdown_table(["", "average rank"], [[method, f"{rank:.2f}"] for method, rank in overall["ranks"].items()])


def _provenance_blocks(summary: dict[str, Any]) -> Iterable[str]:
    trials = sorted({len(search["trials"]) for search in summary["tuning"] or []})
    tuning = f"{' or '.join(map(str, trials))} trials for each method and data set, on validation" if trials else "none"
    facts = {**(summary["machine"] or {}), **(summary["versions"] or {})}
    listed = ", ".join(f"{key} {value}" for key, value in facts.items() if value is not None)
    yield "## How the study was run"
    yield f"Tuning: {tuning}. Test set accessed: {count_times(summary['opened_test'])}. {listed}."
    rows = [[str(cell[key]) for key in ("data", "method", "seed", "error")] for cell in summary["failed"]]
    yield markdown_table(["failed", "method", "seed", "error"], rows)


def _difference_cell(gain: dict[str, Any] | None) -> str:
    return f"{format_difference(gain, 4).removesuffix(' *')} {gain.get('verdict', '')}".strip() if gain else "–"


def main(arguments: list[str] | None = None) -> int:
    """Write the page to standard output or to a file; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m multitudes.study.page", description=__doc__)
    parser.add_argument("study", type=Path, help="folder of a study, or one with only its summary.json")
    parser.add_argument("--words", type=Path, help="Markdown to place before the figures")
    parser.add_argument("--out", type=Path, help="file to write; default: standard output")
    parser.add_argument("--appendix", type=Path, help="file for the tables of each data set; needs --out")
    parser.add_argument("--picture", type=Path, help="SVG file for a chart below the first table; needs --out")
    options = parser.parse_args(arguments)
    if options.out is None and (options.appendix or options.picture):
        parser.error("--appendix and --picture are linked from the page; give --out too")
    try:
        summary = _read_summary(options.study)
        words = options.words.read_text(encoding="utf-8") if options.words else ""
        if options.out is None:
            sys.stdout.write(markdown_page(summary, words))
            return 0
        _write_pages(summary, words, options.out, options.appendix, options.picture)
    except MultitudesError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return error.exit_code
    return 0


def _write_pages(summary: dict[str, Any], words: str, out: Path, appendix: Path | None, picture: Path | None) -> None:
    drawing = _draw(summary) if picture else ""
    links = {
        "picture": _address(picture, out) if picture and drawing else "",
        "appendix": _address(appendix, out) if appendix else "",
    }
    write_text(out, markdown_page(summary, words, **links))
    if appendix:
        write_text(appendix, appendix_page(summary, _address(out, appendix)))
    if picture and drawing:
        write_text(picture, drawing)


def _draw(summary: dict[str, Any]) -> str:
    """Return the chart of the first table as SVG; empty if there is nothing to compare."""
    from multitudes.report.html_elements import svg  # noqa: PLC0415 (needs the extra `report`)
    from multitudes.report.study_figures import baseline_chart  # noqa: PLC0415

    chart = baseline_chart(summary)
    return svg(chart, _describe_picture(summary)) + "\n" if chart else ""


def _describe_picture(summary: dict[str, Any]) -> str:
    reference, _ = main_comparison(summary)
    return f"HR of each method less that of {reference or f'the {_STRONGEST}'}, by data set"


def _address(file: Path, page: Path) -> str:
    """Return the address of a file, relative to a page."""
    return Path(os.path.relpath(file, page.parent)).as_posix()


def _read_summary(study: Path) -> dict[str, Any]:
    file = study / SUMMARY_FILE
    if (study / OUTCOMES_FILE).exists() or not file.exists():
        return summarise(study)
    try:
        summary: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ArtefactError(f"{file}: damaged; run the study again") from None
    return summary


if __name__ == "__main__":
    sys.exit(main())
