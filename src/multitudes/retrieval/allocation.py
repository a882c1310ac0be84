"""The division of a list of N candidates among the vectors of a user (paper §5). Pure functions.

Legend: B users · K vectors · G kinds of vectors (unconditioned, implicit, explicit). A leading ``...`` stands for any
number of further axes, for one user and for thousands.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.batches.user_vectors import INTEREST_KINDS, InterestKind, UserVectors
from multitudes.retrieval.config import DEFAULT_SHARES, RetrieveConfig, resolve_shares

# The kinds that get the share that a kind cannot use, in order: without enough followed topics, the implicit interests
# get their share; without a usable history, the followed topics get its share.
_FALLBACK_KINDS: dict[InterestKind, tuple[InterestKind, ...]] = {
    "unconditioned": ("implicit", "explicit"),
    "implicit": ("explicit", "unconditioned"),
    "explicit": ("implicit", "unconditioned", "explicit"),
}

_PROPOSALS = 6  # all vectors together propose this many times the list: fewer leave small tastes without candidates
_POPULAR_SHARE = 0.5  # of the turns in the list of a user without a history
_MIN_BOOSTED_SHARE = 0.05  # before the boost: a share of zero, where interests have none of the list, would stay zero


def allocate_by_weight(weight_K: ArrayLike, budget: ArrayLike) -> NDArray[np.int64]:
    """Divide places in proportion to weights, by the largest-remainder method; ties go to the earlier vector.

    Args:
        weight_K: weights (..., K), at least 0.
        budget: number of places (...), at least 0.

    Returns:
        Places (..., K) that sum to the budget, or zeros where all weights are zero.
    """
    weight = np.asarray(weight_K, dtype=np.float64)
    places = np.asarray(budget, dtype=np.int64)[..., None]
    largest = weight.max(axis=-1, keepdims=True, initial=0.0)
    weight = weight / np.where(largest > 0, largest, 1.0)  # the sum of denormal weights would lose their proportions
    total = weight.sum(axis=-1, keepdims=True)
    exact = places * weight / np.where(total > 0, total, 1.0)
    quota = np.floor(exact).astype(np.int64)
    remaining = np.where(total > 0, places - quota.sum(axis=-1, keepdims=True), 0)
    order = np.argsort(quota - exact, axis=-1, kind="stable")
    rank = np.argsort(order, axis=-1, kind="stable")
    return np.asarray(quota + (rank < remaining), dtype=np.int64)


def kind_shares(
    kinds: tuple[InterestKind, ...],
    mask_BK: NDArray[np.bool_],
    config: RetrieveConfig,
) -> NDArray[np.float64]:
    """Return the share of the list of each kind of vectors.

    The explicit share counts in full with ``topics_per_request`` conditions, and in proportion with fewer. A share that
    a kind cannot use goes to the kinds that exist.

    Args:
        kinds: kind of each vector.
        mask_BK: which vectors exist.
        config: settings of retrieval.

    Returns:
        Shares (B, G), in the order of ``INTEREST_KINDS``. Rows sum to one, or are zero for a user without a vector.
    """
    count_BG = mask_BK.astype(np.int64) @ _kind_masks(kinds).T
    exists_BG = count_BG > 0
    configured_BG = np.tile(np.array(resolve_shares(config)), (len(mask_BK), 1))
    used_BG = exists_BG.astype(np.float64)
    used_BG[:, 2] = np.minimum(1, count_BG[:, 2] / max(1, config.topics_per_request))
    share_BG = configured_BG * used_BG
    unused_BG = configured_BG - share_BG
    for g in np.flatnonzero(unused_BG.any(axis=0)).tolist():
        unused_B = unused_BG[:, g]
        for fallback in _FALLBACK_KINDS[INTEREST_KINDS[g]]:
            h = INTEREST_KINDS.index(fallback)
            moved_B = np.where(exists_BG[:, h], unused_B, 0)
            share_BG[:, h] += moved_B
            unused_B = unused_B - moved_B
    return share_BG


def vector_shares(
    vectors: UserVectors, config: RetrieveConfig, boost_BK: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the share of the list of each vector: implicit ones by importance, the other kinds evenly.

    Args:
        vectors: of the users.
        config: settings of retrieval.
        boost_BK: factors that multiply the shares; None: no boosts. A boosted vector has a twentieth of the list at
            least, before the factor.

    Returns:
        Shares (B, K), or those of ``vectors.share_BK`` where a request sets them. Rows sum to one, or are zero for a
        user without a vector.
    """
    share_BG = kind_shares(vectors.kinds, vectors.mask_BK, config)
    weight_GBK = _weights_by_kind(vectors, config)
    total_GB1 = weight_GBK.sum(axis=2, keepdims=True)
    share_GBK = share_BG.T[:, :, None] * weight_GBK / np.where(total_GB1 > 0, total_GB1, 1)
    share_BK: NDArray[np.float64] = share_GBK.sum(axis=0)
    if vectors.share_BK is not None:
        requested_BK = np.where(vectors.mask_BK, vectors.share_BK, 0.0)
        total_B1 = requested_BK.sum(axis=1, keepdims=True)
        share_BK = np.where(total_B1 > 0, requested_BK / np.where(total_B1 > 0, total_B1, 1), share_BK)
    if boost_BK is None:
        return share_BK
    least_BK = np.where((boost_BK > 1) & vectors.mask_BK, _MIN_BOOSTED_SHARE, 0.0)
    boosted_BK = np.maximum(share_BK, least_BK) * boost_BK
    total_B1 = boosted_BK.sum(axis=1, keepdims=True)
    boosted_BK = boosted_BK / np.where(total_B1 > 0, total_B1, 1)
    return np.asarray(np.where(_has_boost(boost_BK), boosted_BK, share_BK))


