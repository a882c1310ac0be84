"""A study's summary as Markdown: what the documentation shows of it, with intervals."""

from collections.abc import Iterable
from typing import Any

from multitudes.report.study_tables import ordered
from multitudes.report.study_words import (
    CONTROLS,
    about_data,
    about_split,
    conclusion,
    headlines,
    how_judged,
    times,
    won,
)
from multitudes.report.words import difference, interval, number

_WON = {True: "yes", False: "no", None: "–"}


def page(summary: dict[str, Any], words: str = "") -> str:
    """Return the page; ``words`` are a person's remarks, placed before the figures."""
    parts = [
        f"# Results: {summary['name']}",
        "Written by `python -m multitudes.study.page STUDY` from the files of a study; do not edit.",
        f"Seeds {', '.join(map(str, summary['seeds']))}; {about_split(summary)}.",
        *(f"**{sentence}**" for sentence in headlines(summary)),
        how_judged(summary),
        words.strip(),
        *(block for name, part in summary["data"].items() for block in _data_set(name, part, summary)),
        *_overall(summary),
        *_record(summary),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: list[str], rows: list[list[str]]) -> str:
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
    yield about_data(part)
    yield _methods(part, reference)
    yield _controls(part, reference)
    yield _curves(part)
    yield _segments(part, reference)
    yield _all_targets(part)
    yield _costs(summary["costs"].get(name, {}), summary["health"].get(name, {}))


def _methods(part: dict[str, Any], reference: str) -> str:
    budget = part["budget"]
    rows = []
    for method in ordered(part):
        found = part["methods"][method]
        gain, figures = found["minus"].get("hr"), found["figures"]
        shown = f"↳ {method.partition('/')[2]}" if "/" in method else f"**{method}**" if method == reference else method
        judged = "reference" if method == reference else _judged(gain)
        others = [
            interval(figures[key], digits) if key in figures else "–" for key, digits in (("ndcg", 3), ("topics", 2))
        ]
        rows.append([shown, interval(figures["hr"]), judged, *others])
    return table(["", f"HR@{budget}", f"− {reference}", f"NDCG@{budget}", "topics among hits"], rows)


def _controls(part: dict[str, Any], reference: str) -> str:
    rows = []
    for method, gains in part["controls"].items():
        found = [part["methods"][method]["minus"].get("hr"), *(gains.get(control) for control in CONTROLS)]
        rows.append([method, *map(_judged, found), _WON[won(gains)]])
    opponents = [f"− {opponent}" for opponent in (reference, *CONTROLS.values())]
    return table(["HR of", *opponents, "interests have won"], rows)


def _curves(part: dict[str, Any]) -> str:
    """Return the hit rates at every budget, of what was asked at more than one."""
    budgets = [str(budget) for budget in part["budgets"]]
    methods = [m for m in ordered(part) if "/" not in m and all(m in part["curves"][n] for n in budgets)]
    rows = [[method, *(interval(part["curves"][n][method]) for n in budgets)] for method in methods]
    return table(["", *(f"HR@{n}" for n in budgets)], rows) if len(budgets) > 1 else ""


def _segments(part: dict[str, Any], reference: str) -> str:
    """Return the differences to the reference in every segment, one column for each method."""
    labels = {
        f"{name}: {label}": found for name, found_in in part["segments"].items() for label, found in found_in.items()
    }
    methods = list(dict.fromkeys(m for found in labels.values() for m in found["minus"]))
    rows = [
        [label, f"{found['targets']:,}", *(difference(found["minus"][m]).removesuffix(" *") for m in methods)]
        for label, found in labels.items()
        if found["minus"]
    ]
    return table([f"HR − {reference}", "targets", *methods], rows)


def _all_targets(part: dict[str, Any]) -> str:
    best = sorted((m for m in part["all"] if "/" not in m), key=lambda m: -(part["all"][m]["mean"] or 0))
    return table(["all targets, repeats too", f"HR@{part['budget']}"], [[m, interval(part["all"][m])] for m in best])


def _costs(costs: dict[str, dict[str, Any]], health: dict[str, dict[str, Any]]) -> str:
    rows = [
        [
            method,
            number(cost["train_seconds"], 0),
            "–" if cost["parameters"] is None else f"{cost['parameters']:,.0f}",
            number(cost["vectors_per_user"], 1),
            number(cost["p90_ms"], 2),
            *(number(health.get(method, {}).get(key), 2) for key in ("effective", "cosine", "empty_slots")),
        ]
        for method, cost in costs.items()
    ]
    head = ["", "training, s", "parameters", "vectors per user", "request, p90 ms"]
    return table([*head, "effective interests", "cosine between them", "empty slots"], rows)


def _overall(summary: dict[str, Any]) -> Iterable[str]:
    found = summary["overall"]
    yield "## Over the data sets"
    yield conclusion(found, summary["level"])
    yield table(["", "average rank"], [[method, f"{rank:.2f}"] for method, rank in found["ranks"].items()])


def _record(summary: dict[str, Any]) -> Iterable[str]:
    trials = sorted({len(search["trials"]) for search in summary["tuning"] or []})
    tuned = f"{' or '.join(map(str, trials))} trials for each method and data set, on validation" if trials else "none"
    facts = {**(summary["machine"] or {}), **(summary["versions"] or {})}
    shown = ", ".join(f"{key} {value}" for key, value in facts.items() if value is not None)
    yield "## What was done"
    yield f"Tuning: {tuned}. Test opened: {times(summary['opened_test'])}. {shown}."
    rows = [[str(cell[key]) for key in ("data", "method", "seed", "error")] for cell in summary["failed"]]
    yield table(["failed", "method", "seed", "error"], rows)


def _judged(gain: dict[str, Any] | None) -> str:
    return f"{difference(gain, 4).removesuffix(' *')} {gain.get('verdict', '')}".strip() if gain else "–"
