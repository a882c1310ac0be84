"""When each kind of vector pays: HR by segment of one kind alone, beside one vector of the whole history."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, NamedTuple

from multitudes.evaluation.outcomes import UNCONDITIONED
from multitudes.report.formatting import KIND_LABELS, Estimate, format_number, segment_label
from multitudes.report.html_elements import gain_cell, table_element


class KindsRow(NamedTuple):
    """A segment."""

    segment: str
    targets: int
    whole: Estimate
    others: list[tuple[Estimate, Estimate]]  # HR of a system, and its HR less that of the whole history's vector


def run_kinds_table(result: dict[str, Any]) -> str:
    """Return the table of an evaluated run; empty unless it has a vector of the whole history beside others."""
    key, whole = f"hr@{result['budget']}", UNCONDITIONED
    wanted = ("implicit", "explicit", result["method"], result.get("strongest_baseline"))
    others = [str(system) for system in wanted if system in result["methods"] and system != whole]
    rows = (
        KindsRow(
            segment_label(segmentation, part),
            segment["targets"],
            segment["methods"][whole][key],
            [(segment["methods"][m][key], segment["minus_unconditioned"][m][key]) for m in others],
        )
        for segmentation, parts in result["segments"].items()
        for part, segment in parts.items()
        if segment["targets"] and "minus_unconditioned" in segment  # absent from an earlier version
    )
    return _table(result["budget"], others, rows)


def study_kinds_table(data_set: dict[str, Any]) -> str:
    """Return the table of one data set of a study; empty unless a method has implicit and explicit vectors."""
    rows = study_kinds_rows(data_set)
    if not rows:
        return ""
    _, *others = data_set["kinds"]["systems"]
    return _table(data_set["budget"], [m.rpartition("/")[2] for m in others], rows)


def study_kinds_rows(data_set: dict[str, Any]) -> list[KindsRow]:
    """Return the rows of one data set of a study; none in summaries of an earlier version."""
    kinds = data_set.get("kinds")
    if not kinds:
        return []
    whole, *others = kinds["systems"]
    return [
        KindsRow(
            segment_label(segmentation, part),
            segment["targets"],
            segment["rates"][whole],
            [(segment["rates"][m], segment["minus"][m]) for m in others],
        )
        for segmentation, parts in kinds["segments"].items()
        for part, segment in parts.items()
        if segment["rates"]
    ]


def _table(budget: int, others: Sequence[str], rows: Iterable[KindsRow]) -> str:
    body = "".join(
        f"<tr><td>{escape(row.segment)}</td>{_cell(f'{row.targets:,}')}{_cell(format_number(row.whole['mean']))}"
        + "".join(_cell(f"{format_number(rate['mean'])}<br>{gain_cell(gain)}") for rate, gain in row.others)
        + "</tr>"
        for row in rows
    )
    if not body:
        return ""
    heads = ("targets", KIND_LABELS[UNCONDITIONED], *(KIND_LABELS.get(name, name) for name in others))
    head = "".join(f"<th class=number>{escape(name)}</th>" for name in heads)
    return (
        f"<p class=soft>When each pays: HR of {budget} candidates from one kind of vector alone, and its difference to"
        " that of the one vector of the whole history, paired by user.</p>\n"
        + table_element(f"<tr><th>segment</th>{head}</tr>{body}", "Hit rate by segment and kind of vector", "dense")
    )


def _cell(content: str) -> str:
    return f"<td class=number>{content}</td>"
