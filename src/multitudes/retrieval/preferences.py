"""The topics that condition a request, and the topics and interests that it mutes or boosts.

Legend: B users · K vectors · F followed topics · C conditions.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.user_vectors import UserVectors
from multitudes.release.release import Release
from multitudes.retrieval.allocation import vector_shares
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.request import Request
from multitudes.retrieval.user_context import UserContext
from multitudes.seeding import GOLDEN_GAMMA, splitmix64, stream_seed

BOOST = 3.0  # factor of the share of the list, of .05 at least, of what a request boosts
FEWER_VECTORS = 3  # vectors of a user with ``Degradation.FEWER``


class Preferences(NamedTuple):
    """What one request mutes and boosts, with the numbers of a release."""

    muted_topics: frozenset[int]
    boosted_topics: tuple[int, ...]  # without the muted ones
    unknown_topics: int  # number of topic names that the release does not know
    muted_interests: frozenset[int]
    boosted_interests: frozenset[int]  # without the muted ones

    @classmethod
    def from_request(cls, request: Request, release: Release) -> "Preferences":
        """Return the preferences of a request; what is both muted and boosted is muted."""
        number = release.topic_number
        muted = frozenset(number.get(topic, 0) for topic in request.mute_topics)
        boosted = dict.fromkeys(number.get(topic, 0) for topic in request.boost_topics)
        unknown = sum(topic not in number for topic in {*request.mute_topics, *request.boost_topics})
        return cls(
            muted - {0},
            tuple(topic for topic in boosted if topic and topic not in muted),
            unknown,
            frozenset(request.mute_interests),
            frozenset(request.boost_interests) - frozenset(request.mute_interests),
        )


def draw_conditions(
    follow_BF: NDArray[np.int64],
    preferences: Sequence[Preferences],
    columns: int,
    user_B: NDArray[np.int64],
    request_ids: Sequence[str],
    config: RetrieveConfig,
) -> NDArray[np.int64]:
    """Draw the topics that condition each request: boosted ones first, never a muted one.

    Args:
        follow_BF: followed topics, 0 = padding.
        preferences: of each request; none: no request has any.
        columns: C, explicit vectors of the user tower.
        user_B: numbers of the users.
        request_ids: of each request.
        config: settings of retrieval.

    Returns:
        Topics (B, C), 0 = none, at the end.
    """
    drawn, first_BF = min(columns, config.topics_per_request), None
    if any(one.muted_topics or one.boosted_topics for one in preferences):
        follow_BF, first_BF = _apply_preferences(follow_BF, preferences)
    topic_BC = np.zeros((len(follow_BF), columns), dtype=np.int64)
    topic_BC[:, :drawn] = draw_topics(follow_BF, drawn, user_B, request_ids, first_BF)
    return topic_BC


def _apply_preferences(
    follow_BF: NDArray[np.int64], preferences: Sequence[Preferences]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the topics to draw from, and which of them come first."""
    most_boosted = max(len(one.boosted_topics) for one in preferences)
    topic_BF = np.pad(follow_BF, ((0, 0), (0, most_boosted)))
    first_BF = np.zeros(topic_BF.shape, dtype=np.bool_)
    for b, one in enumerate(preferences):
        topic_BF[b, np.isin(topic_BF[b], [*one.muted_topics, *one.boosted_topics])] = 0
        boosted = slice(follow_BF.shape[1], follow_BF.shape[1] + len(one.boosted_topics))
        topic_BF[b, boosted], first_BF[b, boosted] = one.boosted_topics, True
    return topic_BF, first_BF


