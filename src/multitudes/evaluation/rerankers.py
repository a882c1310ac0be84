"""References that re-rank the list of one vector, so that it covers more interests: calibration, MMR and DPP.

Each chooses N of the best M items of the list, one after the other. λ weighs what an item brings beside its relevance:

* ``steck``: calibration (Steck 2018) to the tastes of the history;
* ``mmr``: maximal marginal relevance (Carbonell and Goldstein 1998), by the cosine of the item vectors;
* ``dpp``: greedy MAP inference of a determinantal point process (Chen et al. 2018) with the kernel (1 + cosine) / 2.

They return columns of the M items in the order of the new list, (B, N). Where fewer than N columns hold an item, the
last places repeat columns.

Legend: B users · M items to choose from, best first · N places · D width · T tastes.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from multitudes.metrics.coverage import divergence_terms

_LEAST_VOLUME: Final = 1e-4  # more items than dimensions add none: rounding errors, which would grow from row to row

Columns = NDArray[np.int64]


def relevance(item_BM: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return 1 for the first item, and evenly less for each later one, (B, M); minus infinity without an item, 0."""
    by_rank_M = 1 - np.arange(item_BM.shape[1], dtype=np.float32) / item_BM.shape[1]
    return np.where(item_BM > 0, by_rank_M, -np.inf).astype(np.float32)


def steck(
    relevance_BM: NDArray[np.float32],
    taste_BM: NDArray[np.int64],
    history_BT: NDArray[np.float64],
    n: int,
    weight: float,
) -> Columns:
    """Choose greedily by (1 − λ) Σ relevance − λ KL(p ‖ .99 q + .01 p).

    Items of one taste change q alike, so of each taste only the best item that is left competes.

    Args:
        relevance_BM: falls from item to item.
        taste_BM: taste of each item; −1: none.
        history_BT: share of each taste in the history, p; q is that in the list.
        n: N.
        weight: λ, below 1.
    """
    n_users, n_tastes = history_BT.shape
    rows, chosen_BN = np.arange(n_users), np.zeros((n_users, n), dtype=np.int64)
    group_BM = np.where(taste_BM < 0, n_tastes, taste_BM)  # the last of T + 1 groups has no taste
    column_BM = np.argsort(group_BM, axis=1, kind="stable")
    size_BG = np.array([np.bincount(group_M, minlength=n_tastes + 1) for group_M in group_BM])
    end_BG = size_BG.cumsum(axis=1)
    taken_BG = np.zeros_like(size_BG)
    for place in range(n):
        before_BT, after_BT = (
            divergence_terms((taken_BG[:, :-1] + extra) / (place + 1), history_BT) for extra in (0, 1)
        )
        change_BG = np.pad(after_BT - before_BT, ((0, 0), (0, 1)))  # of the divergence; of other terms it is the same
        next_BG = np.minimum(end_BG - size_BG + taken_BG, taste_BM.shape[1] - 1)
        best_BG = np.take_along_axis(column_BM, next_BG, axis=1)
        value_BG = (1 - weight) * relevance_BM[rows[:, None], best_BG] - weight * change_BG
        group_B = np.where(taken_BG < size_BG, value_BG, -np.inf).argmax(axis=1)
        chosen_BN[:, place] = best_BG[rows, group_B]
        taken_BG[rows, group_B] += 1
    return chosen_BN


def mmr(relevance_BM: NDArray[np.float32], cosine_BMM: NDArray[np.float32], n: int, weight: float) -> Columns:
    """Choose greedily by (1 − λ) relevance − λ · the largest cosine with an item that is chosen; λ below 1."""
    rows, chosen_BN = np.arange(len(relevance_BM)), np.zeros((len(relevance_BM), n), dtype=np.int64)
    value_BM, nearest_BM = (1 - weight) * relevance_BM, np.full_like(relevance_BM, -1.0)
    for place in range(n):
        column_B = (value_BM - weight * nearest_BM).argmax(axis=1)
        chosen_BN[:, place] = column_B
        value_BM[rows, column_B] = -np.inf
        np.maximum(nearest_BM, cosine_BMM[rows, column_B], out=nearest_BM)
    return chosen_BN


def dpp(relevance_BM: NDArray[np.float32], cosine_BMM: NDArray[np.float32], n: int, weight: float) -> Columns:
    """Choose greedily by (1 − λ) Σ relevance + λ log det of the kernel of the chosen items; λ below 1.

    A Cholesky factor, with a row more for each chosen item, has the volume that an item adds to the chosen ones.
    """
    (n_users, n_items), rows = relevance_BM.shape, np.arange(len(relevance_BM))
    chosen_BN, value_BM = np.zeros((n_users, n), dtype=np.int64), (1 - weight) * relevance_BM
    factor_BNM = np.zeros((n_users, n, n_items), dtype=np.float32)
    volume_BM = np.ones((n_users, n_items), dtype=np.float32)
    for place in range(n):
        column_B = (value_BM + weight * np.log(volume_BM)).argmax(axis=1)
        chosen_BN[:, place] = column_B
        value_BM[rows, column_B] = -np.inf
        own_B1N = factor_BNM[rows, :place, column_B][:, None]
        rest_BM = (1 + cosine_BMM[rows, column_B]) / 2 - np.matmul(own_B1N, factor_BNM[:, :place])[:, 0]
        added_B1 = volume_BM[rows, column_B][:, None]
        factor_BNM[:, place] = np.where(added_B1 > _LEAST_VOLUME, rest_BM / np.sqrt(added_B1), 0)
        volume_BM = np.maximum(volume_BM - factor_BNM[:, place] ** 2, _LEAST_VOLUME)
    return chosen_BN


def cosines(vectors_BMD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosines between the items of each list (B, M, M)."""
    unit_BMD = vectors_BMD / np.maximum(np.linalg.norm(vectors_BMD, axis=2, keepdims=True), 1e-12)
    cosine_BMM: NDArray[np.float32] = np.matmul(unit_BMD, unit_BMD.transpose(0, 2, 1))
    return cosine_BMM
