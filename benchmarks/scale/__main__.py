"""``python -m benchmarks.scale [part …] [--events N …] [--items N …]``: each part has its own place in the record."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, MeasurementContext
from benchmarks.records import read_records, save_record
from benchmarks.scale.all_users import measure_all_users
from benchmarks.scale.growth import LIMIT, measure_growth, measure_linear_fit, measure_training_memory

PARTS = ("growth", "linear", "training", "everybody")
RESULTS = ROOT / "benchmarks" / "results" / "scale.json"
EVENTS, ITEMS = [10**n for n in range(5, 9)], [10**n for n in range(4, 8)]
_MOST_EVENTS_OF_A_FIT, _MOST_ITEMS_OF_A_RELEASE = 10**7, 10**6  # beyond, minutes become hours


def main() -> None:
    """Measure what no record has yet, cell by cell: an interrupted run goes on where it was."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="Measure how much grows.")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; none: all")
    parser.add_argument("--events", type=int, nargs="+", default=EVENTS, help="sizes of growth and linear")
    parser.add_argument("--items", type=int, nargs="+", default=ITEMS, help="sizes of training and everybody")
    parser.add_argument("--memory-limit", default=LIMIT, help="of the engine that prepares")
    parser.add_argument("--training-events", type=int, default=2_500_000)
    parser.add_argument("--gradient-accumulation", type=int, default=1, help="[execution] of training")
    parser.add_argument("--users", type=int, default=20_000, help="for everybody")
    parser.add_argument("--work", type=Path, help="folder to keep the releases of everybody")
    parser.add_argument("--again", action="store_true", help="replace what was measured before")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    unknown = [name for name in given.parts if name not in PARTS]
    if unknown:
        parser.error(f"unknown part '{unknown[0]}'; known: {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="multitudes-scale-") as folder:
        for part, size, measure, *arguments in _cells(given, Path(folder)):
            if part in (given.parts or PARTS) and (given.again or size not in read_records(given.out).get(part, {})):
                _keep(given.out, part, size, measure, *arguments)


def _cells(given: argparse.Namespace, folder: Path) -> Iterator[tuple[Any, ...]]:
    """Yield each cell: its part, its name there, the function that measures it, and the arguments."""
    for events in given.events:
        yield "growth", str(events), measure_growth, events, given.memory_limit, folder
        if events <= _MOST_EVENTS_OF_A_FIT:
            yield "linear", str(events), measure_linear_fit, events, given.memory_limit, folder
    for items in given.items:
        sizes = (given.training_events, items, given.gradient_accumulation)
        name = "{} events, {} items, {} parts".format(*sizes)
        yield "training", name, measure_training_memory, *sizes, given.memory_limit, folder
        if items <= _MOST_ITEMS_OF_A_RELEASE:
            yield "everybody", f"{items} items", measure_all_users, items, given.users, given.work or folder


def _keep(out: Path, part: str, size: str, measure, *arguments) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002
    """Measure, and put the figures in the place of earlier ones of the same part and size."""
    print(f"{part}, {size}: begins", file=sys.stderr, flush=True)
    circumstances = MeasurementContext()
    figures = measure(*arguments)
    save_record(out, part, size, {**circumstances.head(), "figures": figures})


if __name__ == "__main__":
    main()
