"""Requests of a user's vectors: in full, sharing a budget, alone, with what was seen left out, within a topic.

Each ``measure`` is called in a process of its own, and returns what JSON can hold.

Legend: K vectors of a request.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.index import clock
from benchmarks.index.clock import Answer, Way
from benchmarks.index.corpus import VECTORS_PER_USER as K
from benchmarks.index.truth import Ids, remove_ids
from benchmarks.index.world import CASES, DEPTH, EXCLUDED, N, World, first_distinct, topic_of
from benchmarks.timing import print_progress
from multitudes.index.factory import load_index
from multitudes.index.protocol import Index

IN_FULL, SHARED, ALONE, ALL_DEEP = f"{K} x {DEPTH}", f"{K} x {N} shared", f"1 x {N}", f"{K} x {N}"
UNSEEN = f"{IN_FULL}, {EXCLUDED:,} excluded"


def measure(world: str, index: str, engine: str, users: int, rounds: int) -> dict[str, Any]:
    """Return the figures of requests without a topic."""
    opened, ours = World.open(Path(world)), load_index(Path(index))
    seen = [first_distinct(opened.best_of(user), EXCLUDED) for user in range(users)]
    timings = clock.time_ways(_ways(opened, ours, seen), users, rounds, print_progress(f"{engine}: requests"))
    wanted = _exact_answers(opened, seen)
    return {
        name: clock.figures(timed, [wanted[name](user) for user in range(users)]) for name, timed in timings.items()
    }


def shared_limits() -> NDArray[np.int64]:
    """Return how N places are divided evenly among the vectors of a user."""
    return np.full(K, N // K) + (np.arange(K) < N % K)


def _ways(world: World, index: Index, seen: list[Ids]) -> dict[str, Way]:
    user_BKD, divided = world.user_BKD, shared_limits()
    return {
        IN_FULL: lambda user: index.search(user_BKD[user], DEPTH),
        UNSEEN: lambda user: index.search(user_BKD[user], DEPTH, excluded=[seen[user]] * K),
        SHARED: lambda user: index.search(user_BKD[user], divided),
        ALONE: lambda user: index.search(user_BKD[user, :1], N),
        ALL_DEEP: lambda user: index.search(user_BKD[user], N),
    }


def _exact_answers(world: World, seen: list[Ids]) -> dict[str, Callable[[int], Answer]]:
    """Return for each way the exact answer by user."""
    divided = shared_limits()
    return {
        IN_FULL: lambda user: list(world.best_of(user)[:, :DEPTH]),
        UNSEEN: lambda user: remove_ids(world.best_of(user), [seen[user]] * K, DEPTH),
        SHARED: lambda user: [ids[:limit] for ids, limit in zip(world.best_of(user), divided, strict=True)],
        ALONE: lambda user: [world.best_of(user)[0, :N]],
        ALL_DEEP: lambda user: list(world.best_of(user)[:, :N]),
    }


def measure_topics(world: str, index: str, engine: str, users: int, rounds: int) -> dict[str, Any]:
    """Return the figures of requests within one topic, alone and with the user's best items of it left out."""
    opened, ours = World.open(Path(world)), load_index(Path(index))
    ways: dict[str, Way] = {}
    wanted: dict[str, list[Answer]] = {}
    for case in CASES:
        topic_B = [np.full(K, topic_of(case, user)) for user in range(users)]
        best_BKM = opened.topic_best(case)[:users]
        half = round(CASES[case].share * len(opened.item_nD)) // 2  # a topic of which all is gone says nothing
        seen = [first_distinct(best_KM, min(EXCLUDED, half)) for best_KM in best_BKM]
        ways[case] = _within(ours, opened, topic_B, None)
        ways[f"{case}, excluded"] = _within(ours, opened, topic_B, seen)
        wanted[case] = [list(best_KM[:, :DEPTH]) for best_KM in best_BKM]
        wanted[f"{case}, excluded"] = [
            remove_ids(best_KM, [gone] * K, DEPTH) for best_KM, gone in zip(best_BKM, seen, strict=True)
        ]
    timings = clock.time_ways(ways, users, rounds, print_progress(f"{engine}: topics"))
    return {name: clock.figures(timed, wanted[name]) for name, timed in timings.items()}


def _within(index: Index, world: World, topic_B: list[NDArray[np.int64]], seen: list[Ids] | None) -> Way:
    if seen is None:
        return lambda user: index.search(world.user_BKD[user], DEPTH, topic_Q=topic_B[user])
    return lambda user: index.search(world.user_BKD[user], DEPTH, topic_Q=topic_B[user], excluded=[seen[user]] * K)
