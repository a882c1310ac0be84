"""The exact index: every inner product in NumPy. The reference, and the default up to tens of thousands of items."""

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.index import files
from multitudes.index.item_table import ItemTable, TableSegment, cache_by_topic, make_item_table
from multitudes.index.protocol import ANY_TOPIC, Hits, Topics
from multitudes.index.request import SearchRequest, check_request, scan_topic, search_by_topic
from multitudes.index.scan import FEW_QUERIES, scan

KIND = "exact"
# So many items are scanned once for all vectors of a user: a product costs less than a call for each topic.
_FEW_ITEMS = 16_384


class ExactIndex(TableSegment):
    """A segment that computes every inner product; see ``protocol`` for its guarantees."""

    def __init__(self, table: ItemTable) -> None:
        super().__init__(table)
        self._topic_vectors = cache_by_topic(table.topic_vectors)
        self._topic_penalty = cache_by_topic(table.topic_penalty)
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
        request = request.with_excluded_ids(self._tombstones)
        query_QD, limit_Q, excluded, topic_Q = request
        if topic_Q is not None and len(topic_Q) <= FEW_QUERIES and len(self) <= _FEW_ITEMS:
            penalties = [None if topic == ANY_TOPIC else self._topic_penalty(topic) for topic in topic_Q.tolist()]
            return scan(query_QD, self._table.ids, self._table.vectors_nD, limit_Q, excluded, penalties)
        return search_by_topic(request.with_row_exclusions(self._table), self._scan)

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
