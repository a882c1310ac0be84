"""The reference index: exact inner products in NumPy, and the default up to some tens of thousands of items."""

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.index import files
from multitudes.index.hits import empty_hits, write_hits
from multitudes.index.item_table import ItemTable, TopicCache, make_item_table
from multitudes.index.protocol import ANY_TOPIC, Hits, Topics
from multitudes.index.request import SearchRequest, check_request, search_by_topic
from multitudes.index.scan import scan

KIND = "exact"


class ExactIndex:
    """A segment that computes every inner product; see ``Index`` for the promise that it keeps."""

    def __init__(self, rows: ItemTable) -> None:
        self._rows = rows
        self._vectors = TopicCache(rows.topic_vectors)
        self._tombstones = rows.ids[:0]

    @classmethod
    def build(cls, ids: ArrayLike, vectors: ArrayLike, topics: Topics | None = None) -> "ExactIndex":
        """Build from ids, vectors and topics in any order, the same for all three.

        Raises:
            DataError: vectors not finite, ids repeated, or topics of another number of items.
        """
        return cls(make_item_table(ids, vectors, topics))

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int | NDArray[np.int64],
        *,
        excluded: Sequence[NDArray[np.int64]] | None = None,
        topic_Q: NDArray[np.int64] | None = None,
        log_sums: bool = False,
    ) -> Hits:
        """Find the best items of each query; see ``Index.search``."""
        request = check_request(
            query_QD, limit, excluded, topic_Q, log_sums, dimension=self._rows.dimension, items=len(self._rows)
        )
        return search_by_topic(request.exclude_also(self._tombstones).with_row_exclusions(self._rows), self._scan)

    def _scan(self, topic: int, request: SearchRequest) -> Hits:
        return scan_topic(self._rows, self._vectors, topic, request)

    def without(self, ids: NDArray[np.int64]) -> "ExactIndex":
        """Return the segment for searches that find none of some items; see ``Segment.without``."""
        other = copy(self)
        other._tombstones = ids
        return other

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of ``ids``."""
        return self._rows.vectors(ids)

    def ids(self) -> NDArray[np.int64]:
        """Return every id, ascending."""
        return self._rows.ids

    def items_of(self, topic: int) -> NDArray[np.int64]:
        """Return the ids of a topic, ascending."""
        return self._rows.items_of(topic)

    def topics(self) -> Topics:
        """Return the topics of every item, in the order of ``ids()``."""
        return self._rows.postings.topics(len(self._rows))

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._rows)

    def info(self) -> dict[str, Any]:
        """Describe the index."""
        return {"kind": KIND, "items": len(self), "dimension": self._rows.dimension}

    def save(self, folder: Path) -> None:
        """Write ids, vectors and ``index.json`` into ``folder``."""
        files.save_item_table(folder, self._rows)
        files.write_description(folder, self.info())


def scan_topic(rows: ItemTable, vectors: TopicCache, topic: int, request: SearchRequest) -> Hits:
    """Answer exactly, from every inner product with the items of a topic; what is excluded is named by row."""
    zero_Q: NDArray[np.bool_] = ~np.any(request.query_QD, axis=1)
    if not zero_Q.any():
        return _scan_scores(rows, vectors, topic, request)
    hits = empty_hits(len(zero_Q), request.max_limit, request.log_sums)
    zero, other = np.flatnonzero(zero_Q), np.flatnonzero(~zero_Q)
    write_hits(hits, other, _scan_scores(rows, vectors, topic, request.select(other)))
    write_hits(hits, zero, _first_rows(rows, topic, request.select(zero)))
    return hits


def _scan_scores(rows: ItemTable, vectors: TopicCache, topic: int, request: SearchRequest) -> Hits:
    query_QD, limit_Q, excluded, _, log_sums = request
    # By row, which is the order of the ids: of all items of a topic, those that are found alone get their ids.
    row_M = _topic_rows(rows, topic)
    vectors_MD = rows.vectors_nD if topic == ANY_TOPIC else vectors.get(topic)
    return rows.rows_to_ids(scan(query_QD, row_M, vectors_MD, limit_Q, excluded, log_sums))


def _topic_rows(rows: ItemTable, topic: int) -> NDArray[np.int64]:
    return np.arange(len(rows)) if topic == ANY_TOPIC else rows.postings.rows(topic).astype(np.int64)


def _first_rows(rows: ItemTable, topic: int, request: SearchRequest) -> Hits:
    """Answer queries of zeros: all items tie, so the first are the best, and a scan would sort every one of them."""
    row_M = _topic_rows(rows, topic)
    hits = empty_hits(len(request.limit_Q), request.max_limit, request.log_sums)
    for query, limit in enumerate(request.limit_Q.tolist()):
        out = row_M[:0] if request.excluded is None else request.excluded[query]
        some = row_M[: limit + len(out)]
        found = some[~np.isin(some, out)][:limit]
        hits.id_QN[query, : len(found)], hits.score_QN[query, : len(found)] = found, 0
        hits.count_Q[query] = len(found)
    if hits.log_sum_Q is not None and len(row_M):
        hits.log_sum_Q.fill(np.log(len(row_M)))
    return rows.rows_to_ids(hits)
