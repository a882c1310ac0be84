"""``python -m benchmarks.request RELEASES RELEASES …``: what a request costs beside one of the first release.

Each argument is a folder of releases. All answer the same known users in turn, in one process, so a busy machine is as
busy for each. CPU is counted, of this thread, and a user's request is the least of its rounds: work, without waiting.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import ROOT, MeasurementContext
from benchmarks.timing import StageClock
from multitudes.atomic import write_json
from multitudes.retrieval.request import Request
from multitudes.retrieval.retriever import Retriever

RESULT = ROOT / "benchmarks" / "results" / "request.json"
_STAGES = ("users", "tower", "search", "blend", "names")


class Costs(NamedTuple):
    """CPU milliseconds of one release's requests."""

    total_B: NDArray[np.float64]
    stage_BS: NDArray[np.float64]
    vectors: float  # searched for a user, on average


def measure(releases: list[Retriever], user_ids: list[int | str], n: int, rounds: int) -> list[Costs]:
    """Return the costs of each release, of the least round of each user."""
    costs = [Costs(np.full(len(user_ids), np.inf), np.zeros((len(user_ids), len(_STAGES))), 0.0) for _ in releases]
    vectors: list[list[int]] = [[] for _ in releases]
    for number in range(rounds + 1):  # the first warms up
        for b, user_id in enumerate(user_ids):
            for one, release in enumerate(releases):
                clock, started = StageClock(_STAGES), time.thread_time()
                answer = release.answer([Request(user_id, n=n)], timer=clock.end)[0]
                total_ms = 1000 * (time.thread_time() - started)
                if number == 0:
                    vectors[one].append(sum(interest.share > 0 for interest in answer.interests))
                elif total_ms < costs[one].total_B[b]:
                    costs[one].total_B[b] = total_ms
                    costs[one].stage_BS[b] = [1000 * seconds for seconds in clock.seconds.values()]
    return [cost._replace(vectors=float(np.mean(own))) for cost, own in zip(costs, vectors, strict=True)]


def main() -> None:
    """Measure, print the ratios, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("releases", nargs="+", type=Path)
    parser.add_argument("--n", type=int, default=100, help="candidates")
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=8)
    arguments = parser.parse_args()
    context = MeasurementContext()
    opened = [Retriever.open(folder) for folder in arguments.releases]
    ids = opened[0].release.user_ids
    drawn = np.sort(np.random.default_rng(0).permutation(len(ids))[: arguments.users])
    costs = measure(opened, [ids[int(b)] for b in drawn], arguments.n, arguments.rounds)
    record: list[dict[str, Any]] = []
    for release, cost in zip(opened, costs, strict=True):
        p90, mean = float(np.percentile(cost.total_B, 90)), float(cost.total_B.mean())
        record.append(
            {
                "method": release.release.manifest.method,
                "vectors": cost.vectors,
                "retrieval": release.release.manifest.retrieval,
                "mean_ms": mean,
                "p90_ms": p90,
                "stages_ms": dict(zip(_STAGES, np.median(cost.stage_BS, axis=0).round(3).tolist(), strict=True)),
            }
        )
        beside = f"{mean / record[0]['mean_ms']:.2f} x the mean, {p90 / record[0]['p90_ms']:.2f} x the 90th percentile"
        print(f"{record[-1]['method']}, {cost.vectors:.1f} vectors: {mean:.2f} ms CPU, {beside}", file=sys.stderr)
    write_json(RESULT, context.head() | {"n": arguments.n, "users": arguments.users, "releases": record})


if __name__ == "__main__":
    main()
