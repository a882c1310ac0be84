"""``python -m reliability [name …] [--scale X] [--out FILE]``."""

import argparse
import sys
from pathlib import Path

from benchmarks.machine import ROOT

from reliability.suite import TRIALS, run


def main() -> None:
    """Make the named trials, all by default; exit with 1 where a claim was not shown."""
    parser = argparse.ArgumentParser(prog="python -m reliability", description="Do harm, and count what comes of it.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"trials: {', '.join(TRIALS)}; none: all")
    parser.add_argument("--scale", type=float, default=1.0, help="less than 1: smaller and shorter")
    parser.add_argument("--out", type=Path, help="JSON file; trials that it has at this scale are not made again")
    parser.add_argument("--again", action="store_true", help="make them again")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in TRIALS]
    if unknown:
        parser.error(f"unknown trial '{unknown[0]}'; known: {', '.join(TRIALS)}")
    out = given.out or ROOT / "reliability" / "results" / f"scale-{given.scale:g}.json"
    sys.exit(not run(tuple(given.names or TRIALS), out.resolve(), given.scale, again=given.again))


if __name__ == "__main__":
    main()