def draw_topics(
    follow_BF: NDArray[np.int64],
    topics: int,
    user_B: NDArray[np.int64],
    request_id: str | Sequence[str] = "",
    first_BF: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Draw at most ``topics`` distinct followed topics of each user, with equal chances (docs/methods/conditional.md).

    The draw is a function of user and request: a request can be replayed, and neither the other users of a batch
    nor the order of the followed topics matter.

    Args:
        follow_BF: followed topics, 0 = padding.
        topics: C, conditions per request.
        user_B: numbers of the users; any fixed number for a user without one.
        request_id: of all users, or of each.
        first_BF: topics that come before all others; None: no topic does.

    Returns:
        Topics (B, C), 0 = none, at the end.
    """
    names = [request_id] * len(user_B) if isinstance(request_id, str) else request_id
    seeds = {name: stream_seed(0, "conditions", name) for name in set(names)}
    base_B = np.array([seeds[name] for name in names], dtype=np.uint64)
    user_key_B = _next_splitmix64(base_B + user_B.astype(np.uint64))
    key_BF = _next_splitmix64(user_key_B[:, None] + follow_BF.astype(np.uint64))
    key_BF[follow_BF == 0] = np.iinfo(np.uint64).max
    later_BF = np.zeros(follow_BF.shape, dtype=np.bool_) if first_BF is None else ~first_BF
    order_BC = np.lexsort((key_BF, later_BF), axis=1)[:, :topics]
    topic_BC = np.take_along_axis(follow_BF, order_BC, axis=1)
    missing = topics - topic_BC.shape[1]
    return np.pad(topic_BC, ((0, 0), (0, missing))) if missing > 0 else topic_BC


def _next_splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return splitmix64(state + GOLDEN_GAMMA)


def mask_muted(vectors: UserVectors, preferences: Sequence[Preferences]) -> UserVectors:
    """Return the vectors without the muted ones."""
    if not any(one.muted_topics or one.muted_interests for one in preferences):
        return vectors
    muted_BK = [
        _matching_vectors(vectors, b, one.muted_topics, one.muted_interests) for b, one in enumerate(preferences)
    ]
    return _restrict_to(vectors, vectors.mask_BK & ~np.stack(muted_BK))


def set_shares(vectors: UserVectors, requests: Sequence[Request]) -> UserVectors:
    """Return the vectors with the shares of the list that the requests set."""
    if not any(request.interest_shares for request in requests):
        return vectors
    share_BK = np.full(vectors.mask_BK.shape, np.nan)
    for b, request in enumerate(requests):
        if request.interest_shares:
            share_BK[b] = [request.interest_shares.get(k, 0.0) for k in range(len(vectors.kinds))]
    return vectors._replace(share_BK=share_BK)


def history_weights(
    vectors: UserVectors,
    contexts: Sequence[UserContext],
    positives: Sequence[NDArray[np.int64]],
    preferences: Sequence[Preferences],
) -> list[NDArray[np.float64]] | None:
    """Return what each item of each history counts in the user's tastes; None if no request mutes or sets shares.

    An item of a muted interest counts nothing. Where a request sets shares, the items of an interest have its share
    together, and all items that of the vectors which own none, such as that of the whole history.
    """
    if vectors.share_BK is None and not any(one.muted_interests for one in preferences):
        return None
    weights = []
    for b, (context, items, one) in enumerate(zip(contexts, positives, preferences, strict=True)):
        item_L, interest_L = context.histories.item_BL[0], vectors.assignment_BL[b]
        newest, first = np.unique(item_L, return_index=True)
        place = np.minimum(np.searchsorted(newest, items), len(newest) - 1)
        interest = np.where(newest[place] == items, interest_L[first[place]], -1)
        weight = np.where(np.isin(interest, list(one.muted_interests)), 0.0, 1.0)
        if vectors.share_BK is not None and np.nansum(vectors.share_BK[b]) > 0:
            owns_K = np.isin(np.arange(len(vectors.kinds)), interest)
            own_n = np.append(np.nan_to_num(vectors.share_BK[b]), 0)[interest]  # the last is of no interest
            own_n /= np.bincount(interest + 1)[interest + 1]
            weight *= own_n + vectors.share_BK[b, ~owns_K].sum() / max(len(items), 1)
        weights.append(weight)
    return weights


def boost_factors(vectors: UserVectors, preferences: Sequence[Preferences]) -> NDArray[np.float64] | None:
    """Return the factor by which the share of each vector is multiplied (B, K); None if no request boosts anything."""
    if not any(one.boosted_topics or one.boosted_interests for one in preferences):
        return None
    boosted_BK = [
        _matching_vectors(vectors, b, one.boosted_topics, one.boosted_interests) for b, one in enumerate(preferences)
    ]
    return np.where(np.stack(boosted_BK), BOOST, 1.0)


def keep_strongest(
    vectors: UserVectors,
    config: RetrieveConfig,
    boost_BK: NDArray[np.float64] | None = None,
    count: int = FEWER_VECTORS,
) -> UserVectors:
    """Return the ``count`` vectors of each user with the largest shares; ties go to the earlier vector."""
    share_BK = vector_shares(vectors, config, boost_BK)
    order_BK = np.argsort(-share_BK, axis=1, kind="stable")
    rank_BK = np.argsort(order_BK, axis=1, kind="stable")
    return _restrict_to(vectors, vectors.mask_BK & (rank_BK < count))


def _restrict_to(vectors: UserVectors, mask_BK: NDArray[np.bool_]) -> UserVectors:
    """Return the vectors with another mask."""
    return vectors._replace(mask_BK=mask_BK, weight_BK=np.where(mask_BK, vectors.weight_BK, 0))


def _matching_vectors(
    vectors: UserVectors, b: int, topics: Collection[int], interests: Collection[int]
) -> NDArray[np.bool_]:
    """Return a mask of the vectors of user ``b`` that have one of the topics or interest numbers (K)."""
    number_K = np.arange(len(vectors.kinds))
    return np.isin(vectors.topic_BK[b], list(topics)) | np.isin(number_K, list(interests))
