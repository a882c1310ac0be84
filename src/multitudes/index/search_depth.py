"""Estimate how deep a request must be searched if some of the best items are excluded, so that one search suffices.

A search returns the best items that are not excluded. To find them as reliably as if nothing were excluded, the engine
must search down to the rank of the last result among all items. That rank is the number of results plus the number of
excluded items with a higher score. The scores of the excluded items are one small product; the score of the last result
is unknown before the search, so it is estimated from how far above the mean a result of that rank was at tuning time. A
wrong estimate costs time and never recall: the search itself shows the score, and so the depth.

Legend: Q queries · N results · E excluded items · S sampled items · D dimensions.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from multitudes.index.hits import identity_runs
from multitudes.index.item_table import ItemTable

DEPTH_TOLERANCE = 1.03  # a search this much deeper than tuned is almost as reliable; a level has more to spare
_EXCLUDED_SAMPLE = 1_000  # excluded items, evenly spaced: an estimate needs no more of many thousands
_MARGIN = 1.2  # a level too deep costs a little effort, one too shallow a second search
_ITEM_SAMPLE = 2048  # enough to estimate mean and covariance


class ScoreDistribution:
    """The scores of all items for a query, estimated from a sample of the items, and the depth of a search by them.

    The mean and the covariance of the items are computed on first use.
    """

    def __init__(self, table: ItemTable) -> None:
        self._table = table

    def mean_and_deviation(self, query_QD: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean (Q) and the standard deviation (Q, never zero) of the scores of each query."""
        mean_D, covariance_DD = self._moments
        # A separate product for each query, so that the result is the same alone and in a batch.
        mean_Q = np.einsum("qd,d->q", query_QD, mean_D)
        variance_Q = np.vecdot(np.matmul(covariance_DD, query_QD[:, :, None])[:, :, 0], query_QD)
        return mean_Q, np.sqrt(np.maximum(variance_Q, np.finfo(np.float32).tiny))

    @cached_property
    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        step = max(1, len(self._table) // _ITEM_SAMPLE)
        sample_SD = np.asarray(self._table.vectors_nD[::step], dtype=np.float64)
        mean_D = sample_SD.mean(axis=0)
        return mean_D, (sample_SD - mean_D).T @ (sample_SD - mean_D) / len(sample_SD)

    def estimate_depth(
        self,
        query_QD: NDArray[np.float32],
        limit_Q: NDArray[np.int64],
        excluded: Sequence[NDArray[np.int64]],
        heights: Sequence[tuple[float, float]],
    ) -> NDArray[np.int64]:
        """Return the estimated depths; the limits themselves without ``Tuning.heights``.

        Consecutive queries may share one array of excluded rows.
        """
        step_Q, score_QE = self._excluded_scores(query_QD, excluded)
        if not heights or score_QE.shape[1] == 0:
            return limit_Q.copy()
        mean_Q, deviation_Q = self.mean_and_deviation(query_QD)
        height_QE = (score_QE - mean_Q[:, None]) / deviation_Q[:, None]
        last_rank_Q, middle_rank_Q = (
            _estimate_rank(height_QE, nth_Q, step_Q, heights) for nth_Q in (limit_Q, (limit_Q + 1) // 2)
        )
        # The depth contains the last result, and the middle one is in its upper half, as in an unfiltered search. Items
        # of lower rank are found less reliably, so if the best items are excluded, twice the depth is needed.
        depth_Q = np.maximum(last_rank_Q, 2 * middle_rank_Q - 1)
        return np.where(depth_Q > limit_Q, np.ceil(_MARGIN * depth_Q).astype(np.int64), limit_Q)

    def _excluded_scores(
        self, query_QD: NDArray[np.float32], excluded: Sequence[NDArray[np.int64]]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the scores of every step-th excluded row, filled with minus infinity, and the steps."""
        step_Q = np.array([max(1, len(row_E) // _EXCLUDED_SAMPLE) for row_E in excluded], dtype=np.int64)
        width = max((len(row_E[::step]) for row_E, step in zip(excluded, step_Q.tolist(), strict=True)), default=0)
        score_QE = np.full((len(excluded), width), -np.inf, dtype=np.float32)
        for row_E, queries in identity_runs(excluded):
            vectors_ED = self._table.vectors_at(row_E[:: step_Q[queries.start]])
            # A separate product for each query, so that the result is the same alone and in a batch.
            score_QE[queries, : len(vectors_ED)] = np.matmul(vectors_ED, query_QD[queries, :, None])[:, :, 0]
        return step_Q, score_QE


def _estimate_rank(
    height_QE: NDArray[np.float64],
    nth_Q: NDArray[np.int64],
    step_Q: NDArray[np.int64],
    heights: Sequence[tuple[float, float]],
) -> NDArray[np.int64]:
    """Return the estimated rank, among all items, of the nth result that is not excluded.

    It is nth plus the number of excluded items above that rank: the least such rank, reached from below.

    Args:
        height_QE: of the excluded items: standard deviations above the mean score.
        nth_Q: the result of each query.
        step_Q: number of excluded items that each of those stands for.
        heights: (log depth, height) of the levels; beyond the deepest level the height is taken as constant.
    """
    log_depth_L, height_L = zip(*heights, strict=True)
    rank_Q, before_Q = nth_Q, None
    while before_Q is None or (rank_Q > before_Q).any():
        height_Q = np.asarray(np.interp(np.log(np.maximum(rank_Q, 1)), log_depth_L, height_L))
        before_Q, rank_Q = rank_Q, nth_Q + step_Q * (height_QE > height_Q[:, None]).sum(axis=1)
    return rank_Q
