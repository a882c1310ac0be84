"""Retrieval that learns nothing: topics → items, and what is popular. It fills the first logs, and is a baseline.

What is drawn is drawn in proportion to 1 + saves of the last days, so that items nobody has saved yet are tried too.

Legend: B visitors · N candidates · I items · T topics · M items of a pool.
"""

import numpy as np
from numpy.typing import NDArray

from multitudes.simulate.days import day_s
from multitudes.simulate.diary import Diary
from multitudes.simulate.draws import exponential, uniform
from multitudes.simulate.slates import EXPLICIT, Slates
from multitudes.simulate.world import SAVE, World

_RECENT_DAYS = 7  # popularity of the last days beats that of all time on the public sets
_POOL = 10  # popular: N are drawn of so many times N
_TOPICS = 5  # of those followed, as many as conditional retrieval draws


class Inverted:
    """Items of followed topics, an equal part for each, and popular ones for the rest."""

    def __init__(self, world: World, n: int, *, topic_share: float = 1.0, name: str = "followed") -> None:
        """Retrieve in ``world``.

        Args:
            world: whose items and follows they are.
            n: candidates for a visit.
            topic_share: of the places, for followed topics; 0: popularity alone.
            name: of the release, in the log.
        """
        self.name = name
        self._world, self._n = world, n
        self._of_topics = round(topic_share * n)
        self._by_topic, self._topic_offset = _index(world)

    def slates(self, day: int, user_B: NDArray[np.int64], time_B: NDArray[np.int64], diary: Diary) -> Slates:
        """Return what is retrieved for each of B visitors, of which nothing is in their past."""
        weight_I = self._weights(day, diary)
        pool = np.argsort(-weight_I, kind="stable")[: _POOL * self._n]
        pool = pool[weight_I[pool] > 0]
        slates = Slates.empty(len(user_B), self._n)
        for b, user in enumerate(user_B.tolist()):
            past = diary.of(user, int(time_B[b])).item_E
            items, topics = self._of_follows(day, user, weight_I, past)
            rest = self._drawn(day, user, pool, weight_I, np.append(past, items), self._n - len(items))
            found = len(items) + len(rest)
            slates.item_BN[b, :found] = np.append(items, rest)
            slates.topic_BN[b, : len(items)] = topics
            slates.source_BN[b, : len(items)] = EXPLICIT
        return slates

    def _weights(self, day: int, diary: Diary) -> NDArray[np.float64]:
        """Return 1 + recent saves of each item that is there, 0 for those that are not yet (I)."""
        done, since = diary.everything, day_s(day - _RECENT_DAYS)
        recent = (done.action_E == SAVE) & (done.time_E >= since) & (done.time_E < day_s(day))
        saves_I = np.bincount(done.item_E[recent], minlength=self._world.items)
        return np.where(self._world.born_I <= day, 1.0 + saves_I, 0.0)

    def _of_follows(
        self, day: int, user: int, weight_I: NDArray[np.float64], past: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return items of the topics that a user follows, in turns, and which topic each is of."""
        world = self._world
        followed = world.follow[world.follow_offset[user] : world.follow_offset[user + 1]]
        order = np.argsort(uniform(world.config.seed, "topics of a visit", day, user, followed))
        topics = followed[order][:_TOPICS]
        if not self._of_topics or not len(topics):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        each = -(-self._of_topics // len(topics))
        lists = [self._drawn(day, user, self._items_of(int(t)), weight_I, past, each) for t in topics]
        place = np.concatenate([np.arange(len(items)) for items in lists])
        order = np.argsort(place, kind="stable")
        item, topic = np.concatenate(lists)[order], np.repeat(topics, [len(items) for items in lists])[order]
        once = np.sort(np.unique(item, return_index=True)[1])[: self._of_topics]  # an item may have two of the topics
        return item[once], topic[once]

    def _items_of(self, topic: int) -> NDArray[np.int64]:
        return self._by_topic[self._topic_offset[topic] : self._topic_offset[topic + 1]]

    def _drawn(
        self,
        day: int,
        user: int,
        pool_M: NDArray[np.int64],
        weight_I: NDArray[np.float64],
        without: NDArray[np.int64],
        n: int,
    ) -> NDArray[np.int64]:
        """Draw ``n`` items without repeats, in proportion to their weights: who would come first, at those rates."""
        pool_M = pool_M[(weight_I[pool_M] > 0) & ~np.isin(pool_M, without)]
        wait_M = exponential(self._world.config.seed, "drawn", day, user, pool_M) / weight_I[pool_M]
        return pool_M[np.argsort(wait_M, kind="stable")[:n]]


def _index(world: World) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the items of each topic as the items table says it, not as the world knows it, and where each begins."""
    second_I = world.catalogue.second_topic_I
    first, second = np.flatnonzero(world.has_features_I), np.flatnonzero(world.has_features_I & (second_I >= 0))
    item, topic = np.append(first, second), np.append(world.topic_I[first], second_I[second])
    order = np.lexsort((item, topic))
    return item[order], np.searchsorted(topic[order], np.arange(len(world.topics) + 1))


def popular(world: World, n: int) -> Inverted:
    """Return the policy that knows popularity alone."""
    return Inverted(world, n, topic_share=0.0, name="popular")


def bootstrap(world: World, n: int) -> Inverted:
    """Return the policy before any model: half of the places for followed topics, half for what is popular."""
    return Inverted(world, n, topic_share=0.5, name="bootstrap")
