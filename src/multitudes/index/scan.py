"""Exact search: compute every inner product, then select the best of each query.

``scan`` is for a request: it takes a few queries through all items. Measured at n = 10,000, D = 64, N = 100 on one
core: 24 µs a query, 15 of them for the product; ``faiss.knn`` takes 78 µs and ``argpartition`` 93 µs for the same
answer, because they select among all n scores. Here the maxima of G groups give a bound that at least N scores reach,
and only the scores above it are sorted. Computing their scores so that they do not depend on their position
(``paired_inner_products``) costs 10 µs more.

``scan_in_blocks`` is for the exact answer of hundreds of queries: it reads each item once for all queries, and holds a
block of scores and the candidates so far. (1 M × 64, 256 queries of 10,000 results on one core: 4.1 s with ``scan``,
2.1 s with ``scan_in_blocks``, and the same answer to the last bit.)

Legend: Q queries · n items · D dimensions · N results · G groups of a row · E excluded items · R pairs.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from multitudes.index.protocol import (
    Hits,
    concatenate_hits,
    empty_hits,
    find_rows,
    identity_runs,
    rank_candidates,
)
from multitudes.progress import Progress, silent

_CHUNK_BYTES = 4 * 2**20  # scores held at once: small enough for the cache, large enough for a fast product
_GROUPS_PER_RESULT = 3
FEW_QUERIES = 16  # about those of one user
_SMALL_PRODUCT = 2**19  # multiplications; OpenBLAS rearranges the operands above 10^6
_ROUNDING_STEPS = 4  # the rounding error of D products is usually below √D times the precision of the scores
_LOWEST = np.finfo(np.float32).min
_BLOCK = 16_384  # items at once
_BUFFER_FACTOR = 4  # candidates are pruned when there are this many times the limit

Scores = TypeVar("Scores", np.float32, NDArray[np.float32])


def scan(
    query_QD: NDArray[np.float32],
    ids: NDArray[np.int64],
    vectors_nD: NDArray[np.float32],
    limit: int | NDArray[np.int64],
    excluded: Sequence[NDArray[np.int64]] | None = None,
    penalties: Sequence[NDArray[np.float32] | None] | None = None,
) -> Hits:
    """Return the best of the items ``ids``, which ascend, for each query, with the guarantees of ``Searchable.search``.

    ``penalties`` are added to the scores of each query: minus infinity where it must not find an item, else zero.
    """
    limit_Q = np.minimum(np.maximum(np.broadcast_to(limit, len(query_QD)), 0), len(ids))
    width = int(limit_Q.max(initial=0))
    if width == 0:
        return empty_hits(len(query_QD), width)
    step = max(1, _CHUNK_BYTES // (4 * len(ids)))
    chunks = []
    for start in range(0, len(query_QD), step):
        queries = slice(start, start + step)
        score_Qn = inner_products(query_QD[queries], vectors_nD)
        if penalties is not None:
            for score_n, penalty in zip(score_Qn, penalties[queries], strict=True):
                if penalty is not None:
                    np.add(score_n, penalty, out=score_n)
        if excluded is not None:
            mask_excluded(score_Qn, ids, excluded[queries])
        query, row = _candidates(score_Qn, limit_Q[queries], query_QD.shape[1])
        scores = _pair_scores(query_QD[queries], vectors_nD, query, row)
        chunks.append(rank_candidates(query, ids.take(row), scores, limit_Q[queries], width))
    return concatenate_hits(chunks)


def inner_products(query_QD: NDArray[np.float32], vectors_nD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return every inner product (Q, n).

    BLAS rearranges its operands before it multiplies, unless the product is small. For the vectors of one user that
    costs more than the product itself, so they are multiplied with some items at a time.
    """
    if not 1 < len(query_QD) <= FEW_QUERIES:
        return query_QD @ vectors_nD.T
    query_DQ, step = np.ascontiguousarray(query_QD.T), max(1, _SMALL_PRODUCT // query_QD.size)
    score_Qn = np.empty((len(query_QD), len(vectors_nD)), dtype=np.float32)
    for start in range(0, len(vectors_nD), step):
        score_Qn[:, start : start + step] = (vectors_nD[start : start + step] @ query_DQ).T
    return score_Qn


def paired_inner_products(query_RD: NDArray[np.float32], vectors_RD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the inner products of R pairs (any shapes that fit); each is the same to the last bit at every position.

    BLAS rounds differently for other shapes and positions: a query would not get the same answer alone and in a batch,
    and copies of one vector would not tie. So every index ranks its results by these products.
    """
    return np.asarray(np.vecdot(query_RD, vectors_RD))


def _pair_scores(
    query_QD: NDArray[np.float32], vectors_nD: NDArray[np.float32], query: NDArray[np.int64], row: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the inner products of pairs that ascend by query; the vectors of one query fit into the cache."""
    scores = np.empty(len(query), dtype=np.float32)
    first_Q = np.searchsorted(query, np.arange(len(query_QD) + 1)).tolist()
    for query_D, start, end in zip(query_QD, first_Q[:-1], first_Q[1:], strict=True):
        scores[start:end] = paired_inner_products(query_D, vectors_nD.take(row[start:end], axis=0))
    return scores


def mask_excluded(score_Qn: NDArray[np.float32], ids: NDArray[np.int64], excluded: Sequence[NDArray[np.int64]]) -> None:
    """Set the scores of each query's excluded ids to minus infinity, in place; ``ids`` are those of the columns."""
    for items, queries in identity_runs(excluded):  # the queries of one user share their exclusion
        row, is_held = find_rows(ids, items)
        score_Qn[queries, row[is_held]] = -np.inf


def _candidates(
    score_Qn: NDArray[np.float32], limit_Q: NDArray[np.int64], dimension: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the queries and rows of all scores that could be among the best ``limit_Q`` of their query."""
    # In every row at least `limit_Q` scores reach its bound, unless the exclusion left fewer.
    bound_Q = _score_bound(score_Qn, np.maximum(limit_Q, 1), dimension)
    return np.divmod(np.flatnonzero(score_Qn >= bound_Q[:, None]), score_Qn.shape[1])


def pair_keys(query: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number for each pair of a query and an id, ordered as the pairs; ids are below 2^40."""
    return query << 40 | ids


def _score_bound(score_Qn: NDArray[np.float32], limit_Q: NDArray[np.int64], dimension: int) -> NDArray[np.float32]:
    """Return for each row a bound that its best ``limit_Q`` scores reach despite rounding, and few others do."""
    groups = int(limit_Q.max()) * _GROUPS_PER_RESULT
    size = score_Qn.shape[1] // groups
    # The maxima of `limit_Q` groups reach the bound, so at least `limit_Q` scores do.
    score_QG = score_Qn[:, : size * groups].reshape(-1, size, groups).max(axis=1) if size > 1 else score_Qn
    place_Q = score_QG.shape[1] - limit_Q
    sorted_QG = np.sort(score_QG, axis=1)  # the queries need different places; a partition takes no less time
    bound_Q = sorted_QG[np.arange(len(place_Q)), place_Q]
    bound_Q = subtract_rounding(bound_Q, np.maximum(np.abs(bound_Q), np.abs(sorted_QG[:, -1])), dimension)
    return np.asarray(np.maximum(bound_Q, _LOWEST))  # what is excluded is below it


def subtract_rounding(bound: Scores, largest: Scores, dimension: int) -> Scores:
    """Return a bound lowered by the largest rounding error; the score ``largest`` has the largest error."""
    return bound - np.float32(_ROUNDING_STEPS * np.finfo(np.float32).eps * np.sqrt(dimension)) * largest


def scan_in_blocks(
    query_QD: NDArray[np.float32],
    ids: NDArray[np.int64],
    vectors_nD: NDArray[np.float32],
    limit: int,
    progress: Progress = silent,
) -> Hits:
    """Return the best of the items ``ids`` (ascending) for each query, as ``scan`` does; for many queries."""
    limit = min(limit, len(ids))
    hits = empty_hits(len(query_QD), limit)
    if limit == 0:
        return hits
    candidates = [_TopCandidates(limit, query_QD.shape[1]) for _ in query_QD]
    for start in range(0, len(ids), _BLOCK):
        score_Qn = inner_products(query_QD, vectors_nD[start : start + _BLOCK])
        for top, score_n in zip(candidates, score_Qn, strict=True):
            top.add_block(score_n, start)
        progress(min(start + _BLOCK, len(ids)), len(ids), "items compared")
    for query, top in enumerate(candidates):
        row = top.prune()
        score = paired_inner_products(query_QD[query], vectors_nD[row])
        order_N = np.argsort(-score, kind="stable")[:limit]
        hits.id_QN[query], hits.score_QN[query] = ids[row[order_N]], score[order_N]
    return hits._replace(count_Q=np.full(len(query_QD), limit))


class _TopCandidates:
    """The rows that may be among the best of one query, allowing for rounding."""

    def __init__(self, limit: int, dimension: int) -> None:
        self._limit, self._dimension, self._capacity = limit, dimension, _BUFFER_FACTOR * limit
        self._row, self._score = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.float32)]
        self._size = 0
        self._bound = np.float32(-np.inf)  # lower scores are not among the best

    def add_block(self, score_n: NDArray[np.float32], start: int) -> None:
        """Add the scores that reach the bound, of a block whose first row is ``start``."""
        row = np.flatnonzero(score_n >= self._bound)
        self._row.append(row + start)
        self._score.append(score_n[row])
        self._size += len(row)
        if self._size > self._capacity:
            self.prune()

    def prune(self) -> NDArray[np.int64]:
        """Raise the bound, drop the rows below it, and return the remaining rows, ascending."""
        row, score = np.concatenate(self._row), np.concatenate(self._score)
        best = np.partition(score, len(score) - self._limit)[-self._limit :]
        self._bound = subtract_rounding(best[0], np.abs(best).max(), self._dimension)
        reaches = score >= self._bound
        self._row, self._score, self._size = [row[reaches]], [score[reaches]], int(reaches.sum())
        self._capacity = max(self._capacity, 2 * self._size)  # many scores may be equal
        return self._row[0]
