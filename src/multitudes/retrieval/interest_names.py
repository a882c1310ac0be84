"""Names of interests for people: the topic of an explicit one, the typical topics of an implicit one.

Legend: B users · T topics · L history · K vectors · E events that belong to an interest · P interests with an event.
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
_MIN_TOPIC_SHARE = 0.25  # of an interest's items, that a topic in its name must have


@dataclass(frozen=True)
class InterestNamer:
    """Names interests with the topics and items of a release. Topic 0 is the unknown topic."""

    topics: list[str]
    items: ItemNames
    item_topic_offset: NDArray[np.int64]
    item_topic: NDArray[np.int32]
    topic_base_T: NDArray[np.float64]  # share of all positive events whose item has the topic

    @classmethod
    def build(
        cls,
        topics: list[str],
        items: ItemNames,
        item_topic_offset: NDArray[np.int64],
        item_topic: NDArray[np.int32],
        item_count: NDArray[np.int64],
    ) -> "InterestNamer":
        """Count how frequent each topic is among positive events.

        Args:
            topics: topic names by number.
            items: item names by number.
            item_topic_offset: where the topics of each item begin.
            item_topic: topic numbers.
            item_count: users of each item; one is added, so that no topic has frequency 0.
        """
        item = np.repeat(np.arange(len(item_topic_offset) - 1), np.diff(item_topic_offset))
        weight = item_count.astype(np.float64) + 1
        base_T = np.bincount(item_topic, weights=weight[item], minlength=len(topics)) / weight[1:].sum()
        return cls(topics, items, item_topic_offset, item_topic, base_T)

    def topics_of(self, items: NDArray[np.int64]) -> list[list[int]]:
        """Return the topics of each item. One call for a whole history costs no more than one for an interest."""
        offset, topic = select_topics(self.item_topic_offset, self.item_topic, items)
        flat = topic.tolist()
        return [flat[start:stop] for start, stop in pairwise(offset.tolist())]

    def name(self, kind: InterestKind, topic: int, items: Sequence[int], topics: Sequence[Sequence[int]]) -> str:
        """Return the name of an interest.

        Args:
            kind: of its vector.
            topic: condition of an explicit interest.
            items: numbers of the history items that belong to an implicit interest, newest first.
            topics: of each of these items.
        """
        if kind == "explicit":
            return self.topics[topic]
        if kind == "unconditioned":
            return WHOLE_HISTORY_LABEL
        typical = self._typical_topics(topics)
        if typical:
            return self._join_topics(typical)
        return f"like {self.items.label(items[0])}" if items else "without items"

    def tell_apart(self, names: Sequence[str | None], newest: Sequence[int | None]) -> list[str | None]:
        """Return the names of one user's interests; of those with equal names, the newest item tells them apart.

        Args:
            names: of the interests; None where there is none.
            newest: number of the newest item of each; None where it has none.
        """
        count = Counter(names)
        return [
            name if name is None or item is None or count[name] == 1 else f"{name}, like {self.items.label(item)}"
            for name, item in zip(names, newest, strict=True)
        ]

    def name_all(self, vectors: UserVectors, item_BL: NDArray[np.int64]) -> list[str | None]:
        """Return the names that ``name`` and ``tell_apart`` give, for many users at once.

        Args:
            vectors: of the users.
            item_BL: histories of the users, newest first.

        Returns:
            B × K names, user by user; None where there is no vector.
        """
        width = len(vectors.kinds)
        user_E, position_E = np.nonzero((vectors.assignment_BL >= 0) & (item_BL > 0))
        item_E = item_BL[user_E, position_E]
        pair_E = user_E * width + vectors.assignment_BL[user_E, position_E]
        pair_P, first_P = np.unique(pair_E, return_index=True)
        newest = dict(zip(pair_P.tolist(), item_E[first_P].tolist(), strict=True))
        typical = self._typical_topics_by_interest(pair_E, item_E, vectors.mask_BK.size)
        names: list[str | None] = [None] * vectors.mask_BK.size
        topic = vectors.topic_BK.ravel().tolist()
        for pair in np.flatnonzero(vectors.mask_BK).tolist():
            kind = vectors.kinds[pair % width]
            if kind == "implicit" and pair in typical:
                names[pair] = self._join_topics(typical[pair])
            else:
                names[pair] = self.name(kind, topic[pair], [newest[pair]] if pair in newest else [], [])
        for start in range(0, len(names), width):
            pairs = range(start, start + width)
            names[start : start + width] = self.tell_apart([names[p] for p in pairs], [newest.get(p) for p in pairs])
        return names

    def _typical_topics_by_interest(
        self, pair_E: NDArray[np.int64], item_E: NDArray[np.int64], pairs: int
    ) -> dict[int, list[int]]:
        """Return the typical topics of each interest of many users that has any; see ``_typical_topics``."""
        offset, topic = select_topics(self.item_topic_offset, self.item_topic, item_E)
        key, count = np.unique(np.repeat(pair_E, np.diff(offset)) * len(self.topics) + topic, return_counts=True)
        pair, topic = np.divmod(key, len(self.topics))
        share = count / np.bincount(pair_E, minlength=pairs)[pair]
        with np.errstate(divide="ignore"):  # the unknown topic has frequency 0
            gain = share * np.log(share / self.topic_base_T[topic])
        candidate = np.flatnonzero((topic > 0) & (share >= _MIN_TOPIC_SHARE) & (gain > 0))
        order = candidate[np.lexsort((topic[candidate], -gain[candidate], pair[candidate]))]
        typical: dict[int, list[int]] = {}
        for pair_number, topic_number in zip(pair[order].tolist(), topic[order].tolist(), strict=True):
            topics = typical.setdefault(pair_number, [])
            if len(topics) < _MAX_TOPICS_PER_NAME:
                topics.append(topic_number)
        return typical

    def _join_topics(self, topics: Sequence[int]) -> str:
        return " · ".join(self.topics[topic] for topic in topics)

    def _typical_topics(self, topics: Sequence[Sequence[int]]) -> list[int]:
        """Return the topics that are frequent among some items, and more frequent than among all events."""
        counts = Counter(chain.from_iterable(topics))
        gains = []
        for topic, count in counts.items():
            share = count / len(topics)
            gain = share * log(share / self.topic_base_T[topic])
            if topic > 0 and share >= _MIN_TOPIC_SHARE and gain > 0:
                gains.append((-gain, topic))
        return [topic for _, topic in sorted(gains)[:_MAX_TOPICS_PER_NAME]]
