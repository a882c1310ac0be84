"""``python -m benchmarks.simulate [--quick] [--data DIR] [--out FILE] [part …]``."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import SEED
from benchmarks.machine import ROOT, MeasurementContext
from benchmarks.records import read_records
from benchmarks.simulate import prize, retrieval, sets, speed
from multitudes.atomic import write_json


def parts(quick: bool, data: Path | None) -> dict[str, Callable[[], Any]]:
    """Return the measurements by name."""
    return {
        "marginals": lambda: sets.measure(sets.QUICK if quick else sets.FULL, data),
        "prize": lambda: prize.measure(prize.QUICK if quick else prize.FULL),
        "speed": lambda: speed.measure(speed.QUICK if quick else speed.FULL),
        "retrieval": lambda: retrieval.measure(retrieval.QUICK if quick else retrieval.FULL),
    }


def main() -> None:
    """Run the named measurements, all by default; write each result as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="part", help=f"of: {', '.join(parts(True, None))}; none: all")
    parser.add_argument("--data", type=Path, help="folder of folders with canonical tables, compared with the sample")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "simulate.json")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    given = parser.parse_args()
    known = parts(given.quick, given.data)
    unknown = [name for name in given.names if name not in known]
    if unknown:
        parser.error(f"unknown part '{unknown[0]}'; known: {', '.join(known)}")
    for name in given.names or known:
        here = MeasurementContext()
        figures = known[name]()
        record = {"quick": given.quick, "seeds": [SEED]} | here.head() | {"figures": figures}
        given.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(given.out, read_records(given.out) | {name: record})
        print(f"{name}: {record['seconds']} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
