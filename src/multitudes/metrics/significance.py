"""Tests of many comparisons: Holm's correction, and whether methods differ over data sets.

Legend: M methods · G data sets · P comparisons.

**Over data sets**, a critical difference diagram shows average ranks, with bars over methods that do not differ
significantly. The test is Wilcoxon's signed-rank test of each pair, exact, with Holm's correction over the pairs. The
older rule, Nemenyi's critical difference, uses a normal approximation that needs more data sets, and its verdict on two
methods depends on which others take part (Benavoli, Corani and Mangili 2016): two equal methods with four others
between them on each of four sets are called different one time in eight. The exact test does not have this error, but
it cannot find any difference on fewer than ``min_data_sets`` data sets; reports must say so.
"""

from collections.abc import Hashable, Mapping
from itertools import combinations
from math import ceil, log2
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

K = TypeVar("K", bound=Hashable)


def adjust_holm(p_P: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Holm's (1979) adjusted p-values, shape (P,): below 5 % is significant at a family-wise error of 5 %.

    NaN (a comparison that could not be made) stays NaN and is not counted.
    """
    adjusted_P = np.full(len(p_P), np.nan)
    made = np.flatnonzero(np.isfinite(p_P))
    order = made[np.argsort(p_P[made], kind="stable")]
    steps = p_P[order] * np.arange(len(order), 0, -1)
    adjusted_P[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted_P


def adjust_holm_by_key(p: Mapping[K, float]) -> dict[K, float]:
    """Return Holm's adjusted p-value of each comparison of a family; see ``adjust_holm``."""
    return dict(zip(p, adjust_holm(np.array(list(p.values()), dtype=np.float64)).tolist(), strict=True))


def wilcoxon_p_value(difference_G: NDArray[np.float64]) -> float:
    """Return the exact two-sided p-value of Wilcoxon's signed-rank test; equal sizes share ranks, zeros are left out.

    All 2^G assignments of signs to the ranks are counted, so it is exact for any number of data sets.
    """
    kept = difference_G[difference_G != 0]
    if len(kept) == 0:
        return 1.0
    doubled = np.round(2 * middle_ranks(np.abs(kept))).astype(np.int64)  # middle ranks are halves
    ways = np.zeros(int(doubled.sum()) + 1)  # ways[w]: number of sign assignments whose positive ranks sum to w
    ways[0] = 1
    for rank in doubled:
        ways[rank:] += ways[:-rank].copy()
    positive = int(doubled[kept > 0].sum())
    tail = min(ways[: positive + 1].sum(), ways[positive:].sum())
    return float(min(1.0, 2 * tail / ways.sum()))


def middle_ranks(value_M: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ranks of the values, the smallest 1; equal values share the middle of their ranks."""
    ascending = np.sort(value_M)
    below, upto = (np.searchsorted(ascending, value_M, side=side) for side in ("left", "right"))
    return (below + upto + 1) / 2


def average_ranks(score_GM: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each method's mean rank over the data sets, shape (M,); the best score has rank 1."""
    rank_GM = np.stack([middle_ranks(-score_M) for score_M in score_GM])
    return np.asarray(rank_GM.mean(axis=0))


def pairwise_p_values(score_GM: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Holm-adjusted p-value of every pair of methods over the data sets, shape (M, M); 1 on the diagonal.

    Scores are compared as (a − b) / (a + b), since a gain of .01 is larger at .05 than at .50, and ranks of the
    differences should reflect that.
    """
    n_methods = score_GM.shape[1]
    pairs = list(combinations(range(n_methods), 2))
    sides = ((score_GM[:, a] - score_GM[:, b], score_GM[:, a] + score_GM[:, b]) for a, b in pairs)
    differences = (np.divide(gap_G, sum_G, out=np.zeros_like(sum_G), where=sum_G != 0) for gap_G, sum_G in sides)
    p_P = np.array([wilcoxon_p_value(difference_G) for difference_G in differences])
    adjusted_MM = np.ones((n_methods, n_methods))
    for (a, b), p in zip(pairs, adjust_holm(p_P), strict=True):
        adjusted_MM[a, b] = adjusted_MM[b, a] = p
    return adjusted_MM


def cliques(rank_M: NDArray[np.float64], differs_MM: NDArray[np.bool_]) -> list[list[int]]:
    """Return the longest runs of methods, in order of rank, in which no pair differs: the bars of the diagram."""
    order = np.argsort(rank_M, kind="stable")
    found: list[list[int]] = []
    end_before = 0
    for start in range(len(order)):
        end = start + 1
        while end < len(order) and not differs_MM[np.ix_(order[start : end + 1], order[start : end + 1])].any():
            end += 1
        if end > end_before and end - start > 1:
            found.append(order[start:end].tolist())
        end_before = max(end_before, end)
    return found


def min_data_sets(n_methods: int, level: float = 0.05) -> int:
    """Return the fewest data sets on which any pair of ``n_methods`` methods can differ significantly.

    The clearest outcome, all G differences in one direction, has p = 2 / 2^G; Holm multiplies it by the number of
    pairs.
    """
    pairs = n_methods * (n_methods - 1) // 2
    return ceil(1 + log2(pairs / level)) if pairs else 0
