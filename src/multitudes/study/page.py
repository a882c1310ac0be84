"""A study's summary as Markdown: what the documentation shows of it, with intervals.

``python -m multitudes.study.page STUDY``: the figures of a study as a page of the documentation.

Where the per-user outcomes are gone, as in a repository that keeps figures alone, the summary is taken as it stands.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from multitudes.atomic import write_text
from multitudes.errors import ArtefactError, MultitudesError
from multitudes.report.formatting import format_difference, format_interval, format_number
from multitudes.report.study_sentences import (
    CONTROL_LABELS,
    beats_controls,
    conclusion,
    count_times,
    describe_data,
    describe_split,
    explain_verdicts,
    headlines,
)
from multitudes.report.study_tables import row_order
from multitudes.study.comparison import OUTCOMES_FILE
from multitudes.study.summary import SUMMARY_FILE, summarise

_WON = {True: "yes", False: "no", None: "–"}


def markdown_page(summary: dict[str, Any], words: str = "") -> str:
    """Return the page; ``words`` are a person's remarks, placed before the figures."""
    parts = [
        f"# Results: {summary['name']}",
        "Written by `python -m multitudes.study.page STUDY` from the files of a study; do not edit.",
        f"Seeds {', '.join(map(str, summary['seeds']))}; {describe_split(summary)}.",
        *(f"**{sentence}**" for sentence in headlines(summary)),
        explain_verdicts(summary),
        words.strip(),
        *(block for name, part in summary["data"].items() for block in _data_set(name, part, summary)),
        *_overall(summary),
        *_record(summary),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table; nothing without rows."""
    if not rows:
        return ""
    aligned = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, aligned, *rows)
    )


def _data_set(name: str, part: dict[str, Any], summary: dict[str, Any]) -> Iterable[str]:
    reference = summary["reference"]
    yield f"## {name}"
    yield describe_data(part)
    yield _methods_table(part, reference)
    yield _controls_table(part, reference)
    yield _budgets_table(part)
    yield _segments_table(part, reference)
    yield _all_targets_table(part)
    yield _costs_table(summary["costs"].get(name, {}), summary["health"].get(name, {}))


def _methods_table(part: dict[str, Any], reference: str) -> str:
    budget = part["budget"]
    rows = []
    for method in row_order(part):
        found = part["methods"][method]
        gain, figures = found["minus"].get("hr"), found["figures"]
        shown = f"↳ {method.partition('/')[2]}" if "/" in method else f"**{method}**" if method == reference else method
        judged = "reference" if method == reference else _difference_cell(gain)
        others = [
            format_interval(figures[key], digits) if key in figures else "–"
            for key, digits in (("ndcg", 3), ("topics", 2))
        ]
        rows.append([shown, format_interval(figures["hr"]), judged, *others])
    return markdown_table(["", f"HR@{budget}", f"− {reference}", f"NDCG@{budget}", "topics among hits"], rows)


def _controls_table(part: dict[str, Any], reference: str) -> str:
    rows = []
    for method, gains in part["controls"].items():
        found = [part["methods"][method]["minus"].get("hr"), *(gains.get(control) for control in CONTROL_LABELS)]
        rows.append([method, *map(_difference_cell, found), _WON[beats_controls(gains)]])
    opponents = [f"− {opponent}" for opponent in (reference, *CONTROL_LABELS.values())]
    return markdown_table(["HR of", *opponents, "interests have won"], rows)


def _budgets_table(part: dict[str, Any]) -> str:
    """Return the hit rates at every budget, of what was asked at more than one."""
    budgets = [str(budget) for budget in part["budgets"]]
    methods = [m for m in row_order(part) if "/" not in m and all(m in part["curves"][n] for n in budgets)]
    rows = [[method, *(format_interval(part["curves"][n][method]) for n in budgets)] for method in methods]
    return markdown_table(["", *(f"HR@{n}" for n in budgets)], rows) if len(budgets) > 1 else ""


def _segments_table(part: dict[str, Any], reference: str) -> str:
    """Return the differences to the reference in every segment, one column for each method."""
    labels = {
        f"{name}: {label}": found for name, found_in in part["segments"].items() for label, found in found_in.items()
    }
    methods = list(dict.fromkeys(m for found in labels.values() for m in found["minus"]))
    rows = [
        [label, f"{found['targets']:,}", *(format_difference(found["minus"][m]).removesuffix(" *") for m in methods)]
        for label, found in labels.items()
        if found["minus"]
    ]
    return markdown_table([f"HR − {reference}", "targets", *methods], rows)


def _all_targets_table(part: dict[str, Any]) -> str:
    best = sorted((m for m in part["all"] if "/" not in m), key=lambda m: -(part["all"][m]["mean"] or 0))
    return markdown_table(
        ["all targets, repeats too", f"HR@{part['budget']}"], [[m, format_interval(part["all"][m])] for m in best]
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


def _overall(summary: dict[str, Any]) -> Iterable[str]:
    found = summary["overall"]
    yield "## Over the data sets"
    yield conclusion(found, summary["level"])
    yield markdown_table(["", "average rank"], [[method, f"{rank:.2f}"] for method, rank in found["ranks"].items()])


def _record(summary: dict[str, Any]) -> Iterable[str]:
    trials = sorted({len(search["trials"]) for search in summary["tuning"] or []})
    tuned = f"{' or '.join(map(str, trials))} trials for each method and data set, on validation" if trials else "none"
    facts = {**(summary["machine"] or {}), **(summary["versions"] or {})}
    shown = ", ".join(f"{key} {value}" for key, value in facts.items() if value is not None)
    yield "## What was done"
    yield f"Tuning: {tuned}. Test opened: {count_times(summary['opened_test'])}. {shown}."
    rows = [[str(cell[key]) for key in ("data", "method", "seed", "error")] for cell in summary["failed"]]
    yield markdown_table(["failed", "method", "seed", "error"], rows)


def _difference_cell(gain: dict[str, Any] | None) -> str:
    return f"{format_difference(gain, 4).removesuffix(' *')} {gain.get('verdict', '')}".strip() if gain else "–"


def main(arguments: list[str] | None = None) -> int:
    """Write the page to standard output, or into a file; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m multitudes.study.page", description=__doc__)
    parser.add_argument("study", type=Path, help="folder of a study, or of its summary.json alone")
    parser.add_argument("--words", type=Path, help="Markdown to place before the figures")
    parser.add_argument("--out", type=Path, help="file to write; standard output without it")
    given = parser.parse_args(arguments)
    try:
        text = markdown_page(_read_summary(given.study), given.words.read_text(encoding="utf-8") if given.words else "")
    except MultitudesError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return error.exit_code
    if given.out is None:
        sys.stdout.write(text)
        return 0
    write_text(given.out, text)
    return 0


def _read_summary(study: Path) -> dict[str, Any]:
    kept = study / SUMMARY_FILE
    if (study / OUTCOMES_FILE).exists() or not kept.exists():
        return summarise(study)
    try:
        summary: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ArtefactError(f"{kept}: damaged; run the study again") from None
    return summary


if __name__ == "__main__":
    sys.exit(main())
