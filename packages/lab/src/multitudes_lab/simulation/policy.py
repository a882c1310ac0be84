"""Policies: what an arm retrieves for its visitors. The protocol, and a policy that needs no training.

The policy without training uses an inverted index from topics to items, and popularity. It fills the first logs and is
a baseline. It draws in proportion to 1 + saves of the last days, so items without saves are tried too.

Legend: B visitors · N candidates · I items · T topics · M items of a pool.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from multitudes_lab.simulation.draws import exponential, uniform
from multitudes_lab.simulation.history import History
from multitudes_lab.simulation.world import SAVE, World
from multitudes_lab.simulation.world_config import day_start_s

SOURCES = ("unconditioned", "implicit", "explicit", "popular", "repeat")
EXPLICIT, POPULAR, REPEAT = (SOURCES.index(name) for name in ("explicit", "popular", "repeat"))
NONE = -1  # no item, interest or topic
_RECENT_DAYS = 7  # on the public sets, popularity of the last days beats that of all time
_POOL_FACTOR = 10  # N popular items are drawn from a pool of this many times N
_MAX_TOPICS = 5  # followed topics used in one visit, as many as conditional retrieval draws
# Share of the places for followed topics, by name of the policy; ``bootstrap`` serves before any model.
_TOPIC_SHARES = {"popular": 0.0, "bootstrap": 0.5, "followed": 1.0}


class CandidateLists(NamedTuple):
    """B × N candidates, best first; an empty place has item -1."""

    item_BN: NDArray[np.int64]
    source_BN: NDArray[np.int8]  # index into SOURCES
    interest_BN: NDArray[np.int64]  # number of the interest within the response
    topic_BN: NDArray[np.int64]  # topic of an explicit interest
    score_BN: NDArray[np.float32]
    both_BN: NDArray[np.bool_]  # among the best of an implicit and of an explicit interest
    degraded_B: NDArray[np.bool_]

    @classmethod
    def empty(cls, users: int, n: int) -> "CandidateLists":
        """Return lists of empty places."""
        none_BN = np.full((users, n), NONE, dtype=np.int64)
        return cls(
            none_BN,
            np.full((users, n), POPULAR, dtype=np.int8),
            none_BN.copy(),
            none_BN.copy(),
            np.zeros((users, n), dtype=np.float32),
            np.zeros((users, n), dtype=np.bool_),
            np.zeros(users, dtype=np.bool_),
        )


class Policy(Protocol):
    """Retrieves candidates for visitors. The result does not depend on how visitors are divided into calls."""

    name: str  # name of the release in the log

    def retrieve(
        self, day: int, user_B: NDArray[np.int64], time_B: NDArray[np.int64], history: History
    ) -> CandidateLists:
        """Return candidates for each visitor, without items of the visitor's past.

        Args:
            day: the day of the visits.
            user_B: the visitors, shape (B,).
            time_B: the time of each visit, seconds since 1970, shape (B,).
            history: what all users did so far.

        Returns:
            N candidates for each visitor.
        """


class InvertedIndexPolicy:
    """An equal number of items of each followed topic, and popular items for the rest of the list."""

    def __init__(self, world: World, n: int, name: str) -> None:
        """Retrieve ``n`` candidates for a visit, as the policy ``name`` does: popular, bootstrap or followed."""
        self.name = name
        self._world, self._n = world, n
        self._topic_places = round(_TOPIC_SHARES[name] * n)
        self._topic_items = _items_by_topic(world)

    def retrieve(
        self, day: int, user_B: NDArray[np.int64], time_B: NDArray[np.int64], history: History
    ) -> CandidateLists:
        """Return candidates for each visitor, without items of the visitor's past; see ``Policy``."""
        weight_I = self._item_weights(day, history)
        pool = np.argsort(-weight_I, kind="stable")[: _POOL_FACTOR * self._n]
        pool = pool[weight_I[pool] > 0]
        candidates = CandidateLists.empty(len(user_B), self._n)
        for b, user in enumerate(user_B.tolist()):
            past = history.user_actions(user, int(time_B[b])).item_E
            items, topics = self._followed_topic_items(day, user, weight_I, past)
            rest = self._draw_items(day, user, pool, weight_I, np.append(past, items), self._n - len(items))
            candidates.item_BN[b, : len(items) + len(rest)] = np.append(items, rest)
            candidates.topic_BN[b, : len(items)] = topics
            candidates.source_BN[b, : len(items)] = EXPLICIT
        return candidates

    def _item_weights(self, day: int, history: History) -> NDArray[np.float64]:
        """Return 1 + recent saves of each item that exists on ``day``, 0 for others, shape (I,)."""
        actions, since = history.all_actions, day_start_s(day - _RECENT_DAYS)
        is_recent = (actions.action_E == SAVE) & (actions.time_E >= since) & (actions.time_E < day_start_s(day))
        saves_I = np.bincount(actions.item_E[is_recent], minlength=self._world.items)
        return np.where(self._world.created_I <= day, 1.0 + saves_I, 0.0)

    def _followed_topic_items(
        self, day: int, user: int, weight_I: NDArray[np.float64], past: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return items of the topics that a user follows, one topic after the other, and the topic of each item."""
        world = self._world
        followed = world.followed_topic[world.followed_offset[user] : world.followed_offset[user + 1]]
        order = np.argsort(uniform(world.config.seed, "topics of a visit", day, user, followed))
        topics = followed[order][:_MAX_TOPICS]
        if not self._topic_places or not len(topics):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        n_each = -(-self._topic_places // len(topics))
        lists = [self._draw_items(day, user, self._topic_items[t], weight_I, past, n_each) for t in topics]
        place = np.concatenate([np.arange(len(items)) for items in lists])
        order = np.argsort(place, kind="stable")
        item, topic = np.concatenate(lists)[order], np.repeat(topics, [len(items) for items in lists])[order]
        # An item of two of the topics counts once.
        first = np.sort(np.unique(item, return_index=True)[1])[: self._topic_places]
        return item[first], topic[first]

    def _draw_items(
        self,
        day: int,
        user: int,
        pool_M: NDArray[np.int64],
        weight_I: NDArray[np.float64],
        excluded: NDArray[np.int64],
        n: int,
    ) -> NDArray[np.int64]:
        """Draw ``n`` items without replacement, in proportion to their weights (an exponential race)."""
        pool_M = pool_M[(weight_I[pool_M] > 0) & ~np.isin(pool_M, excluded)]
        wait_M = exponential(self._world.config.seed, "drawn", day, user, pool_M) / weight_I[pool_M]
        return pool_M[np.argsort(wait_M, kind="stable")[:n]]


def _items_by_topic(world: World) -> list[NDArray[np.int64]]:
    """Return the items of each topic, as the items table has them."""
    second_I = world.catalogue.second_topic_I
    first, second = np.flatnonzero(world.has_features_I), np.flatnonzero(world.has_features_I & (second_I >= 0))
    item, topic = np.append(first, second), np.append(world.topic_I[first], second_I[second])
    order = np.lexsort((item, topic))
    return np.split(item[order], np.searchsorted(topic[order], np.arange(1, len(world.topics))))
