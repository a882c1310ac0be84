"""Ranks of the targets in the lists of a system, and the metrics computed from them.

Legend: B users · N ranks of a list · I items · T targets, flat: user ``b`` has ``offset[b] : offset[b + 1]``.

All metrics are computed from ``rank_T``: the rank of each target in its user's list, from 1, and infinite if the list
does not contain it. A user without candidates has only infinite ranks, so all targets are misses. (One public
implementation counts such users as hits at every cut-off.)
"""

import numpy as np
from numpy.typing import NDArray

from multitudes.metrics.bootstrap import ratio_or_nan

_TARGETS_PER_CHUNK = 4096  # bounds the memory of the comparison to this many rows of N


def target_rows(offset: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the row of the user of each flat target, shape (T,)."""
    return np.repeat(np.arange(len(offset) - 1, dtype=np.int64), np.diff(offset))


def sum_per_user(
    value_T: NDArray[np.integer | np.floating | np.bool_], offset: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the sum of ``value_T`` over each user's targets, shape (B,); zero for users without targets."""
    return np.bincount(target_rows(offset), value_T, len(offset) - 1).astype(np.float64)


def ranks_in_list(
    ranked_BN: NDArray[np.int64], offset: NDArray[np.int64], target: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the rank of each target in its user's list, infinite where absent, shape (T,).

    Lists are best first, and padded with zeros; ``offset`` is where each user's targets begin (B + 1,).
    """
    rank_T = np.full(len(target), np.inf)
    if ranked_BN.shape[1] == 0:
        return rank_T
    owner_T = target_rows(offset)
    for start in range(0, len(target), _TARGETS_PER_CHUNK):
        chunk = slice(start, start + _TARGETS_PER_CHUNK)
        equal = ranked_BN[owner_T[chunk]] == target[chunk, None]
        position = equal.argmax(axis=1)
        found = equal[np.arange(len(position)), position] & (target[chunk] > 0)
        rank_T[chunk] = np.where(found, position + 1.0, np.inf)
    return rank_T


def ranks_by_score(
    score_BI: NDArray[np.floating], offset: NDArray[np.int64], target: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the rank of each target when every item is ranked by its score, shape (T,).

    Equal scores share the middle of their ranks, so a constant score is exactly as good as chance. An item scored
    ``-inf`` is excluded, as column 0, the unknown item, should be: it has no rank, and a user with all items excluded
    misses all targets.
    """
    rank_T = np.empty(len(target))
    ascending_BI = np.sort(score_BI, axis=1)
    for b in range(len(score_BI)):
        user_targets = slice(offset[b], offset[b + 1])
        own = score_BI[b, target[user_targets]]
        below, upto = (np.searchsorted(ascending_BI[b], own, side=side) for side in ("left", "right"))
        better, level = score_BI.shape[1] - upto, upto - below  # the target itself is on its own level
        rank_T[user_targets] = np.where(own > -np.inf, better + (level + 1) / 2, np.inf)
    return rank_T


def hits_of_scores(
    score_BI: NDArray[np.floating], row_T: NDArray[np.int64], target_T: NDArray[np.int64], cutoff: int
) -> int:
    """Return how many targets are among the ``cutoff`` best items of their rows; who ties with the next item is none.

    An item scored ``-inf`` is excluded, as column 0, the unknown item, should be. A user whose scores are all equal has
    no hit.
    """
    beyond = max(0, score_BI.shape[1] - 1 - cutoff)
    bound_B = np.partition(score_BI, beyond, axis=1)[:, beyond]
    return int((score_BI[row_T, target_T] > bound_B[row_T]).sum())


def hits(rank_T: NDArray[np.float64], offset: NDArray[np.int64], cutoff: int) -> NDArray[np.float64]:
    """Return the number of each user's targets with a rank within the cut-off, shape (B,)."""
    return sum_per_user(rank_T <= cutoff, offset)


def recall(rank_T: NDArray[np.float64], offset: NDArray[np.int64], cutoff: int) -> NDArray[np.float64]:
    """Return found targets / targets of each user, shape (B,); NaN for a user without targets."""
    return ratio_or_nan(hits(rank_T, offset, cutoff), np.diff(offset).astype(np.float64))


def ndcg(rank_T: NDArray[np.float64], offset: NDArray[np.int64], cutoff: int) -> NDArray[np.float64]:
    """Return NDCG@cutoff of each user: gain 1/log2(rank + 1), divided by the best possible, shape (B,)."""
    gain_T = np.where(rank_T <= cutoff, 1.0 / np.log2(rank_T + 1.0), 0.0)
    ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, cutoff + 2)))])
    return ratio_or_nan(sum_per_user(gain_T, offset), ideal[np.minimum(np.diff(offset), cutoff)])
