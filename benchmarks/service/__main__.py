"""``python -m benchmarks.service [--items N …] [--seconds S] …``: ``make bench-service``."""

import argparse
import os
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.records import replace_record
from benchmarks.service.run import Cores, Plan, measure_service
from benchmarks.service.world import Sizes

RESULTS = ROOT / "benchmarks" / "results" / "service.json"


def main() -> None:
    """Measure, and keep each record in place of an earlier one of as many items, requests a second and processes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service", description="Measure the service at scale.")
    parser.add_argument("--items", type=int, nargs="+", default=[1_000_000], help="sizes of the corpora")
    parser.add_argument("--users", type=int, default=2_000, help="who ask, with a history and a state each")
    parser.add_argument("--n", type=int, default=200, help="candidates of an answer")
    parser.add_argument("--rate", type=float, default=100, help="requests a second")
    parser.add_argument("--clients", type=int, default=16, help="that wait for their answers, for the throughput")
    parser.add_argument("--seconds", type=float, default=10, help="of each load")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--inside", type=int, default=200, help="requests for the CPU time by stage")
    parser.add_argument("--workers", type=int, default=1, help="processes of each service")
    parser.add_argument("--pin", action="store_true", help="the load gets the last core, and the service all others")
    parser.add_argument("--work", type=Path, default=ROOT / ".bench-service", help="folder for the worlds; kept")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON")
    given = parser.parse_args()
    plan = Plan(given.n, given.rate, given.clients, given.seconds, given.rounds, given.inside, given.workers)
    for items in given.items:
        record = measure_service(Sizes(items, given.users), plan, _cores(given.pin), given.work.resolve())
        replace_record(given.out, record, _load)
        print(given.out)


def _load(record: dict[str, Any]) -> tuple[int, float, int]:
    """Return what makes a record one of its own."""
    plan = record["plan"]
    return record["sizes"]["items"], plan["rate"], plan.get("workers", 1)


def _cores(pin: bool) -> Cores:
    """Return the cores of the service and of the load; without ``pin`` both may use all."""
    known = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return Cores(known[:-1], known[-1:]) if pin and len(known) > 1 else Cores(known, known)


if __name__ == "__main__":
    main()