def popular_shares(vectors: UserVectors) -> NDArray[np.float64]:
    """Return the share of the turns of popular items (B,): half for an unconditioned vector that read no event.

    Without a history a tower often knows no better. There are none where a request sets shares.
    """
    if vectors.events_B is None:
        return np.zeros(len(vectors.mask_BK))
    takes_turns_B = (vectors.mask_BK & _kind_masks(vectors.kinds)[0]).any(axis=1) & (vectors.events_B == 0)
    if vectors.share_BK is not None:
        takes_turns_B = takes_turns_B & ~((vectors.share_BK > 0) & vectors.mask_BK).any(axis=1)
    return np.where(takes_turns_B, _POPULAR_SHARE, 0.0)


def leave_to_popular(vectors: UserVectors, popular_B: NDArray[np.float64]) -> UserVectors:
    """Return the vectors without the unconditioned one of those who have topics and popular items in its place."""
    explicit_K = _kind_masks(vectors.kinds)[INTEREST_KINDS.index("explicit")]
    has_both_B1 = ((popular_B > 0) & (vectors.mask_BK & explicit_K).any(axis=1))[:, None]
    if not has_both_B1.any():
        return vectors
    return vectors._replace(mask_BK=vectors.mask_BK & ~(has_both_B1 & _kind_masks(vectors.kinds)[0]))


def proposal_shares(
    vectors: UserVectors, config: RetrieveConfig, boost_BK: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the share of each vector (B, K) in the proposals for the part of the list that is divided among tastes.

    It is that of the list; where one vector has all of the list, the others still propose, by the default shares.
    """
    if vectors.taste_BT is not None and resolve_shares(config).unconditioned == 1:
        shares = {"unconditioned_share": DEFAULT_SHARES.unconditioned, "explicit_share": DEFAULT_SHARES.explicit}
        config = config.model_copy(update=shares)
    return vector_shares(vectors, config, boost_BK)


def vector_quotas(
    vectors: UserVectors, config: RetrieveConfig, n: int, boost_BK: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """Return the number of candidates of each vector (B, K): ``n`` divided by kind, then within each kind."""
    share_BG = kind_shares(vectors.kinds, vectors.mask_BK, config)
    weight_GBK = _weights_by_kind(vectors, config)
    is_changed_B1 = _has_boost(boost_BK) if boost_BK is not None else np.zeros((len(share_BG), 1), dtype=np.bool_)
    if vectors.share_BK is not None:
        is_changed_B1 = is_changed_B1 | (vectors.share_BK > 0).any(axis=1, keepdims=True)
    if is_changed_B1.any():
        share_GBK = np.where(_kind_masks(vectors.kinds)[:, None], vector_shares(vectors, config, boost_BK), 0.0)
        weight_GBK = np.where(is_changed_B1, share_GBK, weight_GBK)
        share_BG = np.where(is_changed_B1, share_GBK.sum(axis=2).T, share_BG)
    budget_BG = allocate_by_weight(share_BG, np.full(len(share_BG), n))
    return np.asarray(allocate_by_weight(weight_GBK, budget_BG.T).sum(axis=0))


def proposals(vectors: UserVectors, n: int) -> int:
    """Return how many items are proposed for each list of ``n``; more cannot change that of one vector alone."""
    is_one_order = len(vectors.kinds) == 1 and vectors.taste_BT is None
    return n if is_one_order else _PROPOSALS * n


def search_depths(share_BK: NDArray[np.float64], n: int, most: int, config: RetrieveConfig) -> NDArray[np.int64]:
    """Return the number of items to retrieve for each vector (B, K), for a list of ``n``.

    Each vector with a share proposes that part, and a list of its own at least: fusion counts where lists agree. With
    ``global_top``, all items may come from one vector. In full depth, vectors without a share fill a list that ends.
    """
    if config.depth == "full":
        return np.full(share_BK.shape, most, dtype=np.int64)
    depth_BK = np.maximum(np.ceil(share_BK * _PROPOSALS * n), most if config.blend == "global_top" else n)
    return np.where(share_BK > 0, np.minimum(most, depth_BK), 0).astype(np.int64)


def _has_boost(boost_BK: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return a mask of the users with a boost (B, 1); the shares of other users stay the same to the last bit."""
    return np.asarray((boost_BK != 1).any(axis=1, keepdims=True))


def _weights_by_kind(vectors: UserVectors, config: RetrieveConfig) -> NDArray[np.float64]:
    """Return the weights of the vectors by kind (G, B, K), zero where masked and in columns of other kinds."""
    mask_GBK = vectors.mask_BK & _kind_masks(vectors.kinds)[:, None]
    weight_GBK = mask_GBK.astype(np.float64)
    if config.importance == "weight":
        g = INTEREST_KINDS.index("implicit")
        weight_GBK[g] = np.where(mask_GBK[g], vectors.weight_BK, 0.0)
    no_weight_GB1 = ~(weight_GBK > 0).any(axis=2, keepdims=True)
    return np.where(no_weight_GB1, mask_GBK, weight_GBK).astype(np.float64)


@lru_cache
def _kind_masks(kinds: tuple[InterestKind, ...]) -> NDArray[np.bool_]:
    """Return a mask of the columns of each kind (G, K)."""
    return np.array([[column == kind for column in kinds] for kind in INTEREST_KINDS])
