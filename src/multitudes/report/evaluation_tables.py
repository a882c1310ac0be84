"""The result of an evaluation as tables for a terminal, narrow or wide."""

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from multitudes.report.formatting import (
    HEALTH_LABELS,
    NOT_COMPARED,
    SYSTEM_MEANINGS,
    TARGET_LABELS,
    Estimate,
    excludes_zero,
    explain_absence,
    format_difference,
    format_interval,
    format_number,
    informative_systems,
    is_same_list,
    negate,
    segment_label,
    source_name,
    verdicts,
)

WIDE = 140  # terminal columns that fit the intervals of all figures
NARROW = 80  # below, the intervals are those of differences alone
_ROOM_FOR_ALL = 92  # below, the methods are shown without recall, the segments without popularity


def evaluation_tables(result: dict[str, Any], width: int) -> Group:
    """Return all tables of a result, for a terminal of ``width`` columns."""
    blocks = [result] + ([result["all_targets"]] if result["all_targets"] else [])
    tables: list[RenderableType] = [heading(result), *lead(result), ""]
    tables += [methods_table(block, result["method"], width) for block in blocks]
    budgets = budgets_table(result)
    tables += [budgets] if budgets.row_count else []
    tables += [segments_table(result, result["method"], width), interests_table(result, width)]
    return Group(*tables, footnotes(result))


def heading(result: dict[str, Any]) -> Text:
    """Return a line with the method, the data and the numbers of users, targets and items."""
    data = result["data"]
    return Text.assemble(
        (f"{result['method']}", "bold"),
        f" (seed {result['seed']}) on {data['path']}: {result['users']:,} {result['split']} users,"
        f" {result['n_targets']:,} {TARGET_LABELS[result['targets']]}, {data['items']:,} items",
    )


def lead(result: dict[str, Any]) -> list[Text]:
    """Return the verdicts, and the sentences on absent baselines."""
    sentences = [Text(sentence, style="bold") for sentence in verdicts(result, result["method"])]
    return sentences + [Text(absence) for absence in explain_absence(result)]


def methods_table(block: dict[str, Any], own: str, width: int) -> Table:
    """Return the figures of every method at the main budget, and its difference to the run."""
    budget, wide, narrow = block["budget"], width >= WIDE, width < NARROW
    title = f"{TARGET_LABELS[block['targets']]}: {budget} candidates from every system"
    table = plain_table(title)
    table.add_column("method", no_wrap=True)
    shown = {"recall": width >= _ROOM_FOR_ALL, "NDCG": not narrow, "topics hit": wide, "tail hits": wide}
    for name in (f"HR@{budget}", "served", *(name for name, is_shown in shown.items() if is_shown)):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(f"− {own}, HR", justify="right")
    for method in informative_systems(block):
        table.add_row(*_method_row(block, method, own, width), style="bold" if method == own else None)
    return table


def _method_row(block: dict[str, Any], method: str, own: str, width: int) -> Iterator[Text]:
    figures, budget, wide, narrow = block["methods"][method], block["budget"], width >= WIDE, width < NARROW
    show = format_interval if wide else lambda figure: format_number(figure["mean"])
    yield Text(method)
    yield Text((show if narrow else format_interval)(figures[f"hr@{budget}"]))
    yield Text(format_number(figures[f"served@{budget}"]["mean"]))
    if width >= _ROOM_FOR_ALL:
        yield Text(show(figures[f"recall@{budget}"]))
    if not narrow:
        yield Text(show(figures[f"ndcg@{budget}"]))
    if wide:
        yield Text(format_number(figures[f"topics@{budget}"]["mean"]))
        yield Text(format_number(figures[f"tail_share@{budget}"]["mean"]))
    if method == own:
        yield Text("")
    elif is_same_list(block, method, own):
        yield Text(NOT_COMPARED)
    else:
        yield _gain(negate(block["differences"][method][f"hr@{budget}"]))


def _gain(gain: Estimate) -> Text:
    """Return a difference, coloured if its interval excludes zero: green if the first of the two is better."""
    style = "" if not excludes_zero(gain) else "green" if (gain["mean"] or 0) > 0 else "red"
    return Text(format_difference(gain), style=style)


