"""Posting lists: which rows of an index belong to a topic.

Legend: n rows · T distinct topics · M pairs of a row and a topic.

They decide how a topic is searched: by their number, not by the hope that a filtered search finds enough. The vectors
of short lists are copied side by side when they are asked for, and stay there while there is room: a scan of a copy
takes half the time of one that gathers rows first.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.errors import DataError
from multitudes.index.protocol import Topics

_KEPT_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Postings:
    """The rows of each topic, ascending: those of ``topic_T[t]`` are ``row_M[offset[t] : offset[t + 1]]``."""

    topic_T: NDArray[np.int64]  # ascending
    offset: NDArray[np.int64]  # T + 1
    row_M: NDArray[np.int32]

    def rows(self, topic: int) -> NDArray[np.int32]:
        """Return the rows of a topic; none where it is not known."""
        t = int(np.searchsorted(self.topic_T, topic))
        known = t < len(self.topic_T) and self.topic_T[t] == topic
        return self.row_M[self.offset[t] : self.offset[t + 1]] if known else self.row_M[:0]

    def longer_than(self, rows: int) -> list[int]:
        """Return the topics of more than so many rows."""
        longer: list[int] = self.topic_T[np.diff(self.offset) > rows].tolist()
        return longer

    def topics(self, n: int) -> Topics:
        """Return the same the other way round: the topics of each of n rows."""
        topic_M = np.repeat(self.topic_T, np.diff(self.offset))
        order = np.argsort(self.row_M, kind="stable")  # topics ascend within a row
        count_n = np.bincount(self.row_M, minlength=n)
        return Topics.of(count_n, topic_M[order])


NO_POSTINGS = Postings(np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int32))


def postings(topics: Topics | None, row_n: NDArray[np.int64]) -> Postings:
    """Turn topics of items into rows of topics.

    Args:
        topics: of n items.
        row_n: the row that each of those items has in the index.

    Raises:
        DataError: the topics are no integers, not those of n items, or a topic is below 1.
    """
    if topics is None:
        return NO_POSTINGS
    offset, topic_M = (np.asarray(array) for array in topics)
    if offset.dtype.kind not in "iu" or topic_M.dtype.kind not in "iu":
        raise DataError(f"topics are {topic_M.dtype} and their offsets {offset.dtype}; expected integers")
    offset, topic_M = offset.astype(np.int64), topic_M.astype(np.int64)
    if len(offset) != len(row_n) + 1 or offset[0] != 0 or offset[-1] != len(topic_M) or (np.diff(offset) < 0).any():
        raise DataError(
            f"topics are given for {len(offset) - 1} items, up to place {offset[-1:]} of {len(topic_M)};"
            f" expected {len(row_n)} items, one for each id"
        )
    if len(topic_M) and topic_M.min() < 1:
        raise DataError(f"topic {topic_M.min()} is given; topics are numbered from 1, an item without one has none")
    topic_T, t_M = np.unique(topic_M, return_inverse=True)
    n = max(1, int(row_n.max(initial=0)) + 1)
    # By topic, then by row; a topic that an item names twice is named once.
    t_M, row_M = np.divmod(np.unique(t_M * n + np.repeat(row_n, np.diff(offset))), n)
    first_T = np.searchsorted(t_M, np.arange(len(topic_T) + 1))
    return Postings(topic_T, first_T.astype(np.int64), row_M.astype(np.int32))


def topics_of(offset: NDArray[np.int64], topic: NDArray[np.integer[Any]], chosen: NDArray[np.int64]) -> Topics:
    """Return the topics of some rows of a table of topics, in the order of ``chosen``."""
    first = offset[chosen]
    length = offset[chosen + 1] - first
    end = np.cumsum(length)
    place = np.arange(end[-1] if len(end) else 0) + np.repeat(first - (end - length), length)
    return Topics(np.concatenate([[0], end]).astype(np.int64), np.asarray(topic[place], dtype=np.int64))


def save(folder: Path, lists: Postings) -> None:
    """Write the lists beside the vectors."""
    np.save(folder / "topics.npy", lists.topic_T, allow_pickle=False)
    np.save(folder / "topic_offset.npy", lists.offset, allow_pickle=False)
    np.save(folder / "topic_row.npy", lists.row_M, allow_pickle=False)


def load(folder: Path) -> Postings:
    """Open the lists of a verified folder; the rows stay on disk until they are read."""
    return Postings(
        np.load(folder / "topics.npy", allow_pickle=False),
        np.load(folder / "topic_offset.npy", allow_pickle=False),
        np.load(folder / "topic_row.npy", mmap_mode="r", allow_pickle=False).view(np.ndarray),
    )


class Kept:
    """What was made for topics used lately, within a budget of bytes; the rest is made again. Safe in threads."""

    def __init__(self, make: Callable[[int], NDArray[Any]], budget: int = _KEPT_BYTES) -> None:
        self._make = make
        self._budget = budget
        self._bytes = 0
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._lock = Lock()

    def of(self, topic: int) -> NDArray[Any]:
        """Return what belongs to a topic."""
        with self._lock:
            kept = self._kept.get(topic)
            if kept is not None:
                self._kept.move_to_end(topic)
                return kept
        made = self._make(topic)  # outside the lock: two threads may both make it, and both are right
        if made.nbytes <= self._budget:
            self._keep(topic, made)
        return made

    def _keep(self, topic: int, made: NDArray[Any]) -> None:
        with self._lock:
            if topic not in self._kept:
                self._bytes += made.nbytes
            self._kept[topic] = made
            while self._bytes > self._budget:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
