"""The exact index: every inner product in NumPy. The reference, and the default up to tens of thousands of items."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from multitudes.index import files
from multitudes.index.item_table import ItemTable, make_item_table
from multitudes.index.protocol import ANY_TOPIC, Hits, Topics
from multitudes.index.scan import FEW_QUERIES, scan, scan_topic, transpose_blocks
from multitudes.index.segment import SearchRequest, Segment, search_by_topic

# So many items are scanned once for all vectors of a user: a product costs less than a call for each topic.
_FEW_ITEMS = 16_384
_CACHED_TOPICS = 1024  # 64 KiB each at most


class ExactIndex(Segment):
    """A segment that computes every inner product; see ``protocol`` for its guarantees."""

    kind = "exact"

    def __init__(self, table: ItemTable) -> None:
        super().__init__(table)
        self._topic_penalty = lru_cache(_CACHED_TOPICS)(table.topic_penalty)
        self._row_n = np.arange(min(len(table), _FEW_ITEMS))  # the rows of a table of few items, and its vectors
        self._block_PDM = transpose_blocks(table.vectors_nD[:_FEW_ITEMS])

    @classmethod
    def build(cls, ids: ArrayLike, vectors: ArrayLike, topics: Topics | None = None) -> "ExactIndex":
        """Build an index of items: distinct integers in any order (n), their vectors (n, D) and their topics.

        Raises:
            DataError: a vector is not finite, ids are repeated, or the topics are of another number of items.
        """
        return cls(make_item_table(ids, vectors, topics))

    def _search(self, request: SearchRequest) -> Hits:
        query_QD, limit_Q, excluded, topic_Q = request
        if topic_Q is None or len(topic_Q) > FEW_QUERIES or len(self._table) > _FEW_ITEMS:
            return search_by_topic(request, lambda topic, group: scan_topic(self._table, topic, *group[:3]))
        penalties = [None if topic == ANY_TOPIC else self._topic_penalty(topic) for topic in topic_Q.tolist()]
        return scan(query_QD, self._row_n, self._table.vectors_nD, limit_Q, excluded, penalties, self._block_PDM)

    def save(self, folder: Path) -> None:
        """Write ids, vectors, topics and ``index.json`` into ``folder``."""
        files.save_segment(folder, self._table, self.info())
