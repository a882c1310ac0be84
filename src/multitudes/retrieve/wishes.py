"""What a request prefers and what it will not have: which topics are drawn, which vectors speak, which items go.

Legend: B users · K vectors · F follows · C conditions.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.vectors import UserVectors
from multitudes.release.release import Release
from multitudes.retrieve.allocate import shares
from multitudes.retrieve.ask import Ask
from multitudes.retrieve.conditions import draw
from multitudes.retrieve.plan import RetrieveConfig

FEW = 3  # vectors that are left where there is time for few


class Wishes(NamedTuple):
    """The wishes of one request, by the numbers of a release."""

    muted: frozenset[int]  # topics
    boosted: tuple[int, ...]  # topics, without the muted ones
    unknown: int  # names of topics that the release does not know
    muted_interests: frozenset[int]
    boosted_interests: frozenset[int]

    @classmethod
    def of(cls, ask: Ask, release: Release) -> "Wishes":
        """Read the wishes of a request; muting goes before boosting."""
        number = release.topic_number
        muted = frozenset(number.get(topic, 0) for topic in ask.mute_topics)
        boosted = dict.fromkeys(number.get(topic, 0) for topic in ask.boost_topics)
        unknown = sum(topic not in number for topic in {*ask.mute_topics, *ask.boost_topics})
        return cls(
            muted - {0},
            tuple(topic for topic in boosted if topic and topic not in muted),
            unknown,
            frozenset(ask.mute_interests),
            frozenset(ask.boost_interests) - frozenset(ask.mute_interests),
        )


def conditions(
    follow_BF: NDArray[np.int64],
    wishes: Sequence[Wishes],
    columns: int,
    user_B: NDArray[np.int64],
    requests: Sequence[str],
    config: RetrieveConfig,
) -> NDArray[np.int64]:
    """Return the topics that condition each request (B, columns): boosted ones first, never a muted one; 0 = none."""
    drawn, first_BF = min(columns, config.topics_per_request), None
    if any(wish.muted or wish.boosted for wish in wishes):
        follow_BF, first_BF = _with_wishes(follow_BF, wishes)
    topic_BC = draw(follow_BF, drawn, config.seed, user_B, requests, first_BF)
    return np.pad(topic_BC, ((0, 0), (0, columns - drawn)))


def _with_wishes(follow_BF: NDArray[np.int64], wishes: Sequence[Wishes]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the topics to draw from, and which of them come first."""
    most = max(len(wish.boosted) for wish in wishes)
    offered_BF = np.pad(follow_BF, ((0, 0), (0, most)))
    first_BF = np.zeros(offered_BF.shape, dtype=np.bool_)
    for b, wish in enumerate(wishes):
        offered_BF[b, np.isin(offered_BF[b], [*wish.muted, *wish.boosted])] = 0
        boosted = slice(follow_BF.shape[1], follow_BF.shape[1] + len(wish.boosted))
        offered_BF[b, boosted], first_BF[b, boosted] = wish.boosted, True
    return offered_BF, first_BF


def unmuted(vectors: UserVectors, wishes: Sequence[Wishes]) -> UserVectors:
    """Return the vectors without the muted ones."""
    if not any(wish.muted or wish.muted_interests for wish in wishes):
        return vectors
    muted_BK = [_chosen(vectors, b, wish.muted, wish.muted_interests) for b, wish in enumerate(wishes)]
    return _masked(vectors, vectors.mask_BK & ~np.stack(muted_BK))


def boosts(vectors: UserVectors, wishes: Sequence[Wishes], config: RetrieveConfig) -> NDArray[np.float64] | None:
    """Return how many times each vector counts (B, K); None: nobody boosts anything."""
    if not any(wish.boosted or wish.boosted_interests for wish in wishes):
        return None
    boosted_BK = [_chosen(vectors, b, wish.boosted, wish.boosted_interests) for b, wish in enumerate(wishes)]
    return np.where(np.stack(boosted_BK), config.boost, 1.0)


def strongest(
    vectors: UserVectors, config: RetrieveConfig, boost_BK: NDArray[np.float64] | None = None, few: int = FEW
) -> UserVectors:
    """Return the ``few`` vectors of each user that have the largest shares; ties go to the earlier vector."""
    share_BK = shares(vectors, config, boost_BK)
    order_BK = np.argsort(-share_BK, axis=1, kind="stable")
    rank_BK = np.argsort(order_BK, axis=1, kind="stable")
    return _masked(vectors, vectors.mask_BK & (rank_BK < few))


def _masked(vectors: UserVectors, mask_BK: NDArray[np.bool_]) -> UserVectors:
    """Return the vectors of which only those in ``mask_BK`` exist."""
    return vectors._replace(mask_BK=mask_BK, weight_BK=np.where(mask_BK, vectors.weight_BK, 0))


def _chosen(vectors: UserVectors, b: int, topics: Collection[int], interests: Collection[int]) -> NDArray[np.bool_]:
    """Return which vectors of user ``b`` stand for one of the topics, or are one of the interests by number (K)."""
    number_K = np.arange(len(vectors.kinds))
    return np.isin(vectors.topic_BK[b], list(topics)) | np.isin(number_K, list(interests))
