"""How many of the N candidates each vector may bring (method §5). Pure functions.

Legend: B users · K vectors · G kinds of vectors (unconditioned, implicit, explicit). A leading ``...`` is any number of
further axes, so that one user and thousands take the same path.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.batches.user_vectors import INTEREST_KINDS, InterestKind, UserVectors
from multitudes.retrieval.config import RetrieveConfig, resolve_shares

# Who takes the share that a kind cannot use, in order: followed topics that a user does not have go to the implicit
# interests, a history that cannot be read leaves its place to the followed topics.
_FALLBACK_KINDS: dict[InterestKind, tuple[InterestKind, ...]] = {
    "unconditioned": ("implicit", "explicit"),
    "implicit": ("explicit", "unconditioned"),
    "explicit": ("implicit", "unconditioned", "explicit"),
}

# A vector is searched for so many times its share of the list, and for this part of the list in any case.
_DEEPER, _AT_LEAST = 3.0, 0.1


def allocate_by_weight(weight_K: ArrayLike, budget: ArrayLike) -> NDArray[np.int64]:
    """Divide ``budget`` places in proportion to weights by largest remainder; ties go to the earlier vector.

    Args:
        weight_K: (..., K), at least 0.
        budget: (...), whole numbers at least 0.

    Returns:
        Places (..., K) that sum to the budget exactly, or zeros where every weight is zero.
    """
    weight = np.asarray(weight_K, dtype=np.float64)
    places = np.asarray(budget, dtype=np.int64)[..., None]
    largest = weight.max(axis=-1, keepdims=True, initial=0.0)
    weight = weight / np.where(largest > 0, largest, 1.0)  # denormal weights would lose their proportions in the sum
    total = weight.sum(axis=-1, keepdims=True)
    exact = places * weight / np.where(total > 0, total, 1.0)
    quota = np.floor(exact).astype(np.int64)
    left = np.where(total > 0, places - quota.sum(axis=-1, keepdims=True), 0)
    order = np.argsort(quota - exact, axis=-1, kind="stable")
    rank = np.argsort(order, axis=-1, kind="stable")
    return np.asarray(quota + (rank < left), dtype=np.int64)


def allocate_evenly(mask_K: ArrayLike, budget: ArrayLike) -> NDArray[np.int64]:
    """Divide ``budget`` places evenly among the vectors that exist; what does not divide goes to the earlier ones."""
    return allocate_by_weight(np.asarray(mask_K, dtype=np.float64), budget)


def kind_shares(
    kinds: tuple[InterestKind, ...], mask_BK: NDArray[np.bool_], config: RetrieveConfig
) -> NDArray[np.float64]:
    """Return the share of the list that each kind gets (B, G), in the order of ``INTEREST_KINDS``.

    The explicit share counts in full when ``topics_per_request`` conditions exist and in proportion below. What a kind
    cannot use flows to the kinds that exist. Rows sum to one, or are zero for a user without any vector.
    """
    count_BG = mask_BK.astype(np.int64) @ _kind_masks(kinds).T
    exists_BG = count_BG > 0
    asked_G = np.array(resolve_shares(config))
    used_BG = exists_BG.astype(np.float64)
    used_BG[:, 2] = np.minimum(1, count_BG[:, 2] / max(1, config.topics_per_request))
    share_BG = asked_G * used_BG
    left_BG = asked_G - share_BG
    for g in np.flatnonzero(left_BG.any(axis=0)).tolist():
        left_B = left_BG[:, g]
        for heir in _FALLBACK_KINDS[INTEREST_KINDS[g]]:
            h = INTEREST_KINDS.index(heir)
            given_B = np.where(exists_BG[:, h], left_B, 0)
            share_BG[:, h] += given_B
            left_B = left_B - given_B
    return share_BG


def vector_shares(
    vectors: UserVectors, config: RetrieveConfig, boost_BK: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the share of the list that each vector gets (B, K): implicit by importance, the other kinds evenly.

    Each then counts ``boost_BK`` times. Rows sum to one, or are zero for a user without any vector.
    """
    share_BG = kind_shares(vectors.kinds, vectors.mask_BK, config)
    weight_GBK = _weights_by_kind(vectors, config)
    total_GB1 = weight_GBK.sum(axis=2, keepdims=True)
    share_GBK = share_BG.T[:, :, None] * weight_GBK / np.where(total_GB1 > 0, total_GB1, 1)
    share_BK: NDArray[np.float64] = share_GBK.sum(axis=0)
    if boost_BK is None:
        return share_BK
    boosted_BK = share_BK * boost_BK
    total_B1 = boosted_BK.sum(axis=1, keepdims=True)
    whole_BK = boosted_BK / np.where(total_B1 > 0, total_B1, 1)
    return np.asarray(np.where(_has_boost(boost_BK), whole_BK, share_BK))


def vector_quotas(
    vectors: UserVectors, config: RetrieveConfig, n: int, boost_BK: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """Return how many of ``n`` candidates each vector may bring (B, K); first divided by kind, then within it."""
    share_BG = kind_shares(vectors.kinds, vectors.mask_BK, config)
    weight_GBK = _weights_by_kind(vectors, config)
    if boost_BK is not None:
        share_GBK = np.where(_kind_masks(vectors.kinds)[:, None], vector_shares(vectors, config, boost_BK), 0.0)
        boosted_B1 = _has_boost(boost_BK)
        weight_GBK = np.where(boosted_B1, share_GBK, weight_GBK)
        share_BG = np.where(boosted_B1, share_GBK.sum(axis=2).T, share_BG)
    budget_BG = allocate_by_weight(share_BG, np.full(len(share_BG), n))
    return np.asarray(allocate_by_weight(weight_GBK, budget_BG.T).sum(axis=0))


def search_depths(share_BK: NDArray[np.float64], n: int, config: RetrieveConfig) -> NDArray[np.int64]:
    """Return how many items each vector is searched for (B, K), so that ``n`` can be taken of them together.

    A vector with a small share of the list rarely places an item that is far down in its own. The best scores of all
    lists (``global_top``) may all come from one vector, so there each is searched in full.
    """
    if config.depth == "full" or config.blend == "global_top":
        return np.full(share_BK.shape, n, dtype=np.int64)
    deep_BK = np.ceil(_DEEPER * share_BK * n) + np.ceil(_AT_LEAST * n)
    return np.asarray(np.minimum(n, deep_BK), dtype=np.int64)


def _has_boost(boost_BK: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which users boost anything (B, 1); the others are divided to the last bit as they would be alone."""
    return np.asarray((boost_BK != 1).any(axis=1, keepdims=True))


def _weights_by_kind(vectors: UserVectors, config: RetrieveConfig) -> NDArray[np.float64]:
    """Return for each kind its weights (G, B, K), zero in the columns of other kinds and where masked."""
    mask_GBK = vectors.mask_BK & _kind_masks(vectors.kinds)[:, None]
    weight_GBK = mask_GBK.astype(np.float64)
    if config.importance == "weight":
        g = INTEREST_KINDS.index("implicit")
        weight_GBK[g] = np.where(mask_GBK[g], vectors.weight_BK, 0.0)
    without_GB1 = ~(weight_GBK > 0).any(axis=2, keepdims=True)
    return np.where(without_GB1, mask_GBK, weight_GBK).astype(np.float64)


@lru_cache
def _kind_masks(kinds: tuple[InterestKind, ...]) -> NDArray[np.bool_]:
    """Return which columns are of each kind (G, K)."""
    return np.array([[column == kind for column in kinds] for kind in INTEREST_KINDS])
