"""``python -m benchmarks.service.idle [--workers N …] [--seconds S] …``: what a service costs while nobody asks.

A processor that sleeps is woken by every timer, so the wake-ups of an idle service are counted: the voluntary context
switches of all its threads. Linux only.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from benchmarks import SEED
from benchmarks.machine import ROOT, MeasurementContext
from benchmarks.service.load import send_with_clients
from benchmarks.service.releases import world_folder
from benchmarks.service.serving import run_service
from benchmarks.service.world import Sizes
from benchmarks.timing import spread
from multitudes.atomic import write_text

RESULTS = ROOT / "benchmarks" / "results" / "service-idle.json"
_SIZES = Sizes(items=5_000, users=200)  # an idle service does the same with any corpus
_SETTLE_S = 10.0  # after the last request: what follows it belongs to it


def main() -> None:
    """Measure, and keep each record in place of an earlier one of the same commit and number of processes."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service.idle", description="Count the wake-ups of an idle service."
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="processes that answer")
    parser.add_argument("--seconds", type=float, default=30, help="of each repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, default=ROOT / ".bench-service", help="folder for the world; kept")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON")
    given = parser.parse_args()
    folder = world_folder(_SIZES, given.work.resolve())
    for workers in given.workers:
        record = measure_idle(folder, workers, given.seconds, given.repeats)
        kept = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else []
        kept = [other for other in kept if _subject(other) != _subject(record)] + [record]
        write_text(given.out, json.dumps(kept, indent=1, allow_nan=False) + "\n")
        print(json.dumps(record["figures"]))


def measure_idle(folder: Path, workers: int, seconds: float, repeats: int) -> dict[str, Any]:
    """Return the record of a service that answered some requests and then idles.

    Args:
        folder: of the world.
        workers: processes that answer.
        seconds: of each repeat.
        repeats: how often to measure.
    """
    context = MeasurementContext()
    switches_per_s, cpu_ms_per_minute = [], []
    with run_service(folder, "joint", None, workers) as service:
        cores = sorted(os.sched_getaffinity(0))
        send_with_clients(service.port, clients=4, seconds=1, users=_SIZES.users, n=20, cores=cores)
        time.sleep(_SETTLE_S)
        for _ in range(repeats):
            began_s, switches, cpu_s = time.perf_counter(), service.switches(), service.cpu_s()
            time.sleep(seconds)
            took_s = time.perf_counter() - began_s
            switches_per_s.append((service.switches() - switches) / took_s)
            cpu_ms_per_minute.append(60e3 * (service.cpu_s() - cpu_s) / took_s)
    return {
        "sizes": _SIZES._asdict(),
        "plan": {"workers": workers, "seconds": seconds},
        **context.head(("multitudes", "uvicorn", "uvloop", "numpy", "onnxruntime")),
        "seeds": [SEED],
        "figures": {"switches_per_s": spread(switches_per_s), "cpu_ms_per_minute": spread(cpu_ms_per_minute)},
    }


def _subject(record: dict[str, Any]) -> tuple[str, int]:
    """Return what makes a record one of its own."""
    return record["versions"]["commit"], record["plan"]["workers"]


if __name__ == "__main__":
    main()
