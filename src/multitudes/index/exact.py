"""The exact index: every inner product in NumPy. The reference, and the default up to tens of thousands of items."""

from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.index import files
from multitudes.index.hits import empty_hits, write_hits
from multitudes.index.item_table import ItemTable, TableSegment, cache_by_topic, make_item_table
from multitudes.index.protocol import ANY_TOPIC, Hits, Topics
from multitudes.index.request import SearchRequest, check_request, search_by_topic
from multitudes.index.scan import scan

KIND = "exact"
TopicVectors = Callable[[int], NDArray[np.float32]]  # topic → its vectors, contiguous


class ExactIndex(TableSegment):
    """A segment that computes every inner product; see ``protocol`` for its guarantees."""

    def __init__(self, table: ItemTable) -> None:
        super().__init__(table)
        self._topic_vectors = cache_by_topic(table.topic_vectors)
        self._tombstones = table.ids[:0]

    @classmethod
    def build(cls, ids: ArrayLike, vectors: ArrayLike, topics: Topics | None = None) -> "ExactIndex":
        """Build an index of items.

        Args:
            ids: integers, distinct (n), in any order.
            vectors: one row for each id (n, D).
            topics: of the items, in the order of ``ids``.

        Raises:
            DataError: a vector is not finite, ids are repeated, or the topics are of another number of items.
        """
        return cls(make_item_table(ids, vectors, topics))

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int | NDArray[np.int64],
        *,
        excluded: Sequence[NDArray[np.int64]] | None = None,
        topic_Q: NDArray[np.int64] | None = None,
    ) -> Hits:
        """Find the best items of each query; see ``Searchable.search``."""
        request = check_request(
            query_QD, limit, excluded, topic_Q, dimension=self._table.dimension, items=len(self._table)
        )
        return search_by_topic(request.with_excluded_ids(self._tombstones).with_row_exclusions(self._table), self._scan)

    def _scan(self, topic: int, request: SearchRequest) -> Hits:
        return scan_topic(self._table, self._topic_vectors, topic, request)

    def without(self, ids: NDArray[np.int64]) -> "ExactIndex":
        """Return a view whose searches do not find some items; see ``Segment.without``."""
        other = copy(self)
        other._tombstones = ids
        return other

    def info(self) -> dict[str, Any]:
        """Describe the index."""
        return {"kind": KIND, "items": len(self), "dimension": self._table.dimension}

    def save(self, folder: Path) -> None:
        """Write ids, vectors and ``index.json`` into ``folder``."""
        files.save_item_table(folder, self._table)
        files.write_description(folder, self.info())


def scan_topic(table: ItemTable, topic_vectors: TopicVectors, topic: int, request: SearchRequest) -> Hits:
    """Search the items of a topic exactly.

    Args:
        table: all items.
        topic_vectors: returns the vectors of a topic.
        topic: the topic, or ``ANY_TOPIC``.
        request: with excluded rows in place of ids.
    """
    zero_Q: NDArray[np.bool_] = ~np.any(request.query_QD, axis=1)
    if not zero_Q.any():
        return _scan_scores(table, topic_vectors, topic, request)
    hits = empty_hits(len(zero_Q), request.max_limit)
    zero, other = np.flatnonzero(zero_Q), np.flatnonzero(~zero_Q)
    write_hits(hits, other, _scan_scores(table, topic_vectors, topic, request.select(other)))
    write_hits(hits, zero, _first_rows(table, topic, request.select(zero)))
    return hits


def _scan_scores(table: ItemTable, topic_vectors: TopicVectors, topic: int, request: SearchRequest) -> Hits:
    query_QD, limit_Q, excluded, _ = request
    # Rows are in the order of the ids, so the scan works on rows, and only the results are turned into ids.
    row_M = _topic_rows(table, topic)
    vectors_MD = table.vectors_nD if topic == ANY_TOPIC else topic_vectors(topic)
    return table.rows_to_ids(scan(query_QD, row_M, vectors_MD, limit_Q, excluded))


def _topic_rows(table: ItemTable, topic: int) -> NDArray[np.int64]:
    return np.arange(len(table)) if topic == ANY_TOPIC else table.postings.rows(topic).astype(np.int64)


def _first_rows(table: ItemTable, topic: int, request: SearchRequest) -> Hits:
    """Answer queries of zeros: all items tie, so the first rows are the best, and no scan has to sort all items."""
    row_M = _topic_rows(table, topic)
    hits = empty_hits(len(request.limit_Q), request.max_limit)
    for query, limit in enumerate(request.limit_Q.tolist()):
        excluded = row_M[:0] if request.excluded is None else request.excluded[query]
        first = row_M[: limit + len(excluded)]
        found = first[~np.isin(first, excluded)][:limit]
        hits.id_QN[query, : len(found)], hits.score_QN[query, : len(found)] = found, 0
        hits.count_Q[query] = len(found)
    return table.rows_to_ids(hits)
