"""The seam between retrieval and nearest-neighbour engines: what every index promises.

Legend: Q queries · N results asked for · D dimensions · n items held.

The promise, tested on every implementation by ``tests/index/test_contract.py``: best first, ties by the smaller id; as
many as asked for whenever the index holds them after exclusion and topic; never a hole, never an excluded id, never an
item of another topic; equal answers for a query alone and in a batch; the recall that ``info()`` states, with filters
as without. The score is the inner product.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

NO_ID = -1  # fills a row of Hits beyond its count
ANY_TOPIC = 0  # in place of a topic: all items; topics are numbered from 1


class Topics(NamedTuple):
    """The topics of n items, in the order of their ids: those of item i are ``topic[offset[i] : offset[i + 1]]``."""

    offset: NDArray[np.int64]  # n + 1
    topic: NDArray[np.int64]

    @classmethod
    def from_counts(cls, length_n: NDArray[np.int64], topic: NDArray[np.int64]) -> "Topics":
        """Return the topics of items that have so many each, named one after the other."""
        return cls(np.concatenate([[0], np.cumsum(length_n)]).astype(np.int64), topic)


class Hits(NamedTuple):
    """What Q queries found, best first. A row that found fewer than N ends in ``NO_ID`` and minus infinity."""

    id_QN: NDArray[np.int64]
    score_QN: NDArray[np.float32]
    count_Q: NDArray[np.int64]
    log_sum_Q: NDArray[np.float32] | None = None  # where it was asked for: log Σ exp(score); NaN: not known

    def ids(self, query: int) -> NDArray[np.int64]:
        """Return the ids that one query found, without the fill."""
        return self.id_QN[query, : self.count_Q[query]]

    def scores(self, query: int) -> NDArray[np.float32]:
        """Return the scores of ``ids(query)``."""
        return self.score_QN[query, : self.count_Q[query]]

    def select(self, chosen: slice | NDArray[np.int64]) -> "Hits":
        """Return what some of the queries found."""
        log_sum_Q = None if self.log_sum_Q is None else self.log_sum_Q[chosen]
        return Hits(self.id_QN[chosen], self.score_QN[chosen], self.count_Q[chosen], log_sum_Q)


class Searchable(Protocol):
    """Holds vectors under int64 ids and finds those of the largest inner product."""

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int | NDArray[np.int64],
        *,
        excluded: Sequence[NDArray[np.int64]] | None = None,
        topic_Q: NDArray[np.int64] | None = None,
        log_sums: bool = False,
    ) -> Hits:
        """Find the best ids of each query.

        Args:
            query_QD: the queries; the vectors of a request go in one call.
            limit: N, how many ids: for all queries, or one number for each (Q,). Hits are as wide as the largest.
            excluded: one array of ids for each query that must not come back. Ids that the index does not hold are
                ignored; the same array may serve several queries.
            topic_Q: one topic for each query, to which its items are restricted; ``ANY_TOPIC``: all items. A topic that
                the index does not know has no items.
            log_sums: ask for ``log_sum_Q``, over all items of the query's topic, also the excluded ones; an index that
                does not compute every score of a query says NaN.

        Raises:
            UsageError: the queries have another width than the index, or ``limit``, ``excluded`` or ``topic_Q`` another
                length than the queries.
            DataError: a query is not finite.
            UnavailableError: a remote engine did not answer in time.
        """
        ...

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the float32 vectors of ``ids``, one row each.

        Raises:
            UsageError: an id is not in the index.
        """
        ...

    def ids(self) -> NDArray[np.int64]:
        """Return every id, ascending."""
        ...

    def items_of(self, topic: int) -> NDArray[np.int64]:
        """Return the ids of a topic, ascending; none where the topic is not known."""
        ...

    def __len__(self) -> int:
        """Return the number of items."""
        ...

    def info(self) -> dict[str, Any]:
        """Describe the index for people and manifests: kind, items, dimension, and what was tuned on what."""
        ...

    def save(self, folder: Path) -> None:
        """Write the index into ``folder``, which must exist, with a checksum for every file."""
        ...


class Index(Searchable, Protocol):
    """What can be searched, and whose items come and go."""

    def add(self, ids: ArrayLike, vectors: ArrayLike, topics: Topics | None = None) -> None:
        """Add items, or replace those that are held already. The next search sees them, all of them or none.

        Raises:
            DataError: as in a build: not finite, another width, ids repeated or no integers. Nothing is added then.
        """
        ...

    def remove(self, ids: ArrayLike) -> None:
        """Remove items. The next search does not find them.

        Raises:
            UsageError: an id is not held. Nothing is removed then.
        """
        ...


class Segment(Searchable, Protocol):
    """An index that never changes: all of ``Index`` but ``add`` and ``remove``."""

    def topics(self) -> Topics:
        """Return the topics of every item, in the order of ``ids()``."""
        ...

    def without(self, ids: NDArray[np.int64]) -> Searchable:
        """Return the segment for searches that find none of some items, which are looked up once.

        Sums are still those of all items; ``ids`` ascend.
        """
        ...


class Items(NamedTuple):
    """Items as a build takes them."""

    ids: NDArray[np.int64]
    vectors_nD: NDArray[np.float32]
    topics: Topics
