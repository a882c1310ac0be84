"""The share π of the list of each vector of a user, and the part of each taste: one prior, from training to serving.

    π_k = s_kind(k) w_k / Σ over the vectors of the user        Σ w_k = 1 within each kind

s are the shares of the kinds (``config.resolve_shares``), w the importance of a vector within its kind: that of the
history for implicit interests, even for the others. So a kind that a user lacks leaves its share to the others in
proportion. What a request asks (shares, boosts, muted vectors) changes π before the search, and quotas and depths
follow from it. A part of the list is divided among the tastes of the history, each in proportion to how often it occurs
there (``apply_requests``, ``with_tastes``). Pure functions.

Legend: B users · K vectors · G kinds of vectors (unconditioned, implicit, explicit) · T tastes of the catalogue
(``index.tastes``) · L history · E events or items of all users.
"""

from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.user_vectors import INTEREST_KINDS, UserVectors, columns_of
from multitudes.index.tastes import NO_TASTE
from multitudes.retrieval.blend import BLENDS
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import DEFAULT_SHARES, RetrieveConfig, Shares, resolve_shares
from multitudes.retrieval.neighbours import own_events, read_interests
from multitudes.retrieval.request import Degradation
from multitudes.retrieval.resolved_request import ResolvedRequest

BOOST: Final = 3.0  # factor of the share of the list, of .05 at least, of what a request boosts
FEWER_VECTORS: Final = 3  # vectors of a user with ``Degradation.FEWER``
UNWANTED: Final = -1.0  # in place of the part of a taste
_PROPOSALS = 6  # all vectors together propose this many times the list: fewer leave small tastes without candidates
_LEAST_LIST = 100  # a shorter list that is divided among tastes is the beginning of one of 100 places
_POPULAR_SHARE = 0.5  # of the turns beside followed topics in the list of a user without a history
_MIN_BOOSTED_SHARE = 0.05  # before the boost: a share of zero, where interests have none of the list, would stay zero


def vector_shares(vectors: UserVectors, config: RetrieveConfig) -> NDArray[np.float64]:
    """Return the share π of the list of each vector (B, K).

    Rows sum to one, or are zero for a user without a vector. Shares and boosts of the vectors change them; a boosted
    vector has a twentieth of the list at least, before the factor.
    """
    share_BK = _prior(vectors, resolve_shares(config))
    lacks_B1 = ~share_BK.any(axis=1, keepdims=True)
    if lacks_B1.any():  # the kinds that have a share are those that the user lacks
        share_BK = np.where(lacks_B1, _prior(vectors, DEFAULT_SHARES), share_BK)
    if vectors.share_BK is not None:
        requested_BK = _normalise(np.where(vectors.mask_BK, vectors.share_BK, 0.0))
        share_BK = np.where((requested_BK > 0).any(axis=1, keepdims=True), requested_BK, share_BK)
    if vectors.boost_BK is None:
        return share_BK
    least_BK = np.where((vectors.boost_BK > 1) & vectors.mask_BK, _MIN_BOOSTED_SHARE, 0.0)
    boosted_BK = _normalise(np.maximum(share_BK, least_BK) * vectors.boost_BK)
    # The shares of users without a boost stay the same to the last bit.
    return np.where((vectors.boost_BK != 1).any(axis=1, keepdims=True), boosted_BK, share_BK)


def _prior(vectors: UserVectors, shares: Shares) -> NDArray[np.float64]:
    """Return the prior of each vector (B, K) by the shares of the kinds."""
    own_GBK = vectors.mask_BK & np.array([columns_of(kind, vectors.kinds) for kind in INTEREST_KINDS])[:, None]
    weight_GBK, implicit = own_GBK.astype(np.float64), INTEREST_KINDS.index("implicit")
    known_BK = np.where(own_GBK[implicit], vectors.weight_BK, 0.0)
    np.copyto(weight_GBK[implicit], known_BK, where=(known_BK > 0).any(axis=1, keepdims=True))
    return _normalise((np.array(shares)[:, None, None] * _normalise(weight_GBK)).sum(axis=0))