def budgets_table(result: dict[str, Any]) -> Table:
    """Return the hit rates at every budget, of methods that were evaluated at several."""
    table = plain_table("HR by budget")
    table.add_column("method", no_wrap=True)
    for budget in result["budgets"]:
        table.add_column(f"N = {budget}", justify="right")
    for method in informative_systems(result):
        rates = [result["methods"][method].get(f"hr@{budget}") for budget in result["budgets"]]
        if sum(rate is not None for rate in rates) > 1:
            numbers = (format_number(rate and rate["mean"]) for rate in rates)
            table.add_row(method, *numbers, style="bold" if method == result["method"] else None)
    return table


def segments_table(block: dict[str, Any], own: str, width: int) -> Table:
    """Return the hit rate by segment, of the run and of the main controls and baselines."""
    budget = block["budget"]
    wanted = [own, "unconditioned", "random_partition", block.get("strongest_baseline") or "popularity", "popularity"]
    if width < WIDE:
        wanted.remove("random_partition")
    if width < _ROOM_FOR_ALL:
        wanted.pop()
    methods = [method for method in dict.fromkeys(wanted) if method in block["methods"]]
    show = format_interval if width >= WIDE else lambda figure: format_number(figure["mean"])
    table = plain_table(f"HR@{budget} by segment")
    for name, justify in (("segment", "left"), ("targets", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for method in methods:
        table.add_column(method, justify="right", no_wrap=True)
    for segmentation, segments in block["segments"].items():
        for label, segment in ((label, segment) for label, segment in segments.items() if segment["targets"]):
            first, *others = (segment["methods"][method][f"hr@{budget}"] for method in methods)
            rates = (show if width < NARROW else format_interval)(first), *(show(figure) for figure in others)
            table.add_row(segment_label(segmentation, label), f"{segment['targets']:,}", *rates)
        table.add_section()
    return table


def interests_table(result: dict[str, Any], width: int) -> Group:
    """Return the interest health: figures, and the shares of candidates and hits of each vector."""
    interests = result["interests"]
    facts = [f"{format_interval(interests[key], 2)}  {text}" for key, text in HEALTH_LABELS.items() if key in interests]
    table = plain_table("Candidates and hits by vector")
    table.add_column("vector", no_wrap=True)
    for name in ("candidates", "hits"):
        table.add_column(f"share of {name}", justify="right", no_wrap=True)
    bar = 0 if width < NARROW else 10 if width < WIDE else 20
    table.add_column("", no_wrap=True)
    for source in interests["sources"]:
        if source["candidate_share"]["mean"]:
            share = source["hit_share"]["mean"] or 0
            candidates, hits = format_number(source["candidate_share"]["mean"]), format_interval(source["hit_share"])
            table.add_row(source_name(source), candidates, hits, "█" * round(bar * share))
    return Group(table, *(Text(f"  {fact}") for fact in facts))


def plain_table(title: str) -> Table:
    """Return an empty table in the style of all tables."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def footnotes(result: dict[str, Any]) -> Text:
    """Return the meaning of the figures and of the systems in the tables."""
    systems = [name for name in informative_systems(result) if name in SYSTEM_MEANINGS]
    meanings = [f"{name}: {SYSTEM_MEANINGS[name]}" for name in systems]
    resamples, budget = result["settings"]["evaluate"]["resamples"], result["budget"]
    text = (
        f"\n− {result['method']}: the row less {result['method']}, below zero where it finds less; * the 95 % interval"
        f" (paired bootstrap over users, {resamples:,} resamples) excludes zero."
        f" HR pools targets; recall and NDCG are means over users; served: share of a user's interests that get half"
        f" their share of the list. Max-score HR@{budget} (not at equal budget):"
        f" {format_interval(result['max_score'][f'hr@{budget}'])}.\n"
    )
    return Text(text + "\n".join(meanings), style="dim")


def comparison_table(comparison: dict[str, Any]) -> Table:
    """Return the differences between two sides, by kind of targets and budget."""
    sides = (" + ".join(comparison[key]) for key in ("runs", "against"))
    table = plain_table(" − ".join(sides))
    table.add_column("targets", no_wrap=True)
    table.add_column("figure", no_wrap=True)
    table.add_column("difference, paired by user", justify="right", no_wrap=True)
    for kind, figures in comparison["differences"].items():
        for name, figure in figures.items():
            table.add_row(kind, name, _gain(figure))
        table.add_section()
    return table
