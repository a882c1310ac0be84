"""The share π of the list of each vector of a user: one prior, for training, evaluation and serving alike.

    π_k = s_kind(k) w_k / Σ over the vectors of the user        Σ w_k = 1 within each kind

s are the shares of the kinds (``config.resolve_shares``), w the importance of a vector within its kind: that of the
history for implicit interests, even for the others. So a kind that a user lacks leaves its share to the others in
proportion. What a request asks (shares, boosts, muted vectors) changes π before the search, and quotas and depths
follow from it. Pure functions.

Legend: B users · K vectors · G kinds of vectors (unconditioned, implicit, explicit).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.user_vectors import INTEREST_KINDS, InterestKind, UserVectors
from multitudes.retrieval.blend import BLENDS
from multitudes.retrieval.config import DEFAULT_SHARES, RetrieveConfig, Shares, resolve_shares

_PROPOSALS = 6  # all vectors together propose this many times the list: fewer leave small tastes without candidates
_LEAST_LIST = 100  # a shorter list that is divided among tastes is the beginning of one of 100 places
_POPULAR_SHARE = 0.5  # of the turns beside followed topics in the list of a user without a history
_MIN_BOOSTED_SHARE = 0.05  # before the boost: a share of zero, where interests have none of the list, would stay zero


def vector_shares(
    vectors: UserVectors, config: RetrieveConfig, boost_BK: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the share π of the list of each vector.

    Args:
        vectors: of the users.
        config: settings of retrieval.
        boost_BK: factors that multiply the shares; None: no boosts. A boosted vector has a twentieth of the list at
            least, before the factor.

    Returns:
        Shares (B, K), or those of ``vectors.share_BK`` where a request sets them. Rows sum to one, or are zero for a
        user without a vector.
    """
    share_BK = _prior(vectors, resolve_shares(config), config)
    lacks_B1 = ~share_BK.any(axis=1, keepdims=True)
    if lacks_B1.any():  # the kinds that have a share are those that the user lacks
        share_BK = np.where(lacks_B1, _prior(vectors, DEFAULT_SHARES, config), share_BK)
    if vectors.share_BK is not None:
        requested_BK = _normalise(np.where(vectors.mask_BK, vectors.share_BK, 0.0))
        share_BK = np.where((requested_BK > 0).any(axis=1, keepdims=True), requested_BK, share_BK)
    if boost_BK is None:
        return share_BK
    least_BK = np.where((boost_BK > 1) & vectors.mask_BK, _MIN_BOOSTED_SHARE, 0.0)
    boosted_BK = _normalise(np.maximum(share_BK, least_BK) * boost_BK)
    # The shares of users without a boost stay the same to the last bit.
    return np.where((boost_BK != 1).any(axis=1, keepdims=True), boosted_BK, share_BK)


def _prior(vectors: UserVectors, shares: Shares, config: RetrieveConfig) -> NDArray[np.float64]:
    """Return the prior of each vector (B, K) by the shares of the kinds."""
    share_BK = np.zeros(vectors.mask_BK.shape)
    for kind, share, is_own_K in zip(INTEREST_KINDS, shares, _kind_masks(vectors.kinds), strict=True):
        mask_BK = vectors.mask_BK & is_own_K
        weight_BK = mask_BK.astype(np.float64)
        if kind == "implicit" and config.importance == "weight":
            known_BK = np.where(mask_BK, vectors.weight_BK, 0.0)
            weight_BK = np.where((known_BK > 0).any(axis=1, keepdims=True), known_BK, weight_BK)
        share_BK += share * _normalise(weight_BK)
    return _normalise(share_BK)


def _normalise(weight_BK: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights divided by the sum of each row; a row of zeros stays as it is."""
    total_B1 = weight_BK.sum(axis=1, keepdims=True)
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
    is_unconditioned_K = _kind_masks(vectors.kinds)[INTEREST_KINDS.index("unconditioned")]
    is_new_B = (vectors.mask_BK & is_unconditioned_K).any(axis=1) & (vectors.events_B == 0)
    if vectors.share_BK is not None:
        is_new_B = is_new_B & ~((vectors.share_BK > 0) & vectors.mask_BK).any(axis=1)
    mask_BK = vectors.mask_BK & ~(is_new_B[:, None] & is_unconditioned_K)
    popular_B = np.where(is_new_B, np.where(mask_BK.any(axis=1), _POPULAR_SHARE, 1.0), 0.0)
    return vectors._replace(mask_BK=mask_BK), popular_B


def proposals(vectors: UserVectors, n: int) -> int:
    """Return how many items are proposed for each list of ``n``; more cannot change that of one vector alone."""
    if vectors.taste_BT is not None:
        return proposals_to_divide(n)
    return n if len(vectors.kinds) == 1 else _PROPOSALS * n


def proposals_to_divide(n: int) -> int:
    """Return how many items are proposed for a list of ``n`` that is divided among tastes."""
    return _PROPOSALS * max(n, _LEAST_LIST)


def search_depths(share_BK: NDArray[np.float64], most: int, config: RetrieveConfig) -> NDArray[np.int64]:
    """Return the number of items to retrieve for each vector (B, K), of ``most`` proposals.

    Each vector with a share proposes that part, and a list of its own at least: fusion counts where lists agree. With a
    deep blend, all items may come from one vector.
    """
    least = most if BLENDS[config.blend].is_deep else most // _PROPOSALS
    depth_BK = np.maximum(np.ceil(share_BK * most), least)
    return np.where(share_BK > 0, np.minimum(most, depth_BK), 0).astype(np.int64)


@lru_cache
def _kind_masks(kinds: tuple[InterestKind, ...]) -> NDArray[np.bool_]:
    """Return a mask of the columns of each kind (G, K)."""
    return np.array([[column == kind for column in kinds] for kind in INTEREST_KINDS])
