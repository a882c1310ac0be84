"""What to call an interest, so that a person recognises it.

Legend: T topics · L history · K vectors.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from math import log

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.vectors import Kind
from multitudes.index.postings import topics_of
from multitudes.release.item_names import ItemNames

WHOLE_HISTORY = "whole history"
_TOPICS_IN_A_NAME = 2
_LEAST_SHARE = 0.25  # of an interest's items that must have a topic for it to name the interest


@dataclass(frozen=True)
class Vocabulary:
    """Topic and item names by number; topic 0 is the unknown one."""

    topics: list[str]
    items: ItemNames
    item_topic_offset: NDArray[np.int64]
    item_topic: NDArray[np.int32]
    topic_base_T: NDArray[np.float64]  # share of all engagements whose item has the topic

    @classmethod
    def build(
        cls,
        topics: list[str],
        items: ItemNames,
        item_topic_offset: NDArray[np.int64],
        item_topic: NDArray[np.int32],
        item_count: NDArray[np.int64],
    ) -> "Vocabulary":
        """Count how common each topic is among engagements; every item counts once more, so that none counts zero."""
        item = np.repeat(np.arange(len(item_topic_offset) - 1), np.diff(item_topic_offset))
        weight = item_count.astype(np.float64) + 1
        base_T = np.bincount(item_topic, weights=weight[item], minlength=len(topics)) / weight[1:].sum()
        return cls(topics, items, item_topic_offset, item_topic, base_T)

    def topics_of(self, items: NDArray[np.int64]) -> list[list[int]]:
        """Return the topics of each item: of a whole history at once, which costs as little as of one interest."""
        offset, topic = topics_of(self.item_topic_offset, self.item_topic, items)
        flat = topic.tolist()
        return [flat[start:stop] for start, stop in pairwise(offset.tolist())]

    def name(self, kind: Kind, topic: int, items: Sequence[int], topics: Sequence[Sequence[int]]) -> str:
        """Name an interest.

        Args:
            kind: of its vector.
            topic: what an explicit interest is conditioned on.
            items: numbers of the history items that belong to an implicit interest, newest first.
            topics: of each of those items.
        """
        if kind == "explicit":
            return self.topics[topic]
        if kind == "unconditioned":
            return WHOLE_HISTORY
        typical = self._over_represented(topics)
        if typical:
            return " · ".join(self.topics[t] for t in typical)
        return f"like {self.items.shown(items[0])}" if items else "without items"

    def _over_represented(self, topics: Sequence[Sequence[int]]) -> list[int]:
        """Return the topics that tell some items apart: frequent among them, and more so than everywhere."""
        counts = Counter(chain.from_iterable(topics))
        gains = []
        for topic, count in counts.items():
            share = count / len(topics)
            gain = share * log(share / self.topic_base_T[topic])
            if topic > 0 and share >= _LEAST_SHARE and gain > 0:
                gains.append((-gain, topic))
        return [topic for _, topic in sorted(gains)[:_TOPICS_IN_A_NAME]]
