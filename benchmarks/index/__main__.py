"""``python -m benchmarks.index [--items N …] [--kinds latent clustered] …``: ``make bench-index``."""

import argparse
import os
from pathlib import Path

from benchmarks.index.corpus import KINDS
from benchmarks.index.run import ENGINES, PARTS, Plan, run
from benchmarks.machine import ROOT

RESULTS = ROOT / "benchmarks" / "results"


def main() -> None:
    """Measure what is not done yet."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.index", description="Measure the index at scale.")
    parser.add_argument("--items", type=int, nargs="+", default=[1_000_000, 10_000_000], help="sizes of the corpora")
    parser.add_argument("--width", type=int, default=64, help="of the vectors")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=ENGINES)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--users", type=int, default=240, help="requests of each kind")
    parser.add_argument("--rounds", type=int, default=3, help="times that every user asks")
    parser.add_argument("--milvus", metavar="URI", help="measure this server too; its password is in MILVUS_TOKEN")
    parser.add_argument("--again", action="store_true", help="measure the named parts once more")
    parser.add_argument("--work", type=Path, default=ROOT / ".bench-index", help="folder for corpora and indexes; kept")
    parser.add_argument(
        "--out", type=Path, default=RESULTS / "index.json", help="JSON; what it has already is not measured again"
    )
    given = parser.parse_args()
    plan = Plan(**{name: getattr(given, name) for name in Plan._fields})
    if given.milvus:
        os.environ["MILVUS_URI"] = given.milvus  # the processes of the parts open what they built
    run(plan, given.work.resolve(), given.out.resolve(), given.again)


if __name__ == "__main__":
    main()