def _normalise(weight_BK: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights divided by the sum of each row (last axis); a row of zeros stays as it is."""
    total_B1 = weight_BK.sum(axis=-1, keepdims=True)
    return np.asarray(weight_BK / np.where(total_B1 > 0, total_B1, 1))


def without_history(vectors: UserVectors) -> tuple[UserVectors, NDArray[np.float64]]:
    """Return the vectors without the unconditioned one of users who have no event, and the share of popular items.

    That vector has read nothing and often knows no more than popularity does: followed topics and popular items take
    turns, and without topics all are popular. Shares that a request sets hold.

    Returns:
        The vectors, and the share of popular items in the turns of each user (B,).
    """
    if vectors.events_B is None:
        return vectors, np.zeros(len(vectors.mask_BK))
    is_unconditioned_K = columns_of("unconditioned", vectors.kinds)
    is_new_B = (vectors.mask_BK & is_unconditioned_K).any(axis=1) & (vectors.events_B == 0)
    if vectors.share_BK is not None:
        is_new_B = is_new_B & ~((vectors.share_BK > 0) & vectors.mask_BK).any(axis=1)
    mask_BK = vectors.mask_BK & ~(is_new_B[:, None] & is_unconditioned_K)
    popular_B = np.where(is_new_B, np.where(mask_BK.any(axis=1), _POPULAR_SHARE, 1.0), 0.0)
    return vectors._replace(mask_BK=mask_BK), popular_B


def proposals(vectors: UserVectors, n: int) -> NDArray[np.int64]:
    """Return how many items are proposed for each list of ``n`` (B, 1); more cannot change that of one vector alone.

    Where own events propose too, the best by the sum of both scores may be deep in either list.
    """
    if vectors.own is not None:
        return np.full((len(vectors.mask_BK), 1), proposals_to_divide(n))
    plain = n if len(vectors.kinds) == 1 else _PROPOSALS * n
    taste_BT = np.zeros((len(vectors.mask_BK), 1)) if vectors.taste_BT is None else vectors.taste_BT
    return np.where(taste_BT.any(axis=1, keepdims=True), proposals_to_divide(n), plain)


def proposals_to_divide(n: int) -> int:
    """Return how many items are proposed for a list of ``n`` that is divided among tastes."""
    return _PROPOSALS * max(n, _LEAST_LIST)


def search_depths(
    share_BK: NDArray[np.float64], most_B1: NDArray[np.int64], config: RetrieveConfig
) -> NDArray[np.int64]:
    """Return the number of items to retrieve for each vector (B, K), of ``most_B1`` proposals.

    Each vector with a share proposes that part, and half a list at least: fusion counts where lists agree. With a deep
    blend, all items may come from one vector.
    """
    least_B1 = most_B1 if BLENDS[config.blend].is_deep else most_B1 // (2 * _PROPOSALS)
    depth_BK = np.maximum(np.ceil(share_BK * most_B1), least_B1)
    return np.where(share_BK > 0, np.minimum(most_B1, depth_BK), 0).astype(np.int64)


def apply_requests(
    vectors: UserVectors,
    requests: Sequence[ResolvedRequest],
    catalogue: Catalogue,
    config: RetrieveConfig,
    degradation: Degradation,
) -> UserVectors:
    """Return the vectors as requests ask: with their shares, boosts and tastes, and without what they mute.

    With a degradation, only the vectors with the largest shares are left; ties go to the earlier vector.
    """
    preferences = [one.preferences for one in requests]
    item_BL = np.concatenate([one.context.histories.item_BL for one in requests])
    positives = [one.context.positives for one in requests]
    vectors = with_own_events(vectors, positives, item_BL, catalogue)
    if any(one.request.interest_shares for one in requests):
        vectors = vectors._replace(share_BK=_requested_shares(vectors, requests))
    asked = [one.request.calibration for one in requests]
    calibration_B = np.array([config.calibration or 0.0 if one is None else one for one in asked])
    weights = _history_weights(vectors, requests, positives)
    vectors = with_tastes(vectors, positives, catalogue, calibration_B, weights)
    if any(one.boosted_topics or one.boosted_interests for one in preferences):
        is_boosted_BK = _matches(vectors, [(one.boosted_topics, one.boosted_interests) for one in preferences])
        vectors = vectors._replace(boost_BK=np.where(is_boosted_BK, BOOST, 1.0))
        vectors = _weigh_events(vectors, np.where(is_boosted_BK, BOOST, 1.0))
    if any(one.muted_topics or one.muted_interests for one in preferences):
        is_muted_BK = _matches(vectors, [(one.muted_topics, one.muted_interests) for one in preferences])
        vectors = _mute(with_taste_events(vectors, item_BL, catalogue), is_muted_BK)
    if degradation > Degradation.NONE:
        order_BK = np.argsort(-vector_shares(vectors, config), axis=1, kind="stable")
        rank_BK = np.argsort(order_BK, axis=1, kind="stable")
        vectors = _restrict_to(vectors, vectors.mask_BK & (rank_BK < FEWER_VECTORS))
    return with_taste_events(vectors, item_BL, catalogue)


def _requested_shares(vectors: UserVectors, requests: Sequence[ResolvedRequest]) -> NDArray[np.float64]:
    """Return the shares that the requests set (B, K); NaN where one sets none."""
    share_BK = np.full(vectors.mask_BK.shape, np.nan)
    for b, one in enumerate(requests):
        if one.request.interest_shares:
            share_BK[b] = [one.request.interest_shares.get(k, 0.0) for k in range(len(vectors.kinds))]
    return share_BK


def _matches(vectors: UserVectors, chosen: Sequence[tuple[Collection[int], Collection[int]]]) -> NDArray[np.bool_]:
    """Return a mask of the vectors (B, K) of each user that have one of their topics or interest numbers."""
    number_K = np.arange(len(vectors.kinds))
    rows = zip(vectors.topic_BK, chosen, strict=True)
    return np.array(
        [np.isin(topic_K, list(topics)) | np.isin(number_K, list(numbers)) for topic_K, (topics, numbers) in rows]
    )


def _mute(vectors: UserVectors, is_muted_BK: NDArray[np.bool_]) -> UserVectors:
    """Return the vectors without the muted ones; the tastes that have most events of those come last."""
    if vectors.taste_BT is not None and vectors.events_BTK is not None:
        is_own_BT = np.take_along_axis(is_muted_BK, vectors.events_BTK.argmax(axis=2), axis=1)
        is_own_BT &= vectors.events_BTK.any(axis=2)
        vectors = vectors._replace(taste_BT=np.where(is_own_BT, UNWANTED, vectors.taste_BT))
    vectors = _weigh_events(vectors, np.where(is_muted_BK, 0.0, 1.0))
    return _restrict_to(vectors, vectors.mask_BK & ~is_muted_BK)


def _restrict_to(vectors: UserVectors, mask_BK: NDArray[np.bool_]) -> UserVectors:
    """Return the vectors with another mask."""
    return vectors._replace(mask_BK=mask_BK, weight_BK=np.where(mask_BK, vectors.weight_BK, 0))


def _history_weights(
    vectors: UserVectors, requests: Sequence[ResolvedRequest], positives: Sequence[NDArray[np.int64]]
) -> list[NDArray[np.float64]] | None:
    """Return what each item of each history counts in the user's tastes; None if no request mutes or sets shares.

    An item of a muted interest counts nothing. Where a request sets shares, the items of an interest have its share
    together, and all items that of the vectors which own none, such as that of the whole history.
    """
    if vectors.share_BK is None and not any(one.preferences.muted_interests for one in requests):
        return None
    weights = []
    for b, (one, items) in enumerate(zip(requests, positives, strict=True)):
        if vectors.own is None:
            interest = read_interests(items, one.context.histories.item_BL[0], vectors.assignment_BL[b])
        else:
            interest = np.full(len(items), -1)
            interest[len(items) - len(vectors.own[b].column_n) :] = vectors.own[b].column_n
        weight = np.where(np.isin(interest, list(one.preferences.muted_interests)), 0.0, 1.0)
        if vectors.share_BK is not None and np.nansum(vectors.share_BK[b]) > 0:
            owns_K = np.isin(np.arange(len(vectors.kinds)), interest)
            own_n = np.append(np.nan_to_num(vectors.share_BK[b]), 0)[interest]  # the last is of no interest
            own_n /= np.bincount(interest + 1)[interest + 1]
            weight *= own_n + vectors.share_BK[b, ~owns_K].sum() / max(len(items), 1)
        weights.append(weight)
    return weights


def with_tastes(
    vectors: UserVectors,
    positives: Sequence[NDArray[np.int64]],
    catalogue: Catalogue,
    calibration_B: float | NDArray[np.float64],
    weights: Sequence[NDArray[np.float64]] | None = None,
) -> UserVectors:
    """Return the vectors with the part of the list of each taste of their users, ``calibration_B`` for all tastes.

    ``positives`` are the distinct items of each user's entire history with an event of positive weight; ``weights``, at
    least 0, say what each counts. A taste whose items all weigh nothing comes last: the user wants none of it.
    """
    if not catalogue.n_tastes or (weights is None and not np.any(calibration_B)):
        return vectors._replace(taste_BT=None)
    share_BT = taste_shares(positives, catalogue.item_taste, catalogue.n_tastes, weights)
    part_BT = share_BT * np.reshape(calibration_B, (-1, 1))
    if weights is not None:
        has_items_BT = taste_shares(positives, catalogue.item_taste, catalogue.n_tastes) > 0
        part_BT[has_items_BT & (share_BT == 0)] = UNWANTED
    return vectors._replace(taste_BT=part_BT)


def with_taste_events(vectors: UserVectors, item_BL: NDArray[np.int64], catalogue: Catalogue) -> UserVectors:
    """Return the vectors with the events of each interest in each taste, but of one that is muted or has no share."""
    if not catalogue.n_tastes:
        return vectors
    users, width = vectors.mask_BK.shape
    taste_BL = catalogue.tastes_of(item_BL).astype(np.int64)
    user_E, place_E = np.nonzero((item_BL > 0) & (vectors.assignment_BL >= 0) & (taste_BL != NO_TASTE))
    interest_E, taste_E = vectors.assignment_BL[user_E, place_E], taste_BL[user_E, place_E]
    cell_E = (user_E * catalogue.n_tastes + taste_E) * width + interest_E
    counts_BK = vectors.mask_BK & (vectors.share_BK != 0)  # of those that requests set
    count_BTK = np.bincount(cell_E, counts_BK[user_E, interest_E], users * catalogue.n_tastes * width)
    return vectors._replace(events_BTK=count_BTK.reshape(users, catalogue.n_tastes, width).astype(np.float32))


def with_own_events(
    vectors: UserVectors, positives: Sequence[NDArray[np.int64]], item_BL: NDArray[np.int64], catalogue: Catalogue
) -> UserVectors:
    """Return the vectors with the own events of their users, which propose items beside them, if there are such."""
    if catalogue.neighbours is None:
        return vectors
    return vectors._replace(own=own_events(catalogue.neighbours, positives, item_BL, vectors.assignment_BL))


def _weigh_events(vectors: UserVectors, factor_BK: NDArray[np.float64]) -> UserVectors:
    """Return the vectors with the own events of each interest multiplied by a factor."""
    if vectors.own is None:
        return vectors
    factors = np.concatenate([factor_BK, np.ones((len(factor_BK), 1))], axis=1).astype(np.float32)
    rows = zip(vectors.own, factors, strict=True)  # the last column is of no interest
    return vectors._replace(own=[own._replace(weight_n=own.weight_n * row[own.column_n]) for own, row in rows])


def taste_shares(
    positives: Sequence[NDArray[np.int64]],
    item_taste_I: NDArray[np.int16],
    tastes: int,
    weights: Sequence[NDArray[np.float64]] | None = None,
) -> NDArray[np.float64]:
    """Return the share of each taste in the history of each user (B, T); zeros without an item of any taste.

    Items of ``NO_TASTE`` are left out. Each item has its weight, or counts once. Neither recency nor the length of the
    history counts: on three public sets both changed nothing.
    """
    user_E = np.repeat(np.arange(len(positives)), [len(items) for items in positives])
    item_E = np.concatenate([*positives, np.zeros(0, dtype=np.int64)])
    taste_E = item_taste_I[np.where(item_E < len(item_taste_I), item_E, 0)].astype(np.int64)
    counted_E = taste_E != NO_TASTE
    cell_E = user_E[counted_E] * tastes + taste_E[counted_E]
    weight_E = None if weights is None else np.concatenate([*weights, np.zeros(0)])[counted_E]
    count_BT = np.bincount(cell_E, weight_E, minlength=len(positives) * tastes).reshape(-1, tastes)
    total_B1 = count_BT.sum(axis=1, keepdims=True)
    return np.asarray(count_BT / np.where(total_B1 > 0, total_B1, 1))
