"""``python -m reliability [name …] [--scale X] [--out FILE]``."""

import argparse
import sys
from pathlib import Path

from benchmarks.machine import ROOT

from reliability.suite import SOAK_SECONDS, TRIALS, run


def main() -> None:
    """Make the named trials, all by default; exit with 1 where a claim was not shown."""
    parser = argparse.ArgumentParser(prog="python -m reliability", description="Do harm, and count what comes of it.")
    known = f"trials: {', '.join(TRIALS)}; none: all but soak, which takes a quarter of an hour alone"
    parser.add_argument("names", nargs="*", metavar="name", help=known)
    parser.add_argument("--scale", type=float, default=1.0, help="less than 1: smaller and shorter")
    parser.add_argument(
        "--seconds", type=float, help=f"of soak (by default {SOAK_SECONDS:g} times the scale) and fuzz (60)"
    )
    parser.add_argument("--out", type=Path, help="JSON file; trials that it has at this scale are not made again")
    parser.add_argument("--again", action="store_true", help="make them again")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in TRIALS]
    if unknown:
        parser.error(f"unknown trial '{unknown[0]}'; known: {', '.join(TRIALS)}")
    out = given.out or ROOT / "reliability" / "results" / f"scale-{given.scale:g}.json"
    names = tuple(given.names or (name for name in TRIALS if name != "soak"))
    sys.exit(not run(names, out.resolve(), given.scale, again=given.again, seconds=given.seconds))


if __name__ == "__main__":
    main()
