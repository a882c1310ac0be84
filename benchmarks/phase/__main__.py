"""``python -m benchmarks.phase [--quick] [--out FILE]``: measure the cells that ``FILE`` does not have yet."""

import argparse
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.machine import ROOT, MeasurementContext
from benchmarks.phase.cell import measure
from benchmarks.phase.world import Setting
from benchmarks.records import read_records, save_record
from benchmarks.timing import cpu_clock, print_progress, round_figure

RESULTS = ROOT / "benchmarks" / "results" / "phase.json"


class Sizes(NamedTuple):
    """The axes of the diagram, and how much is measured in each cell."""

    items: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    widths: tuple[int, ...] = (16, 64)
    skews: tuple[float, ...] = (0, 1, 2)
    overlaps: tuple[float, ...] = (0, 0.5)
    users: int = 100  # of each world
    seeds: tuple[int, ...] = (0, 1)

    def settings(self) -> Iterator[Setting]:
        """Yield the cells, and for each corpus and width the world of one taste, in which nothing may be gained."""
        for items, width in product(self.items, self.widths):
            yield Setting(items, width, skew=0, overlap=0, tastes=1)
            for skew, overlap in product(self.skews, self.overlaps):
                yield Setting(items, width, skew, overlap)


FULL = Sizes()
QUICK = Sizes(items=(1_000, 2_000), widths=(8,), skews=(1,), overlaps=(0,), users=4, seeds=(0,))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the cells, the smallest corpora first."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phase", description="When several vectors pay.")
    parser.add_argument("--out", type=Path, help="JSON file; its cells are not measured again")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    given = parser.parse_args(arguments)
    sizes = QUICK if given.quick else FULL
    out = given.out or (RESULTS.with_name("quick-phase.json") if given.quick else RESULTS)
    drawn: dict[str, Any] = {"users": sizes.users, "seeds": list(sizes.seeds), "quick": given.quick}
    kept = read_records(out)
    before = kept.get("run", {}).get("head", drawn)
    if {key: before.get(key) for key in drawn} != drawn:
        parser.error(f"{out} was measured with other users or seeds; give another --out, or remove it")
    settings, progress = list(sizes.settings()), print_progress("phase")
    for done, setting in enumerate(settings):
        if str(setting) in kept.get("cells", {}):
            continue
        progress(done, len(settings), str(setting))
        context, cpu_s = MeasurementContext(), cpu_clock()
        figures = measure(setting, sizes.users, sizes.seeds)
        save_record(out, "cells", str(setting), figures | {"cpu_s": round_figure(cpu_clock() - cpu_s)})
        save_record(out, "run", "head", context.head(("multitudes", "numpy")) | drawn)
    progress(len(settings), len(settings), str(out))


if __name__ == "__main__":
    main()
