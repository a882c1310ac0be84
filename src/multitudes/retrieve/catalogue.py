"""What can be retrieved: the index, the topics of its items both ways round, and the popular order.

Legend: I items, numbered from 1 · T topics, numbered from 1. The ids of the index are the item numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from multitudes.index.protocol import Index
from multitudes.retrieve.normaliser import Normaliser

_TOPICS_KEPT = 256


@dataclass(frozen=True)
class Catalogue:
    """The items as retrieval sees them. Evaluation builds one from a model, a retriever from a release."""

    index: Index
    item_topic_offset: NDArray[np.int64]  # I + 2
    item_topic: NDArray[np.int32]
    item_count: NDArray[np.int64]  # I + 1, positive events: the popularity

    @cached_property
    def popular(self) -> NDArray[np.int64]:
        """The indexed items by popularity, most popular first, ties by the smaller number."""
        ids = self.index.ids()
        return np.asarray(ids[np.argsort(-self.item_count[ids], kind="stable")])

    @cached_property
    def normaliser(self) -> Normaliser:
        """The sample for the sums of exponentials that the index does not know."""
        return Normaliser.build(self.index)

    def items_of(self, topic: int) -> NDArray[np.int64]:
        """Return the indexed items of a topic, ascending."""
        offset, items = self._postings
        return items[offset[topic] : offset[topic + 1]] if 0 < topic < len(offset) - 1 else items[:0]

    def vectors_of(self, topic: int) -> NDArray[np.float32]:
        """Return the vectors of ``items_of(topic)``; those of topics used lately are kept, side by side in memory."""
        return self._vectors(topic)

    @cached_property
    def _vectors(self) -> Callable[[int], NDArray[np.float32]]:
        return lru_cache(_TOPICS_KEPT)(lambda topic: self.index.vectors(self.items_of(topic)))

    @cached_property
    def _postings(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Offsets by topic (T + 2) and items: the topics of the items, turned round."""
        item = np.repeat(np.arange(len(self.item_topic_offset) - 1), np.diff(self.item_topic_offset))
        topic = np.asarray(self.item_topic, dtype=np.int64)
        indexed = np.isin(item, self.index.ids())
        item, topic = item[indexed], topic[indexed]
        order = np.argsort(topic, kind="stable")  # items ascend within a topic
        offset = np.concatenate([[0], np.cumsum(np.bincount(topic, minlength=1))])
        return offset.astype(np.int64), item[order].astype(np.int64)
