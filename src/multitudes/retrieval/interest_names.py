"""Names of interests for people: the topic of an explicit one, what sets an implicit one apart.

Legend: B users · T topics · L history · K vectors · E events that belong to an interest · P interests of all users.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.user_vectors import InterestKind, UserVectors
from multitudes.index.item_table import select_topics
from multitudes.release.id_mapping import ItemNames
from multitudes.release.release import Release

WHOLE_HISTORY_LABEL = "whole history"
_SEPARATOR = " · "
_MIN_TOPIC_SHARE = 0.5  # of an interest's items, that a topic in its name must have


@dataclass(frozen=True)
class InterestNamer:
    """Names interests with the topics and items of a release. Topic 0 is the unknown topic."""

    topics: list[str]
    items: ItemNames
    item_topic_offset: NDArray[np.int64]
    item_topic: NDArray[np.int32]
    topic_base_T: NDArray[np.float64]  # share of all positive events whose item has the topic

    @classmethod
    def from_release(cls, release: Release) -> "InterestNamer":
        """Count how frequent each topic is among positive events; one is added, so that none has frequency 0."""
        topics, offset, item_topic = release.topics, release.item_topic_offset, release.item_topic
        weight = release.item_count.astype(np.float64) + 1
        weights = np.repeat(weight, np.diff(offset))
        base_T = np.bincount(item_topic, weights=weights, minlength=len(topics)) / weight[1:].sum()
        return cls(topics, release.item_names, offset, item_topic, base_T)

    def tell_apart(self, names: Sequence[str | None], newest: Sequence[int | None]) -> list[str | None]:
        """Return the names of one user's interests, no two alike: newest items, or else numbers, tell them apart."""
        count, taken = Counter(map(_topics_of, names)), set[frozenset[str]]()
        apart: list[str | None] = []
        for number, (given, item) in enumerate(zip(names, newest, strict=True)):
            name = given
            if name is not None and item is not None and count[_topics_of(name)] > 1:
                name += f", like {self.items.label(item)}"
            while name is not None and _topics_of(name) in taken:
                name += f" ({number})"
            taken.add(_topics_of(name))
            apart.append(name)
        return apart

    def name_all(self, vectors: UserVectors, item_BL: NDArray[np.int64]) -> list[str | None]:
        """Return the B × K names of the interests of users, user by user; None where there is no vector.

        An explicit interest has the name of its topic; an implicit one those of the topics that are frequent among its
        items, and more frequent than among the user's other events and among all events, or that of its newest item.
        A muted interest has no vector, and the names of the others are as if it had one.
        """
        width = len(vectors.kinds)
        pair_E, item_E = _interest_events(vectors, item_BL)
        newest = dict(zip(pair_E[::-1].tolist(), item_E[::-1].tolist(), strict=True))  # the last of a pair stays
        typical = self._typical_topics_by_interest(pair_E, item_E, vectors.mask_BK.size, width)
        names: list[str | None] = [None] * vectors.mask_BK.size
        topic, has_vector = vectors.topic_BK.ravel().tolist(), vectors.mask_BK.ravel()
        for pair in {*np.flatnonzero(has_vector).tolist(), *newest}:
            names[pair] = self._name(vectors.kinds[pair % width], topic[pair], typical.get(pair, []), newest.get(pair))
        for start in range(0, len(names), width):
            pairs = range(start, start + width)
            names[start : start + width] = self.tell_apart([names[p] for p in pairs], [newest.get(p) for p in pairs])
        return [name if has else None for name, has in zip(names, has_vector.tolist(), strict=True)]

    def topics_in_names(
        self, vectors: UserVectors, item_BL: NDArray[np.int64], chosen: Collection[int]
    ) -> list[set[int]]:
        """Return the topics in the name of each of some implicit interests of one user.

        Without those whose topics are another's name too, such as a followed topic's: no topic tells these apart.
        """
        pair_E, item_E = _interest_events(vectors, item_BL)
        typical = self._typical_topics_by_interest(pair_E, item_E, vectors.mask_BK.size, len(vectors.kinds))
        named = {k: frozenset(self._shown_topics(topics)) for k, topics in typical.items()}
        count = Counter([*named.values(), *(frozenset({topic}) for topic in vectors.topic_BK[0].tolist())])
        return [set(topics) for k, topics in named.items() if k in chosen and count[topics] == 1]

    def _typical_topics_by_interest(
        self, pair_E: NDArray[np.int64], item_E: NDArray[np.int64], pairs: int, width: int
    ) -> dict[int, list[int]]:
        """Return the typical topics of each interest of many users that has any, the most typical first.

        Typical is what is frequent in it and rare elsewhere, as in tf-idf: the share among its items, times the log of
        how many times it exceeds the share among the user's other events, and that among all events.
        """
        events_P = np.bincount(pair_E, minlength=pairs)
        offset, topic = select_topics(self.item_topic_offset, self.item_topic, item_E)
        user, column = np.divmod(np.repeat(pair_E, offset[1:] - offset[:-1]), width)
        key = np.sort((user * len(self.topics) + topic) * width + column)  # by user, then by topic, then by interest
        is_first = np.ones(len(key), dtype=np.bool_)
        is_first[1:] = key[1:] != key[:-1]
        distinct = key[is_first]
        count = key.searchsorted(distinct, side="right") - key.searchsorted(distinct)
        user_topic, column = np.divmod(distinct, width)
        user, topic = np.divmod(user_topic, len(self.topics))
        pair = user * width + column
        frequent = np.flatnonzero((topic > 0) & (count >= _MIN_TOPIC_SHARE * events_P[pair]))
        user_topic, user, topic, pair, count = (a[frequent] for a in (user_topic, user, topic, pair, count))
        other_count = key.searchsorted((user_topic + 1) * width) - key.searchsorted(user_topic * width) - count
        other_events = events_P.reshape(-1, width).sum(axis=1)[user] - events_P[pair]
        share, other_share = count / events_P[pair], other_count / np.maximum(other_events, 1)
        gain = share * np.log(share / np.maximum(other_share, self.topic_base_T[topic]))
        typical: dict[int, list[int]] = {}
        for p in np.lexsort((topic, -gain)).tolist():
            if gain[p] > 0:
                typical.setdefault(int(pair[p]), []).append(int(topic[p]))
        return typical

    def _shown_topics(self, typical: Sequence[int]) -> list[int]:
        """Return the topics of a name: the most typical one, and the next that is not on the same path.

        Two levels of one path, such as "Food > Fruit" and "Food", say one thing twice.
        """
        first = f"{self.topics[typical[0]]} > "
        paths = ((topic, f"{self.topics[topic]} > ") for topic in typical[1:])
        apart = [topic for topic, path in paths if not path.startswith(first) and not first.startswith(path)]
        return [typical[0], *apart[:1]]

    def _name(self, kind: InterestKind, condition: int, typical: Sequence[int], newest: int | None) -> str:
        if kind == "explicit":
            return self.topics[condition]
        if kind == "unconditioned":
            return WHOLE_HISTORY_LABEL
        if typical:
            return _SEPARATOR.join(self.topics[topic] for topic in self._shown_topics(typical))
        return "without items" if newest is None else f"like {self.items.label(newest)}"


def _interest_events(vectors: UserVectors, item_BL: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the events of interests: the interest among those of all users, and the item; newest first (E)."""
    user_E, position_E = np.nonzero((vectors.assignment_BL >= 0) & (item_BL > 0))
    return user_E * len(vectors.kinds) + vectors.assignment_BL[user_E, position_E], item_BL[user_E, position_E]


@lru_cache(maxsize=4096)  # most names of all answers are equal
def _topics_of(name: str | None) -> frozenset[str]:
    """Return the topics of a name: two names with the same ones are alike."""
    return frozenset(() if name is None else name.split(_SEPARATOR))
