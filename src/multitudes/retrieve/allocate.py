"""How many of the N candidates each vector may bring (method §5). Pure functions.

Legend: B users · K vectors · G kinds of vectors (unconditioned, implicit, explicit). A leading ``...`` is any number of
further axes, so that one user and thousands take the same path.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.batches.vectors import KINDS, Kind, UserVectors
from multitudes.retrieve.plan import RetrieveConfig, division

# Who takes the share that a kind cannot use, in order: followed topics that a user does not have go to the implicit
# interests, a history that cannot be read leaves its place to the followed topics.
_HEIRS: dict[Kind, tuple[Kind, ...]] = {
    "unconditioned": ("implicit", "explicit"),
    "implicit": ("explicit", "unconditioned"),
    "explicit": ("implicit", "unconditioned", "explicit"),
}


def by_weight(weight_K: ArrayLike, budget: ArrayLike) -> NDArray[np.int64]:
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


def evenly(mask_K: ArrayLike, budget: ArrayLike) -> NDArray[np.int64]:
    """Divide ``budget`` places evenly among the vectors that exist; what does not divide goes to the earlier ones."""
    return by_weight(np.asarray(mask_K, dtype=np.float64), budget)


def kind_shares(kinds: tuple[Kind, ...], mask_BK: NDArray[np.bool_], config: RetrieveConfig) -> NDArray[np.float64]:
    """Return the share of the list that each kind gets (B, G), in the order of ``KINDS``.

    The explicit share counts in full when ``topics_per_request`` conditions exist and in proportion below. What a kind
    cannot use flows to the kinds that exist. Rows sum to one, or are zero for a user without any vector.
    """
    columns = np.array(kinds)
    count_BG = np.stack([mask_BK[:, columns == kind].sum(axis=1) for kind in KINDS], axis=1)
    exists_BG = count_BG > 0
    asked_G = np.array(division(config))
    used_BG = exists_BG.astype(np.float64)
    used_BG[:, 2] = np.minimum(1, count_BG[:, 2] / max(1, config.topics_per_request))
    share_BG = asked_G * used_BG
    for g, kind in enumerate(KINDS):
        left_B = asked_G[g] - asked_G[g] * used_BG[:, g]
        for heir in _HEIRS[kind]:
            h = KINDS.index(heir)
            given_B = np.where(exists_BG[:, h], left_B, 0)
            share_BG[:, h] += given_B
            left_B = left_B - given_B
    return share_BG


def shares(vectors: UserVectors, config: RetrieveConfig) -> NDArray[np.float64]:
    """Return the share of the list that each vector gets (B, K): implicit by importance, the other kinds evenly.

    What a request boosts then counts so many times. Rows sum to one, or are zero for a user without any vector.
    """
    share_BG = kind_shares(vectors.kinds, vectors.mask_BK, config)
    share_BK = np.zeros(vectors.mask_BK.shape)
    for g, weight_BK in enumerate(_weights_by_kind(vectors, config)):
        total_B1 = weight_BK.sum(axis=1, keepdims=True)
        share_BK += share_BG[:, g : g + 1] * weight_BK / np.where(total_B1 > 0, total_B1, 1)
    if vectors.boost_BK is None:
        return share_BK
    boosted_BK = share_BK * vectors.boost_BK
    total_B1 = boosted_BK.sum(axis=1, keepdims=True)
    return np.where(_boosted(vectors) & (total_B1 > 0), boosted_BK / np.where(total_B1 > 0, total_B1, 1), share_BK)


def quotas(vectors: UserVectors, config: RetrieveConfig, n: int) -> NDArray[np.int64]:
    """Return how many of ``n`` candidates each vector may bring (B, K); first divided by kind, then within it."""
    share_BG = kind_shares(vectors.kinds, vectors.mask_BK, config)
    weights = _weights_by_kind(vectors, config)
    if vectors.boost_BK is not None:
        share_BK, columns, boosted_B1 = shares(vectors, config), np.array(vectors.kinds), _boosted(vectors)
        parts = [np.where(columns == kind, share_BK, 0.0) for kind in KINDS]
        weights = [np.where(boosted_B1, part, weight) for part, weight in zip(parts, weights, strict=True)]
        share_BG = np.where(boosted_B1, np.stack([part.sum(axis=1) for part in parts], axis=1), share_BG)
    budget_BG = by_weight(share_BG, np.full(len(share_BG), n))
    places = [by_weight(weight_BK, budget_BG[:, g]) for g, weight_BK in enumerate(weights)]
    return np.asarray(np.stack(places).sum(axis=0))


def _boosted(vectors: UserVectors) -> NDArray[np.bool_]:
    """Return which users boost anything (B, 1); the others are divided to the last bit as they would be alone."""
    assert vectors.boost_BK is not None
    return np.asarray((vectors.boost_BK != 1).any(axis=1, keepdims=True))


def _weights_by_kind(vectors: UserVectors, config: RetrieveConfig) -> list[NDArray[np.float64]]:
    """Return for each kind its weights (B, K), zero in the columns of other kinds and where masked."""
    columns = np.array(vectors.kinds)
    weights = []
    for kind in KINDS:
        mask_BK = vectors.mask_BK & (columns == kind)
        weighs = kind == "implicit" and config.importance == "weight"
        weight_BK = np.where(mask_BK, vectors.weight_BK if weighs else 1.0, 0.0).astype(np.float64)
        without_B1 = ~(weight_BK > 0).any(axis=1, keepdims=True)
        weights.append(np.where(without_B1, mask_BK, weight_BK).astype(np.float64))
    return weights
