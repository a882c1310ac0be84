"""The result of an evaluation as tables, for a terminal and for its page."""

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from multitudes.evaluation.list_metrics import METRICS
from multitudes.evaluation.outcomes import RESAMPLES, UNCONDITIONED
from multitudes.report.document import Cell, Table, to_terminal
from multitudes.report.formatting import (
    HEALTH_LABELS,
    KIND_LABELS,
    NOT_COMPARED,
    TARGET_LABELS,
    format_interval,
    format_number,
    gain_cell,
    informative_systems,
    is_same_list,
    negate,
    remarks,
    segment_label,
    shown_systems,
    source_name,
    system_meanings,
    verdicts,
)

# Terminal columns that fit the intervals of the hit rates; every mean; the intervals of all differences.
NARROW, ROOM_FOR_ALL, WIDE = 80, 92, 140
_ROOM = {"served": 0, "NDCG": NARROW, "recall": ROOM_FOR_ALL}


def evaluation_tables(result: dict[str, Any], width: int) -> Group:
    """Return all tables of a result, for a terminal of ``width`` columns."""
    lines: list[RenderableType] = [Text(heading(result))]
    lines += [Text(sentence, style="bold") for sentence in verdicts(result, result["method"])]
    lines += [Text(remark) for remark in remarks(result)]
    tables = [methods_table(block, result["method"]) for block in (result, result["all_targets"]) if block]
    tables += [budgets_table(result), segments_table(result), vectors_table(result)]
    facts = [Text(f"  {value}  {text}") for value, text in health_facts(result)]
    meanings = "\n".join(f"{name}: {meaning}" for name, meaning in system_meanings(shown_systems(result)))
    notes = Text(f"\n{explain_figures(result)}\n{meanings}", style="dim")
    return Group(*lines, "", *(to_terminal(table, width) for table in tables if table.rows), *facts, notes)


def heading(result: dict[str, Any]) -> str:
    """Return a line with the method, the data and the numbers of users, targets and items."""
    data, total = result["data"], result["sampled_from"]
    sampled = f" of {total:,}, drawn at random" if total else ""
    return (
        f"{result['method']} (seed {result['seed']}) on {data['path']}: {result['users']:,} {result['split']} users"
        f"{sampled}, {result['n_targets']:,} {TARGET_LABELS[result['targets']]}, {data['items']:,} items"
    )


def methods_table(block: dict[str, Any], own: str) -> Table:
    """Return the figures of every system at the main budget, and its difference to the run."""
    budget = block["budget"]
    title = f"{TARGET_LABELS[block['targets']]}: {budget} candidates from every system"
    labels = [*(METRICS[name].label for name in _metrics(block, own)), "tail hits"]
    head = ("method", f"HR@{budget}", *labels, f"− {own}, HR")
    room = {label: _ROOM.get(label, 110) for label in labels}
    rows = [list(_method_row(block, method, own)) for method in informative_systems(block)]
    return Table(title, head, rows, own=own, room=room, full=NARROW)


def _metrics(block: dict[str, Any], own: str) -> list[str]:
    """Return the metrics of a result that are installed."""
    return [name for name in METRICS if f"{name}@{block['budget']}" in block["methods"][own]]


def _method_row(block: dict[str, Any], method: str, own: str) -> Iterator[Cell | str]:
    figures, budget = block["methods"][method], block["budget"]
    rate = figures[f"hr@{budget}"]
    yield method
    yield Cell(format_interval(rate), short=format_number(rate["mean"]))
    for name in _metrics(block, own):
        yield format_number(figures[f"{name}@{budget}"]["mean"], METRICS[name].digits)
    yield format_number(figures[f"tail_share@{budget}"]["mean"])
    if method == own:
        yield ""
    elif is_same_list(block, method, own):
        yield Cell(NOT_COMPARED, short="the same list")
    else:
        yield gain_cell(negate(block["differences"][method][f"hr@{budget}"]))


