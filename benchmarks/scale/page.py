"""``python -m benchmarks.scale.page records/scale.md``: three sizes on paper, and what was measured of growth."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from reference.markdown import replace_table

from benchmarks.machine import ROOT
from benchmarks.markdown import format_number, table
from benchmarks.records import read_list
from benchmarks.scale.picture import Cell, cells, draw, slopes
from multitudes_lab.capacity.plan import Capacity, CapacityConfig, StageRequirements
from multitudes_lab.capacity.unit_costs import UnitCosts, load_unit_costs

BEGIN = "<!-- three sizes: written by `python -m benchmarks.scale.page records/scale.md` -->"
BEGIN_GROWTH = "<!-- growth: written by `python -m benchmarks.scale.page records/scale.md` -->"
_SIZES = ("targets", "items", "parts_of_a_batch")
RESULTS = ROOT / "benchmarks" / "results" / "scale.json"
INDEX = ROOT / "benchmarks" / "results" / "index.json"
SIZES = (
    CapacityConfig(users=2_000_000, items=1_000_000, events_per_day=1_000_000, qps=200),
    CapacityConfig(users=100_000_000, items=100_000_000, events_per_day=500_000_000, qps=20_000),
    CapacityConfig(users=1_000_000_000, items=1_000_000_000, events_per_day=5_000_000_000, qps=200_000),
)


def update_page(page: str, results: Mapping[str, Any], costs: UnitCosts) -> str:
    """Return a page with the plans and the figures between their marks."""
    page = replace_table(BEGIN, "\n".join(sizes(costs)).strip(), page)
    return replace_table(BEGIN_GROWTH, "\n".join(growth(results)).strip(), page)


def sizes(costs: UnitCosts) -> Iterator[str]:
    """Yield the plan of each size."""
    yield f"Unit costs measured on: {costs.machine}."
    yield ""
    for asked in SIZES:
        yield f"### {_words(asked.items)} items"
        yield ""
        yield (
            f"`multitudes plan --users {asked.users} --items {asked.items} --events-per-day {asked.events_per_day}"
            f" --qps {asked.qps:g}`"
        )
        yield ""
        head = ["stage", "memory GiB", "disk GiB", "cores", "machines", "time", "basis", ""]
        yield from table(head, [_row(stage) for stage in Capacity(asked, costs).stages()])


def growth(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was measured."""
    rows = [
        [f"{int(events):,}", step, *_figures(record["figures"][step]), _load(record)]
        for events, record in sorted(results["growth"].items(), key=lambda entry: int(entry[0]))
        for step in ("synth", "prepare")
    ]
    yield (
        "*Load* is the number of processes that wanted one of the two cores, before and after: far above two, others"
        " were at work, seconds by the wall say nothing of this code, and CPU seconds are too many, for want of cache."
    )
    yield ""
    yield from table(["events", "step", "seconds", "CPU s", "events per CPU s", "peak MiB", "load"], rows)
    measured = cells(results, read_list(INDEX))
    found = slopes(measured)
    yield (
        "Cost of each stage from its smallest to its largest size; the slope is the exponent of the size: 1 is in"
        " proportion. Hollow marks: others were at work. Training is by the wall, all else is CPU time."
    )
    yield ""
    yield "![Cost of each stage over events or items](../docs/images/growth.svg)"
    yield ""
    ends = {stage: [cell for cell in measured if cell.stage == stage] for stage in found}
    head = ["stage", "unit", "from", "to", "cost at first", "at last", "slope"]
    yield from table(head, [_slope_row(own, found[stage]) for stage, own in ends.items()])
    trained = [record["figures"]["train"] for record in results.get("training", {}).values()]
    if trained:
        yield (
            "Training begun on these, by one process, with a validation (MiB; *own* is without mapped files, whose"
            " pages the kernel may drop; *libraries* is what the process has of its own before it begins; *parts*:"
            " `[execution] gradient_accumulation`, of a batch):"
        )
        yield ""
        columns = [*_SIZES, "table_and_moments_mib", "own_libraries_mib", "anonymous_mib", "peak_mib"]
        head = ["targets", "items", "parts", "table and moments", "libraries", "own at most", "resident at most"]
        yield from table(
            [*head, "own without libraries to table", "make batch"], [_training_row(one, columns) for one in trained]
        )
    for record in results["everybody"].values():
        found = record["figures"]
        yield (
            f"Everybody answered: {found['users']:,} users, {found['items']:,} items, {found['vectors']} vectors each,"
            f" {found['n']} candidates: {format_number(found['users_per_cpu_s'])} users per CPU second by one process,"
            f" within {format_number(found['peak_mib'])} MiB;"
            f" {format_number(found['two_processes']['users_per_s'])} a second by two side by"
            f" side, {format_number(found['two_processes']['users_per_cpu_s'])} per CPU second (load {_load(record)})."
        )


def _slope_row(own: list[Cell], slope: float) -> list[str]:
    first, last = own[0], own[-1]
    sizes = [f"{cell.size:,}" for cell in (first, last)]
    return [first.stage, first.axis, *sizes, *(format_number(cell.cost) for cell in (first, last)), f"{slope:.2f}"]


def _training_row(one: Mapping[str, Any], columns: Iterable[str]) -> list[str]:
    ratio = (one["anonymous_mib"] - one["own_libraries_mib"]) / one["table_and_moments_mib"]
    return [*(format_number(one[name]) for name in columns), f"{ratio:.2f}", f"{one['parts']['make batch']:.1%}"]


def _row(stage: StageRequirements) -> list[str]:
    figures = [format_number(value) for value in (stage.memory_gib, stage.disk_gib, stage.cores, stage.machines)]
    return [stage.name, *figures, stage.time, f"**{stage.basis}**", stage.note]


def _figures(found: Mapping[str, float]) -> list[str]:
    return [format_number(found[name]) for name in ("seconds", "cpu_s", "events_per_cpu_s", "peak_mib")]


def _load(record: Mapping[str, Any]) -> str:
    return f"{record['load']['before']:g} to {record['load']['after']:g}"


def _words(items: int) -> str:
    return f"{items // 10**9} billion" if items >= 10**9 else f"{items // 10**6} million"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    record = json.loads(RESULTS.read_text(encoding="utf-8"))
    draw(cells(record, read_list(INDEX)), ROOT / "docs" / "images" / "growth.svg")
    page.write_text(update_page(page.read_text(encoding="utf-8"), record, load_unit_costs(None)), encoding="utf-8")
