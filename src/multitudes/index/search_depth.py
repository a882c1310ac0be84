"""How deep a request has to be searched where some of the best are excluded: guessed before, so that once is enough.

The engine leaves the excluded items out of what it proposes, but it has to look as far as if it did not: to the depth
at which the last result stands in the ranking of all. The scores of the excluded items are one small product. How many
of them stand above the last result would be known if that result's score were; so the score is guessed, from how high
above the mean a result of that place stood when the index was tuned. A wrong guess costs time and never recall: the
search itself shows the score, hence the depth.

Legend: Q queries · N results · L levels · E excluded items · U distinct limits · D dimensions.
"""

from collections.abc import Sequence
from math import ceil, exp
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.index.item_table import ItemTable
from multitudes.index.request import identity_runs
from multitudes.index.score_distribution import ScoreDistribution
from multitudes.index.tuning import Level

DEPTH_TOLERANCE = 1.03  # so much deeper than was tuned is found almost as surely; a level has more to spare
_SAMPLED_EXCLUDED = 1_000  # excluded items, evenly spaced: a guess needs no more of the many thousands that have gone
_FIRST_SAMPLED = 16  # of them: as a rule few stand above the last result
_MARGIN = 1.2  # a level too deep costs a little effort, one too shallow a second search


class ExcludedScores(NamedTuple):
    """The scores of some of the items that each query excludes."""

    score_QE: NDArray[np.float32]  # minus infinity where a query excludes fewer than another
    step_Q: NDArray[np.int64]  # of so many each has one score

    @classmethod
    def compute(
        cls, rows: ItemTable, query_QD: NDArray[np.float32], row_QE: Sequence[NDArray[np.int64]]
    ) -> "ExcludedScores":
        """Compute the scores, of rows that successive queries may share."""
        step_Q = np.array([max(1, len(row_E) // _SAMPLED_EXCLUDED) for row_E in row_QE], dtype=np.int64)
        most = max((len(row_E[::step]) for row_E, step in zip(row_QE, step_Q.tolist(), strict=True)), default=0)
        score_QE = np.full((len(row_QE), most), -np.inf, dtype=np.float32)
        for row_E, some in identity_runs(row_QE):
            vectors_ED = rows.vectors_at(row_E[:: step_Q[some.start]])
            # A product of its own for each query, so that it is searched alike alone and in a batch.
            score_QE[some, : len(vectors_ED)] = np.matmul(vectors_ED, query_QD[some, :, None])[:, :, 0]
        return cls(score_QE, step_Q)

    def select(self, where: NDArray[np.int64]) -> "ExcludedScores":
        """Return what is known for some of the queries."""
        return ExcludedScores(self.score_QE[where], self.step_Q[where])

    def search_depth(self, score_QN: NDArray[np.float32], limit_Q: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how deep queries had to be searched that found ``limit_Q`` results of these scores."""
        middle_Q = (limit_Q + 1) // 2
        last_Q, half_Q = (nth_Q + self._count_above(score_QN, nth_Q) for nth_Q in (limit_Q, middle_Q))
        return _equally_reliable_depth(last_Q, half_Q)

    def _count_above(self, score_QN: NDArray[np.float32], nth_Q: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many stand above the nth result."""
        score_Q = score_QN[np.arange(len(nth_Q)), np.maximum(nth_Q, 1) - 1]
        return np.asarray(self.step_Q * (self.score_QE > score_Q[:, None]).sum(axis=1))

    def estimate_depth(
        self,
        spread: ScoreDistribution,
        levels: Sequence[Level],
        query_QD: NDArray[np.float32],
        limit_Q: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Return the depths thought to be needed; as if nothing were excluded, where heights are not known."""
        known = [(np.log(level.depth), level.height) for level in levels if level.height is not None]
        if not known or self.score_QE.shape[1] == 0:
            return limit_Q.copy()
        mean_Q, deviation_Q = spread.mean_and_deviation(query_QD)
        height_QE = np.sort((self.score_QE - mean_Q[:, None]) / deviation_Q[:, None], axis=1)[:, ::-1]
        last_Q, half_Q = (
            _estimate_rank(height_QE, nth_Q, self.step_Q, known) for nth_Q in (limit_Q, (limit_Q + 1) // 2)
        )
        depth_Q = _equally_reliable_depth(last_Q, half_Q)
        return np.where(depth_Q > limit_Q, np.ceil(_MARGIN * depth_Q).astype(np.int64), limit_Q)


def _equally_reliable_depth(last_Q: NDArray[np.int64], half_Q: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the depth that finds as surely as results are found of which the last and the middle one stand there.

    The last stands within it, and the middle one in its upper half, as it does where nothing is excluded: what stands
    low is found less surely, so where the best are excluded twice the depth is needed.
    """
    return np.maximum(last_Q, 2 * half_Q - 1)


def _estimate_rank(
    height_QE: NDArray[np.float64],
    nth_Q: NDArray[np.int64],
    step_Q: NDArray[np.int64],
    known: Sequence[tuple[float, float]],
) -> NDArray[np.int64]:
    """Return the first place down to which there are ``nth_Q`` results besides those that are excluded.

    That is nth + e for the first e such that no more than e of the excluded, whose heights fall, stand above it.
    """
    log_depth_L, height_L = zip(*known, strict=True)
    excluded = height_QE.shape[1]
    # No place below the deepest known has another height.
    deepest = min(ceil(exp(log_depth_L[-1])), int((nth_Q + step_Q * excluded).max(initial=1)))
    height_R = np.interp(np.log(np.arange(1, deepest + 1)), log_depth_L, height_L)
    above_Q = np.full(len(nth_Q), excluded)  # where all stand above, what follows them is
    waiting_W, start, width = np.arange(len(nth_Q)), 0, _FIRST_SAMPLED
    while len(waiting_W) and start < excluded:
        above_E = np.arange(start, min(start + width, excluded))
        rank_WE = nth_Q[waiting_W, None] + step_Q[waiting_W, None] * above_E
        np.clip(rank_WE, 1, deepest, out=rank_WE)
        enough_WE = height_QE[waiting_W, start : start + width] <= height_R.take(rank_WE - 1)
        enough_W = enough_WE.any(axis=1)
        above_Q[waiting_W[enough_W]] = above_E[enough_WE[enough_W].argmax(axis=1)]
        waiting_W, start, width = waiting_W[~enough_W], start + width, 2 * width
    return np.asarray(nth_Q + step_Q * above_Q)
