"""What to call an interest, so that a person recognises it.

Legend: B users · T topics · L history · K vectors · E events that belong to an interest · P interests with any.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from math import log

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.user_vectors import InterestKind, UserVectors
from multitudes.index.item_table import select_topics
from multitudes.release.id_mapping import ItemNames

WHOLE_HISTORY_LABEL = "whole history"
_MAX_TOPICS_PER_NAME = 2
_MIN_TOPIC_SHARE = 0.25  # of an interest's items that must have a topic for it to name the interest


@dataclass(frozen=True)
class InterestNamer:
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
    ) -> "InterestNamer":
        """Count how common each topic is among engagements; every item counts once more, so that none counts zero."""
        item = np.repeat(np.arange(len(item_topic_offset) - 1), np.diff(item_topic_offset))
        weight = item_count.astype(np.float64) + 1
        base_T = np.bincount(item_topic, weights=weight[item], minlength=len(topics)) / weight[1:].sum()
        return cls(topics, items, item_topic_offset, item_topic, base_T)

    def topics_of(self, items: NDArray[np.int64]) -> list[list[int]]:
        """Return the topics of each item: of a whole history at once, which costs as little as of one interest."""
        offset, topic = select_topics(self.item_topic_offset, self.item_topic, items)
        flat = topic.tolist()
        return [flat[start:stop] for start, stop in pairwise(offset.tolist())]

    def name(self, kind: InterestKind, topic: int, items: Sequence[int], topics: Sequence[Sequence[int]]) -> str:
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
            return WHOLE_HISTORY_LABEL
        typical = self._typical_topics(topics)
        if typical:
            return self._join_topics(typical)
        return f"like {self.items.label(items[0])}" if items else "without items"

    def name_all(self, vectors: UserVectors, item_BL: NDArray[np.int64]) -> list[str | None]:
        """Name the interests of many users as ``name`` does each, in arrays; None where there is no vector.

        Args:
            vectors: of the users.
            item_BL: their histories, newest first.

        Returns:
            B × K names, user by user.
        """
        width = len(vectors.kinds)
        user_E, place_E = np.nonzero((vectors.assignment_BL >= 0) & (item_BL > 0))
        item_E = item_BL[user_E, place_E]
        pair_E = user_E * width + vectors.assignment_BL[user_E, place_E]
        pair_P, first_P = np.unique(pair_E, return_index=True)
        newest = dict(zip(pair_P.tolist(), item_E[first_P].tolist(), strict=True))
        typical = self._typical_topics_by_interest(pair_E, item_E, vectors.mask_BK.size)
        named: list[str | None] = [None] * vectors.mask_BK.size
        topic = vectors.topic_BK.ravel().tolist()
        for pair in np.flatnonzero(vectors.mask_BK).tolist():
            kind = vectors.kinds[pair % width]
            if kind == "implicit" and pair in typical:
                named[pair] = self._join_topics(typical[pair])
            else:
                named[pair] = self.name(kind, topic[pair], [newest[pair]] if pair in newest else [], [])
        return named

    def _typical_topics_by_interest(
        self, pair_E: NDArray[np.int64], item_E: NDArray[np.int64], pairs: int
    ) -> dict[int, list[int]]:
        """Return what ``_typical_topics`` returns for each interest of many users that has any such topic."""
        offset, topic = select_topics(self.item_topic_offset, self.item_topic, item_E)
        key, count = np.unique(np.repeat(pair_E, np.diff(offset)) * len(self.topics) + topic, return_counts=True)
        pair, topic = np.divmod(key, len(self.topics))
        share = count / np.bincount(pair_E, minlength=pairs)[pair]
        with np.errstate(divide="ignore"):  # the unknown topic has no base
            gain = share * np.log(share / self.topic_base_T[topic])
        kept = np.flatnonzero((topic > 0) & (share >= _MIN_TOPIC_SHARE) & (gain > 0))
        order = kept[np.lexsort((topic[kept], -gain[kept], pair[kept]))]
        typical: dict[int, list[int]] = {}
        for of_pair, its_topic in zip(pair[order].tolist(), topic[order].tolist(), strict=True):
            found = typical.setdefault(of_pair, [])
            if len(found) < _MAX_TOPICS_PER_NAME:
                found.append(its_topic)
        return typical

    def _join_topics(self, topics: Sequence[int]) -> str:
        return " · ".join(self.topics[topic] for topic in topics)

    def _typical_topics(self, topics: Sequence[Sequence[int]]) -> list[int]:
        """Return the topics that tell some items apart: frequent among them, and more so than everywhere."""
        counts = Counter(chain.from_iterable(topics))
        gains = []
        for topic, count in counts.items():
            share = count / len(topics)
            gain = share * log(share / self.topic_base_T[topic])
            if topic > 0 and share >= _MIN_TOPIC_SHARE and gain > 0:
                gains.append((-gain, topic))
        return [topic for _, topic in sorted(gains)[:_MAX_TOPICS_PER_NAME]]
