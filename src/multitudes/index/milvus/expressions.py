"""Filters in the language of Milvus.

Legend: P pieces.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from multitudes.index.protocol import ANY_TOPIC

BUCKETS = 64  # every item is in one of them by its id alone, evenly: a way to ask for a share of the collection


def hashed(id_n: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return numbers that have nothing to do with each other though the ids do (the end of SplitMix64)."""
    mixed = id_n.astype(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def buckets(id_n: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bucket of each id."""
    return (hashed(id_n) % np.uint64(BUCKETS)).astype(np.int64)


def one_of(ids: NDArray[np.int64]) -> str:
    """Return the filter for the items ``ids``; there must be one, for an empty list matches everything somewhere."""
    return f"id in {ids.tolist()}"


def allowed(topic: int, excluded: NDArray[np.int64]) -> str:
    """Return the filter for the items of a topic without those excluded; empty: every item."""
    parts = [] if topic == ANY_TOPIC else [f"array_contains(topics, {topic})"]
    if len(excluded):
        parts.append(f"id not in {excluded.tolist()}")
    return both(*parts)


def both(*filters: str) -> str:
    """Return the filter for what passes each of ``filters``."""
    return " and ".join(each for each in filters if each)


def pieces(count: int) -> Iterator[str]:
    """Yield filters that part the collection into ``count`` (P) pieces, at most one for each bucket."""
    edge = np.linspace(0, BUCKETS, min(count, BUCKETS) + 1).astype(int).tolist()
    for start, stop in pairwise(edge):
        yield f"bucket >= {start} and bucket < {stop}"
