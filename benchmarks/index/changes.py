"""Items that come and go: what a thousand of them cost, and what a search costs after ten thousand changes.

Legend: n items · D dimensions · Q queries · K vectors of a user · M results.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import SEED
from benchmarks.index import clock
from benchmarks.index.clock import Answer, Timings, Way, time_ways
from benchmarks.index.corpus import Corpus, Kind, Vectors
from benchmarks.index.truth import Ids, remove_ids
from benchmarks.index.world import DEPTH, World
from benchmarks.timing import Readings, print_progress, time_calls, wall_and_cpu_ms
from multitudes.index.factory import load_index
from multitudes.index.protocol import Index
from multitudes.seeding import generator

AT_ONCE = 1_000
_TIMES = 5  # additions, and as many removals


def measure(world: str, index: str, engine: str, kind: Kind, users: int, rounds: int) -> dict[str, Any]:
    """Return milliseconds of additions and removals, and the figures of searches before and after."""
    opened, live = World.open(Path(world)), load_index(Path(index))
    items, width = opened.item_nD.shape
    at_once = min(AT_ONCE, items // (4 * _TIMES))
    new_nD = Corpus(kind, items, width).more(_TIMES * at_once, "new")
    new_ids = items + 1 + np.arange(len(new_nD))
    gone = generator(SEED, "gone").choice(opened.ids(), len(new_nD), replace=False)
    before = _time_searches(opened, live, f"{engine}: before changes", users, rounds)
    added, removed = Readings([], []), Readings([], [])
    for start in range(0, len(new_nD), at_once):
        part = slice(start, start + at_once)
        _time_change(added, partial(live.add, new_ids[part], new_nD[part]))
        _time_change(removed, partial(live.remove, gone[part]))
    after = _time_searches(opened, live, f"{engine}: after changes", users, rounds)
    return {
        "changed": 2 * len(new_nD),
        "at_once": at_once,
        "add_ms": wall_and_cpu_ms(added),
        "remove_ms": wall_and_cpu_ms(removed),
        "before": clock.figures(before, [list(opened.best_of(user)[:, :DEPTH]) for user in range(users)]),
        "after": clock.figures(after, [best_after(opened, user, gone, new_nD) for user in range(users)]),
    }


def best_after(world: World, user: int, gone: Ids, new_nD: Vectors) -> Answer:
    """Return the exact answer of a user when the items ``gone`` have left and new ones follow the last id."""
    answers = []
    left = remove_ids(world.best_of(user), [gone] * len(world.user_BKD[user]), DEPTH)
    for vector_D, old in zip(world.user_BKD[user], left, strict=True):
        ids = np.concatenate([old, len(world.item_nD) + 1 + np.arange(len(new_nD))])
        score = np.concatenate([world.item_nD[old - 1] @ vector_D, new_nD @ vector_D])
        answers.append(ids[np.argsort(-score, kind="stable")[:DEPTH]])
    return answers


def _time_searches(world: World, live: Index, what: str, users: int, rounds: int) -> Timings:
    ways: dict[str, Way] = {what: lambda user: live.search(world.user_BKD[user], DEPTH)}
    return time_ways(ways, users, rounds, print_progress(what))[what]


def _time_change(readings: Readings, change: Callable[[], object]) -> None:
    once = time_calls(change, 1)
    readings.wall.extend(once.wall)
    readings.cpu.extend(once.cpu)
