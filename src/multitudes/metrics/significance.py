"""Many comparisons at once: Holm's correction, and whether methods differ over data sets.

Legend: M methods · G data sets · P comparisons.

**Over data sets** the picture is that of average ranks with bars over methods that are not told apart, and what draws
the bars is Wilcoxon's signed-rank test of each pair, exact, with Holm's correction over the pairs. The older rule, the
critical difference of Nemenyi, rests on a normal approximation that few data sets do not reach, and lets a verdict on
two methods depend on which others take part (Benavoli, Corani and Mangili 2016): two equal methods with four others
between them on each of four sets are called different one time in eight. The exact test cannot err like that; the price
is that it says nothing at all below ``min_data_sets``, which is then to be said plainly.
"""

from itertools import combinations
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray


def adjust_holm(p_P: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Holm's (1979) adjusted p-values, shape (P,): those below 5 % hold with a family-wise error of 5 %.

    NaN, a comparison that could not be made, stays NaN and is not counted.
    """
    adjusted_P = np.full(len(p_P), np.nan)
    made = np.flatnonzero(np.isfinite(p_P))
    order = made[np.argsort(p_P[made], kind="stable")]
    steps = p_P[order] * np.arange(len(order), 0, -1)
    adjusted_P[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted_P


def wilcoxon_p_value(difference_G: NDArray[np.float64]) -> float:
    """Return the exact two-sided p-value of Wilcoxon's signed-rank test; equal sizes share ranks, zeros are left out.

    All 2^G ways to give the ranks a sign are counted, so it holds for any number of data sets.
    """
    kept = difference_G[difference_G != 0]
    if len(kept) == 0:
        return 1.0
    doubled = np.round(2 * middle_ranks(np.abs(kept))).astype(np.int64)  # middle ranks are halves
    ways = np.zeros(int(doubled.sum()) + 1)  # ways[w]: how many choices of signs have positive ranks of sum w
    ways[0] = 1
    for rank in doubled:
        ways[rank:] += ways[:-rank].copy()
    positive = int(doubled[kept > 0].sum())
    tail = min(ways[: positive + 1].sum(), ways[positive:].sum())
    return float(min(1.0, 2 * tail / ways.sum()))


def middle_ranks(value_M: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ranks of the values, the smallest 1; equal values share the middle of theirs."""
    ascending = np.sort(value_M)
    below, upto = (np.searchsorted(ascending, value_M, side=side) for side in ("left", "right"))
    middle_M: NDArray[np.float64] = (below + upto + 1) / 2
    return middle_M


def average_ranks(score_GM: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each method's mean rank over the data sets, shape (M,); the best score has rank 1."""
    rank_GM = np.stack([middle_ranks(-score_M) for score_M in score_GM])
    mean_M: NDArray[np.float64] = rank_GM.mean(axis=0)
    return mean_M


def pairwise_p_values(score_GM: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Holm-adjusted p-value of every pair of methods over the data sets, shape (M, M); 1 on the diagonal.

    Scores are compared as (a − b) / (a + b): a gain of .01 is more at .05 than at .50, and the ranks of the sizes
    should know that.
    """
    n_methods = score_GM.shape[1]
    pairs = list(combinations(range(n_methods), 2))
    p_P = np.array([wilcoxon_p_value(_relative_difference(score_GM[:, a], score_GM[:, b])) for a, b in pairs])
    adjusted_MM = np.ones((n_methods, n_methods))
    for (a, b), p in zip(pairs, adjust_holm(p_P), strict=True):
        adjusted_MM[a, b] = adjusted_MM[b, a] = p
    return adjusted_MM


def cliques(rank_M: NDArray[np.float64], differs_MM: NDArray[np.bool_]) -> list[list[int]]:
    """Return the longest runs of methods, in order of rank, in which no pair differs: the bars of the picture."""
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
    """Return below how many data sets no pair of so many methods can be told apart, however clear the figures.

    The clearest outcome, all G differences on one side, has p = 2 / 2^G; Holm multiplies it by the number of pairs.
    """
    pairs = n_methods * (n_methods - 1) // 2
    return ceil(1 + log2(pairs / level)) if pairs else 0


def _relative_difference(first_G: NDArray[np.float64], second_G: NDArray[np.float64]) -> NDArray[np.float64]:
    total_G = first_G + second_G
    difference_G: NDArray[np.float64] = np.divide(
        first_G - second_G, total_G, out=np.zeros_like(total_G), where=total_G != 0
    )
    return difference_G