def budgets_table(result: dict[str, Any]) -> Table:
    """Return the hit rates at every budget, of systems that were evaluated at several."""
    rows = []
    for method in informative_systems(result):
        rates = [result["methods"][method].get(f"hr@{budget}") for budget in result["budgets"]]
        if sum(rate is not None for rate in rates) > 1:
            rows.append([method, *(format_number(rate and rate["mean"]) for rate in rates)])
    head = ["method", *(f"N = {budget}" for budget in result["budgets"])]
    return Table("HR by budget", head, rows, own=result["method"])


def segments_table(result: dict[str, Any]) -> Table:
    """Return HR by segment: of the run's vector of the whole history, of each kind of vector, the run and a baseline.

    If the run has one kind of vector beside others, so that it shows when each pays, differences are to the vector of
    the whole history.
    """
    key, informative = f"hr@{result['budget']}", informative_systems(result)
    wanted = (UNCONDITIONED, "implicit", "explicit", result["method"], result.get("strongest_baseline") or "popularity")
    first, *others = [system for system in dict.fromkeys(wanted) if system in informative]
    rows: list[list[Cell | str]] = []
    for segmentation, segments in result["segments"].items():
        for label, segment in ((label, segment) for label, segment in segments.items() if segment["targets"]):
            gains = segment.get("minus_unconditioned", {})  # absent without that vector
            rates = {system: format_number(segment["methods"][system][key]["mean"]) for system in (first, *others)}
            cells = [gain_cell(gains[m][key], rates[m]) if m in gains else Cell(rates[m]) for m in others]
            rows.append([segment_label(segmentation, label), f"{segment['targets']:,}", rates[first], *cells])
    names = [KIND_LABELS.get(system, system).replace(" ", "\n") for system in (first, *others)]
    room = {names[-1]: ROOM_FOR_ALL} if len(names) > 2 else {}
    title = f"HR@{result['budget']} by segment"
    return Table(title, ["segment", "targets", *names], rows, room=room, full=WIDE)


def vectors_table(result: dict[str, Any]) -> Table:
    """Return the shares of candidates and hits of each vector."""
    rows = [
        [source_name(source), format_number(source["candidate_share"]["mean"]), format_interval(source["hit_share"])]
        for source in result["interests"]["sources"]
        if source["candidate_share"]["mean"]
    ]
    return Table("Candidates and hits by vector", ["vector", "share of candidates", "share of hits"], rows)


def health_facts(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the figures of interest health, each with its meaning."""
    known = {key: figure for key, figure in result["interests"].items() if key in HEALTH_LABELS}
    return [(format_interval(known[key], 2), HEALTH_LABELS[key]) for key in known if known[key]["mean"] is not None]


def explain_figures(result: dict[str, Any]) -> str:
    """Return how to read the figures."""
    budget = result["budget"]
    metrics = (METRICS[name] for name in _metrics(result, result["method"]))
    meanings = "; ".join(f"{metric.label}: {metric.meaning}" for metric in metrics)
    return (
        f"− {result['method']}: the row less {result['method']}, below zero where it finds less; * the 95 % interval"
        f" (paired bootstrap over users, {RESAMPLES:,} resamples; not over training seeds) excludes zero. HR pools"
        f" targets; the others are means over users; {meanings}. By segment: HR, below it the difference to the whole"
        f" history. Max-score HR@{budget}, which ranks the whole corpus and is not at equal budget:"
        f" {format_interval(result['max_score'][f'hr@{budget}'])}."
    )


def comparison_table(comparison: dict[str, Any]) -> Table:
    """Return the differences between two sides, by kind of targets and budget."""
    title = " − ".join(" + ".join(comparison[key]) for key in ("runs", "against"))
    rows = [
        [kind, name, gain_cell(figure)]
        for kind, figures in comparison["differences"].items()
        for name, figure in figures.items()
    ]
    return Table(title, ["targets", "figure", "difference, paired by user"], rows, words=["figure"])
