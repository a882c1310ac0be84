"""Requests on the clock: several ways of asking the same users, in turn, so that a busy moment hits all of them alike.

Legend: R rounds · B users.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.index.truth import Ids, share_found
from benchmarks.timing import round_figure, spread
from multitudes.index.protocol import Hits
from multitudes.progress import Progress, silent

PERCENTILES = (50, 90, 99)
_WARM = 20  # requests of each way before the clock counts
_APART = 37  # users between two ways: none finds what it reads in the processor's cache, left there by another
_STEP = 20
_NOTHING: Ids = np.zeros((0, 0), dtype=np.int64)

Answer = Sequence[Ids]  # ids for each vector of a request, best first
Way = Callable[[int], Hits | Ids]  # user → what was found; ids (K, M) are filled with −1


class Timings(NamedTuple):
    """Milliseconds of each request, on the wall and of the processor, and the answers."""

    wall_RB: NDArray[np.float64]
    cpu_RB: NDArray[np.float64]
    found: list[Hits | Ids]


def time_ways(ways: Mapping[str, Way], users: int, rounds: int, progress: Progress = silent) -> dict[str, Timings]:
    """Ask every user in every way, ``rounds`` times."""
    for way in ways.values():
        for user in range(min(_WARM, users)):
            way(user)
    timings = {name: Timings(np.zeros((rounds, users)), np.zeros((rounds, users)), [_NOTHING] * users) for name in ways}
    for turn in range(rounds * users):
        for place, (name, way) in enumerate(ways.items()):
            user = (turn + place * _APART) % users
            began, cpu_began = time.perf_counter(), time.thread_time()
            found = way(user)
            timings[name].cpu_RB[turn // users, user] = 1000 * (time.thread_time() - cpu_began)
            timings[name].wall_RB[turn // users, user] = 1000 * (time.perf_counter() - began)
            timings[name].found[user] = found
        if turn % _STEP == 0:
            progress(turn, rounds * users, "requests of each kind")
    return timings


def figures(timed: Timings, wanted: Sequence[Answer]) -> dict[str, Any]:
    """Return percentiles of both clocks, each with its spread over the rounds, the recall, and how many went short."""
    shares, short = [], 0
    for found, want in zip(map(answer, timed.found), wanted, strict=True):
        first = [got[: len(ids)] for got, ids in zip(found, want, strict=True)]
        shares.append(share_found(first, want))
        short += sum(len(got) < len(ids) for got, ids in zip(first, want, strict=True))
    return {
        "requests": timed.wall_RB.shape[1],
        "ms": _percentiles(timed.wall_RB),
        "cpu_ms": _percentiles(timed.cpu_RB),
        "recall": round_figure(float(np.concatenate(shares).mean())),
        "short": short,
    }


def answer(found: Hits | Ids) -> Answer:
    """Return the ids of each vector, without the fill."""
    if isinstance(found, Hits):
        return [found.ids(query) for query in range(len(found.count_Q))]
    return [ids[ids >= 0] for ids in found]


def _percentiles(ms_RB: NDArray[np.float64]) -> dict[str, Any]:
    return {f"p{p}": spread(np.percentile(ms_RB, p, axis=1).tolist()) for p in PERCENTILES}
