"""What can be retrieved: the index, which knows the topics of its items, and the popular order.

Legend: I items, numbered from 1 · Q queries · D dimensions. The ids of the index are the item numbers.
"""

from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from multitudes.index.live import Live
from multitudes.index.protocol import ANY_TOPIC, Hits, Index
from multitudes.index.request import each_once
from multitudes.index.rows import find_rows
from multitudes.retrieve.normaliser import Normaliser

_NORMALISERS_KEPT = 64  # of 0.8 MB each at 64 dimensions
_SAMPLE = 3_000
_SAMPLE_ALONE = 10_000  # where what a user has seen is not told apart, see ``normaliser``


class Catalogue:
    """The items as retrieval sees them. Evaluation builds one from a model, a retriever from a release."""

    def __init__(self, index: Index, item_count: NDArray[np.int64]) -> None:
        """Join an index with ``item_count`` (I + 1), the positive events of each item: its popularity."""
        self.index = index
        self.item_count = item_count
        self._popular: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
        self._normaliser = lru_cache(_NORMALISERS_KEPT)(partial(_sampled, index))

    def popular(self) -> NDArray[np.int64]:
        """Return the items that the index holds now by popularity, ties by the smaller number."""
        ids, known = self.index.ids(), self._popular
        # Most indexes give the same array until their items change, so that nothing is compared.
        if known is None or not (known[0] is ids or np.array_equal(known[0], ids)):
            self._popular = known = ids, ids[np.argsort(-self.events(ids), kind="stable")]
        return known[1]

    def events(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positive events of items; none of those that came after ``item_count`` was made."""
        known = ids < len(self.item_count)
        return np.where(known, self.item_count[np.where(known, ids, 0)], 0)

    def log_sums(
        self,
        query_QD: NDArray[np.float32],
        topic_Q: NDArray[np.int64],
        hits: Hits,
        excluded: Sequence[NDArray[np.int64]] | None = None,
    ) -> NDArray[np.float32]:
        """Return log Σ exp(score) over the items of each query's topic, estimated where the index does not know it.

        ``excluded`` are the items that each query could not find, which count all the same.
        """
        assert hits.log_sum_Q is not None
        log_sum_Q = hits.log_sum_Q.copy()
        for topic in np.unique(topic_Q[np.isnan(log_sum_Q)]).tolist():
            where = np.flatnonzero(np.isnan(log_sum_Q) & (topic_Q == topic))
            seen_Q = None
            if excluded is not None and _tells_seen(self.index, topic):
                seen_Q = each_once([excluded[q] for q in where.tolist()], self._held)
            log_sum_Q[where] = self._normaliser(topic).log_sum(query_QD[where], hits.rows(where), seen_Q)
        return log_sum_Q

    def _held(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some items that the index holds, once each."""
        held = ids[find_rows(self.index.ids(), ids)[1]]
        return held if (held[1:] > held[:-1]).all() else np.unique(held)


def _tells_seen(index: Index, topic: int) -> bool:
    """Return whether what a user has seen counts exactly, among items of a topic or of any."""
    # Of a topic, it would have to be known which of them have it; of a remote index, asked what it holds.
    return topic == ANY_TOPIC and isinstance(index, Live)


def _sampled(index: Index, topic: int) -> Normaliser:
    return Normaliser.build(index, topic, _SAMPLE if _tells_seen(index, topic) else _SAMPLE_ALONE)
