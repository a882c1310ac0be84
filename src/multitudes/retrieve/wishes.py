"""What a request prefers and what it will not have: which topics are drawn, which vectors speak, which items go.

Legend: B users · K vectors · F follows · C conditions.
"""

from collections.abc import Sequence
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

    @property
    def any(self) -> bool:
        """Whether there is a wish at all."""
        return bool(self.muted or self.boosted or self.muted_interests or self.boosted_interests)


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
    if any(wish.any for wish in wishes):
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


def heeded(vectors: UserVectors, wishes: Sequence[Wishes], config: RetrieveConfig) -> UserVectors:
    """Return the vectors without the muted ones, and with what the boosted ones count."""
    if not any(wish.any for wish in wishes):
        return vectors
    number_K = np.arange(len(vectors.kinds))
    mask_BK, boost_BK = vectors.mask_BK.copy(), np.ones(vectors.mask_BK.shape)
    for b, wish in enumerate(wishes):
        mask_BK[b] &= ~_chosen(vectors.topic_BK[b], wish.muted) & ~_chosen(number_K, wish.muted_interests)
        boosted_K = _chosen(vectors.topic_BK[b], wish.boosted) | _chosen(number_K, wish.boosted_interests)
        boost_BK[b, boosted_K] = config.boost
    return masked(vectors, mask_BK)._replace(boost_BK=boost_BK)


def strongest(vectors: UserVectors, config: RetrieveConfig, few: int = FEW) -> UserVectors:
    """Return the ``few`` vectors of each user that have the largest shares; ties go to the earlier vector."""
    share_BK = shares(vectors, config)
    order_BK = np.argsort(-share_BK, axis=1, kind="stable")
    rank_BK = np.argsort(order_BK, axis=1, kind="stable")
    return masked(vectors, vectors.mask_BK & (rank_BK < few))


def masked(vectors: UserVectors, mask_BK: NDArray[np.bool_]) -> UserVectors:
    """Return the vectors of which only those in ``mask_BK`` exist."""
    return vectors._replace(mask_BK=mask_BK, weight_BK=np.where(mask_BK, vectors.weight_BK, 0))


def _chosen(number_K: NDArray[np.int64], among: frozenset[int] | tuple[int, ...]) -> NDArray[np.bool_]:
    return np.isin(number_K, list(among))
