"""``python -m benchmarks [name …] [--out FILE] [--quick]``."""

import argparse
from pathlib import Path

from benchmarks.machine import ROOT
from benchmarks.suite import SUBJECTS, run


def main() -> None:
    """Measure the named subjects, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure speed and memory.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"subjects: {', '.join(SUBJECTS)}; none: all")
    parser.add_argument("--out", type=Path, help="JSON file; replaces the records of these subjects")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to check that everything runs")
    parser.add_argument("--threads", type=int, help="threads of each subject; 1 on a busy machine")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in SUBJECTS]
    if unknown:
        parser.error(f"unknown subject '{unknown[0]}'; known: {', '.join(SUBJECTS)}")
    out = given.out or ROOT / "benchmarks" / "results" / ("quick.json" if given.quick else "speed.json")
    run(tuple(given.names or SUBJECTS), out.resolve(), given.quick, given.threads)


if __name__ == "__main__":
    main()
