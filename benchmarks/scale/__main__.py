"""``python -m benchmarks.scale [part …] [--events N …] [--out FILE]``: each part has its own place in the record."""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import ROOT, MeasurementContext
from benchmarks.records import save_record
from benchmarks.scale.all_users import measure_all_users
from benchmarks.scale.growth import LIMIT, measure_growth, measure_training_memory

RESULTS = ROOT / "benchmarks" / "results" / "scale.json"
PARTS = ("growth", "training", "everybody")


def main() -> None:
    """Measure, and keep what was measured of another size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="Measure how much grows.")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; none: all")
    parser.add_argument(
        "--events", type=int, nargs="+", default=[1_000_000, 10_000_000], help="sizes of growth and of training"
    )
    parser.add_argument("--memory-limit", default=LIMIT, help="of the engine that prepares")
    parser.add_argument("--items", type=int, default=100_000, help="for everybody and training")
    parser.add_argument("--gradient-accumulation", type=int, default=1, help="[execution] of training")
    parser.add_argument("--users", type=int, default=20_000, help="for everybody")
    parser.add_argument("--work", type=Path, help="folder to keep the releases of everybody")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    unknown = [name for name in given.parts if name not in PARTS]
    if unknown:
        parser.error(f"unknown part '{unknown[0]}'; known: {', '.join(PARTS)}")
    for part in given.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="multitudes-scale-") as folder:
            if part == "growth":
                for events in given.events:
                    _keep(given.out, part, str(events), measure_growth, events, given.memory_limit, Path(folder))
            elif part == "training":
                for events in given.events:
                    sizes = (events, given.items, given.gradient_accumulation)
                    name = f"{events} events, {given.items} items, {given.gradient_accumulation} parts"
                    _keep(given.out, part, name, measure_training_memory, *sizes, given.memory_limit, Path(folder))
            else:
                size = f"{given.items} items"
                _keep(given.out, part, size, measure_all_users, given.items, given.users, given.work or Path(folder))


def _keep(out: Path, part: str, size: str, measure, *arguments) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002
    """Measure, and put the figures in the place of earlier ones of the same part and size."""
    print(f"{part}, {size}: begins", file=sys.stderr, flush=True)
    circumstances = MeasurementContext()
    figures = measure(*arguments)
    save_record(out, part, size, {**circumstances.head(), "figures": figures})


if __name__ == "__main__":
    main()
