"""What is retrieved for those who come, by whom: the seam between a day of a world and an arm.

Legend: B visitors · N candidates · I items.

Retrieval that learns nothing: topics → items, and what is popular. It fills the first logs, and is a baseline.

What is drawn is drawn in proportion to 1 + saves of the last days, so that items nobody has saved yet are tried too.

Legend: B visitors · N candidates · I items · T topics · M items of a pool.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from multitudes.simulation.draws import exponential, uniform
from multitudes.simulation.history import History
from multitudes.simulation.world import SAVE, World
from multitudes.simulation.world_config import day_start_s

SOURCES = ("unconditioned", "implicit", "explicit", "popular")
EXPLICIT, POPULAR = SOURCES.index("explicit"), SOURCES.index("popular")
NONE = -1  # an item, interest or topic that is not there


class CandidateLists(NamedTuple):
    """B × N candidates in the order of their ranks; a place that is left empty has item -1."""

    item_BN: NDArray[np.int64]
    source_BN: NDArray[np.int8]  # of SOURCES
    interest_BN: NDArray[np.int64]  # its number within the answer
    topic_BN: NDArray[np.int64]  # of an explicit interest
    score_BN: NDArray[np.float32]
    both_BN: NDArray[np.bool_]  # an implicit and an explicit interest have it among their own best
    degraded_B: NDArray[np.bool_]

    @classmethod
    def empty(cls, users: int, n: int) -> "CandidateLists":
        """Return slates without candidates, to be filled."""
        nothing = np.full((users, n), NONE, dtype=np.int64)
        return cls(
            nothing,
            np.full((users, n), POPULAR, dtype=np.int8),
            nothing.copy(),
            nothing.copy(),
            np.zeros((users, n), dtype=np.float32),
            np.zeros((users, n), dtype=np.bool_),
            np.zeros(users, dtype=np.bool_),
        )


class Policy(Protocol):
    """Retrieves candidates for visitors. Equal for any division of the visitors into calls."""

    name: str  # of the release, in the log

    def retrieve(
        self, day: int, user_B: NDArray[np.int64], time_B: NDArray[np.int64], history: History
    ) -> CandidateLists:
        """Return what is retrieved for each of B visitors, of which nothing is in their past."""
        ...


_RECENT_DAYS = 7  # popularity of the last days beats that of all time on the public sets
_POOL_FACTOR = 10  # popular: N are drawn of so many times N
_MAX_TOPICS = 5  # of those followed, as many as conditional retrieval draws


class InvertedIndexPolicy:
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
        self._topic_places = round(topic_share * n)
        self._by_topic, self._topic_offset = _topic_index(world)

    def retrieve(
        self, day: int, user_B: NDArray[np.int64], time_B: NDArray[np.int64], history: History
    ) -> CandidateLists:
        """Return what is retrieved for each of B visitors, of which nothing is in their past."""
        weight_I = self._item_weights(day, history)
        pool = np.argsort(-weight_I, kind="stable")[: _POOL_FACTOR * self._n]
        pool = pool[weight_I[pool] > 0]
        slates = CandidateLists.empty(len(user_B), self._n)
        for b, user in enumerate(user_B.tolist()):
            past = history.user_actions(user, int(time_B[b])).item_E
            items, topics = self._followed_topic_items(day, user, weight_I, past)
            rest = self._draw_items(day, user, pool, weight_I, np.append(past, items), self._n - len(items))
            found = len(items) + len(rest)
            slates.item_BN[b, :found] = np.append(items, rest)
            slates.topic_BN[b, : len(items)] = topics
            slates.source_BN[b, : len(items)] = EXPLICIT
        return slates

    def _item_weights(self, day: int, history: History) -> NDArray[np.float64]:
        """Return 1 + recent saves of each item that is there, 0 for those that are not yet (I)."""
        done, since = history.all_actions, day_start_s(day - _RECENT_DAYS)
        recent = (done.action_E == SAVE) & (done.time_E >= since) & (done.time_E < day_start_s(day))
        saves_I = np.bincount(done.item_E[recent], minlength=self._world.items)
        return np.where(self._world.created_I <= day, 1.0 + saves_I, 0.0)

    def _followed_topic_items(
        self, day: int, user: int, weight_I: NDArray[np.float64], past: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return items of the topics that a user follows, in turns, and which topic each is of."""
        world = self._world
        followed = world.followed_topic[world.followed_offset[user] : world.followed_offset[user + 1]]
        order = np.argsort(uniform(world.config.seed, "topics of a visit", day, user, followed))
        topics = followed[order][:_MAX_TOPICS]
        if not self._topic_places or not len(topics):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        each = -(-self._topic_places // len(topics))
        lists = [self._draw_items(day, user, self._topic_items(int(t)), weight_I, past, each) for t in topics]
        place = np.concatenate([np.arange(len(items)) for items in lists])
        order = np.argsort(place, kind="stable")
        item, topic = np.concatenate(lists)[order], np.repeat(topics, [len(items) for items in lists])[order]
        once = np.sort(np.unique(item, return_index=True)[1])[
            : self._topic_places
        ]  # an item may have two of the topics
        return item[once], topic[once]

    def _topic_items(self, topic: int) -> NDArray[np.int64]:
        return self._by_topic[self._topic_offset[topic] : self._topic_offset[topic + 1]]

    def _draw_items(
        self,
        day: int,
        user: int,
        pool_M: NDArray[np.int64],
        weight_I: NDArray[np.float64],
        excluded: NDArray[np.int64],
        n: int,
    ) -> NDArray[np.int64]:
        """Draw ``n`` items without repeats, in proportion to their weights: who would come first, at those rates."""
        pool_M = pool_M[(weight_I[pool_M] > 0) & ~np.isin(pool_M, excluded)]
        wait_M = exponential(self._world.config.seed, "drawn", day, user, pool_M) / weight_I[pool_M]
        return pool_M[np.argsort(wait_M, kind="stable")[:n]]


def _topic_index(world: World) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the items of each topic as the items table says it, not as the world knows it, and where each begins."""
    second_I = world.catalogue.second_topic_I
    first, second = np.flatnonzero(world.has_features_I), np.flatnonzero(world.has_features_I & (second_I >= 0))
    item, topic = np.append(first, second), np.append(world.topic_I[first], second_I[second])
    order = np.lexsort((item, topic))
    return item[order], np.searchsorted(topic[order], np.arange(len(world.topics) + 1))


def popularity_policy(world: World, n: int) -> InvertedIndexPolicy:
    """Return the policy that knows popularity alone."""
    return InvertedIndexPolicy(world, n, topic_share=0.0, name="popular")


def bootstrap_policy(world: World, n: int) -> InvertedIndexPolicy:
    """Return the policy before any model: half of the places for followed topics, half for what is popular."""
    return InvertedIndexPolicy(world, n, topic_share=0.5, name="bootstrap")
