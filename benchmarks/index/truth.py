"""The exact answer, computed apart from the library that is measured, and the share of it that was found.

Legend: Q queries · n items · D dimensions · M results.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multitudes.progress import Progress, silent

Ids = NDArray[np.int64]
_BLOCK = 8_192  # items at once: their scores fill some tens of megabytes
_KEPT = 4  # times as many findings as are wanted are kept before the worst are dropped


def best(
    query_QD: NDArray[np.float32], item_nD: NDArray[np.float32], depth: int, progress: Progress = silent
) -> NDArray[np.int32]:
    """Return the rows (Q, M) of the items with the largest inner products, best first, ties by the smaller row.

    Every product is computed; after a block of items only what could still be among the ``depth`` best is kept.
    """
    depth = min(depth, len(item_nD))
    kept = _Kept(len(query_QD), depth)
    for start in range(0, len(item_nD), _BLOCK):
        score_Qn = query_QD @ np.asarray(item_nD[start : start + _BLOCK]).T
        if start == 0 and depth < score_Qn.shape[1]:
            place = score_Qn.shape[1] - depth
            kept.bound_Q = np.partition(score_Qn, place, axis=1)[:, place]
        query, row = np.nonzero(score_Qn >= kept.bound_Q[:, None])
        kept.take(query, row + start, score_Qn[query, row])
        progress(min(start + _BLOCK, len(item_nD)), len(item_nD), "items compared")
    kept.drop()
    return kept.row.reshape(len(query_QD), depth).astype(np.int32)


class _Kept:
    """The best findings so far of each query."""

    def __init__(self, queries: int, depth: int) -> None:
        self.depth = depth
        self.bound_Q = np.full(queries, -np.inf, dtype=np.float32)  # a score below it is not among the best
        self.query = self.row = np.zeros(0, dtype=np.int64)
        self.score = np.zeros(0, dtype=np.float32)

    def take(self, query: Ids, row: Ids, score: NDArray[np.float32]) -> None:
        """Add findings, and drop the worst where there are many."""
        self.query, self.row = np.concatenate([self.query, query]), np.concatenate([self.row, row])
        self.score = np.concatenate([self.score, score])
        if len(self.query) > _KEPT * self.depth * len(self.bound_Q):
            self.drop()

    def drop(self) -> None:
        """Keep the best of each query alone, in order."""
        # Rows ascend among equal scores of a query as they came, and stable sorts leave them so.
        order = np.argsort(-self.score, kind="stable")
        order = order[np.argsort(self.query[order].astype(np.min_scalar_type(len(self.bound_Q))), kind="stable")]
        found_Q = np.bincount(self.query, minlength=len(self.bound_Q))
        first_Q = np.cumsum(found_Q) - found_Q
        order = order[np.arange(len(order)) - np.repeat(first_Q, found_Q) < self.depth]
        self.query, self.row, self.score = self.query[order], self.row[order], self.score[order]
        full = found_Q >= self.depth
        last_Q = np.cumsum(np.minimum(found_Q, self.depth)) - 1
        self.bound_Q[full] = self.score[last_Q[full]]


def without(best_QM: NDArray[np.integer], gone: Sequence[NDArray[np.integer]], depth: int) -> list[Ids]:
    """Return the first ``depth`` of each row that are not in the query's own ``gone``."""
    return [row[~np.isin(row, out)][:depth].astype(np.int64) for row, out in zip(best_QM, gone, strict=True)]


def share_found(found: Sequence[Ids], wanted: Sequence[NDArray[np.integer]]) -> NDArray[np.float64]:
    """Return for each query the share of ``wanted`` that is in ``found``; one where nothing is wanted."""
    return np.array([np.isin(want, got).mean() if len(want) else 1.0 for got, want in zip(found, wanted, strict=True)])
