"""While one thread changes a live index, others search it: each sees a change completely or not at all."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore

import numpy as np

from multitudes.index.exact import ExactIndex
from multitudes.index.live import LiveIndex

N, D, VERSIONS, READERS = 60, 4, 30, 2
Pace = Callable[[], None]


def version(number: int) -> np.ndarray:
    """Return the vectors of one version of all items: every score of the query below is the number of the version."""
    return np.full((N, D), number, dtype=np.float32)


def fresh() -> LiveIndex:
    return LiveIndex(ExactIndex.build(np.arange(N), version(0)))


def seen_while(change_all: Callable[[LiveIndex, np.ndarray, Pace], None]) -> list[tuple[int, set[float]]]:
    """Return how many items, and which versions of them, each search of two threads saw during the changes."""
    index, done, searched = fresh(), Event(), Semaphore(0)

    def search() -> list[tuple[int, set[float]]]:
        seen = []
        while not done.is_set():
            hits = index.search(np.eye(1, D, dtype=np.float32), N + 5)
            seen.append((len(hits.ids(0)), set(hits.scores(0).tolist())))
            searched.release()
        return seen

    def pace() -> None:
        while searched.acquire(blocking=False):
            pass
        for _ in range(READERS + 1):  # of so many searches that end from now on, one begins from now on
            assert searched.acquire(timeout=60)

    with ThreadPoolExecutor(READERS) as pool:
        readers = [pool.submit(search) for _ in range(READERS)]
        try:
            for number in range(1, VERSIONS):
                change_all(index, version(number), pace)
                pace()
        finally:
            done.set()
        return [each for reader in readers for each in reader.result()]


def test_a_search_sees_one_version_of_all_items_and_two_halves_one_by_one():
    seen = seen_while(lambda index, vectors_nD, _: index.add(np.arange(N), vectors_nD))
    assert {items for items, _ in seen} == {N}
    assert {len(versions) for _, versions in seen} == {1}
    assert set().union(*(versions for _, versions in seen)) >= set(range(1, VERSIONS)), "beside the changes, not after"

    def in_two_halves(index: LiveIndex, vectors_nD: np.ndarray, pace: Pace) -> None:
        for half in (np.arange(N // 2), np.arange(N // 2, N)):
            index.add(half, vectors_nD[half])
            pace()

    assert {len(versions) for _, versions in seen_while(in_two_halves)} == {1, 2}


def test_two_writers_lose_nothing():
    index = fresh()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda i: index.add([1_000 + i], np.full((1, D), i)), range(200)))
        list(pool.map(lambda i: index.remove([1_000 + i]), range(0, 200, 2)))
    assert index.ids()[N:].tolist() == list(range(1_001, 1_200, 2))
