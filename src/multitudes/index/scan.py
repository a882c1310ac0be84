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

from multitudes.index.protocol import Hits, concatenate_hits, empty_hits, find_rows, rank_candidates, truncate_hits
from multitudes.progress import Progress, silent

_CHUNK_BYTES = 4 * 2**20  # scores held at once: small enough for the cache, large enough for a fast product
_GROUPS_PER_RESULT = 4
_FEW_QUERIES = 16
_ROUNDING_STEPS = 4  # the rounding error of D products is usually below √D times the precision of the scores
_BLOCK = 16_384  # items at once
_BUFFER_FACTOR = 4  # candidates are pruned when there are this many times the limit

Scores = TypeVar("Scores", np.float32, NDArray[np.float32])


def scan(
    query_QD: NDArray[np.float32],
    ids: NDArray[np.int64],
    vectors_nD: NDArray[np.float32],
    limit: int | NDArray[np.int64],
    excluded: Sequence[NDArray[np.int64]] | None = None,
) -> Hits:
    """Return the best of the items ``ids`` for each query, with the guarantees of ``Searchable.search``.

    With ``excluded``, ids must be rows or other numbers from zero on, and the excluded ids of each query ascend.
    """
    limit_Q = np.clip(np.broadcast_to(limit, len(query_QD)), 0, len(ids))
    width = int(limit_Q.max(initial=0))
    if len(ids) == 0 or len(query_QD) == 0:
        return empty_hits(len(query_QD), width)
    step = max(1, _CHUNK_BYTES // (4 * len(ids)))
    chunks = []
    for start in range(0, len(query_QD), step):
        queries = slice(start, start + step)
        score_Qn = inner_products(query_QD[queries], vectors_nD)
        if excluded is None:
            query, row = _candidates(score_Qn, width, query_QD.shape[1])
        else:
            query, row = _candidates_not_excluded(score_Qn, ids, limit_Q[queries], excluded[queries], query_QD.shape[1])
        scores = _pair_scores(query_QD[queries], vectors_nD, query, row)
        chunks.append(rank_candidates(len(score_Qn), query, ids[row], scores, width))
    return truncate_hits(concatenate_hits(chunks), limit_Q)


def inner_products(query_QD: NDArray[np.float32], vectors_nD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return every inner product (Q, n).

    BLAS rearranges the right matrix before it multiplies. For a few queries that costs more than the product, so then
    they are the right matrix: half the time at Q = 5, n = 10,000.
    """
    if 1 < len(query_QD) <= _FEW_QUERIES:
        return np.ascontiguousarray((vectors_nD @ query_QD.T).T)
    return query_QD @ vectors_nD.T


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
    query = np.repeat(np.arange(len(excluded)), [len(array) for array in excluded])
    row, is_held = find_rows(ids, np.concatenate(excluded))
    score_Qn[query[is_held], row[is_held]] = -np.inf


def _candidates(
    score_Qn: NDArray[np.float32], limit: int, dimension: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the queries and rows of all scores that could be among the best ``limit`` of their query."""
    if limit == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    bound_Q = _score_bound(score_Qn, limit, dimension)
    # In every row at least `limit` scores reach its bound, unless the exclusion left fewer.
    flat = np.flatnonzero((score_Qn >= bound_Q[:, None]) & (score_Qn > -np.inf))
    return np.divmod(flat, score_Qn.shape[1])


def _candidates_not_excluded(
    score_Qn: NDArray[np.float32],
    ids: NDArray[np.int64],
    limit_Q: NDArray[np.int64],
    excluded: Sequence[NDArray[np.int64]],
    dimension: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the candidates that are not excluded; overwrites the scores of queries that exclude many of their best.

    Looking up a few candidates in the exclusions takes a seventh of the time of looking up the exclusions in the items.
    """
    key_E = pair_keys(np.repeat(np.arange(len(excluded)), [len(array) for array in excluded]), np.concatenate(excluded))
    limit = int(limit_Q.max())
    # With all that is excluded no query can come short.
    enough = limit + max(map(len, excluded), default=0)
    deeper = min(2 * limit, enough, len(ids))

    def remaining() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        query, row = _candidates(score_Qn, deeper, dimension)
        _, is_excluded = find_rows(key_E, pair_keys(query, ids[row]))
        return query[~is_excluded], row[~is_excluded]

    query, row = remaining()
    short_Q = np.bincount(query, minlength=len(limit_Q)) < limit_Q
    if deeper in (enough, len(ids)) or not short_Q.any():
        return query, row
    mask_excluded(
        score_Qn, ids, [array if short else array[:0] for array, short in zip(excluded, short_Q, strict=True)]
    )
    return remaining()


def pair_keys(query: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number for each pair of a query and an id, ordered as the pairs; ids are below 2^40."""
    return query << 40 | ids


def _score_bound(score_Qn: NDArray[np.float32], limit: int, dimension: int) -> NDArray[np.float32]:
    """Return for each row a bound that its best ``limit`` scores reach despite rounding, and few others do."""
    groups = limit * _GROUPS_PER_RESULT
    size = score_Qn.shape[1] // groups
    # The maxima of `limit` groups reach the bound, so at least `limit` scores do.
    score_QG = score_Qn[:, : size * groups].reshape(-1, size, groups).max(axis=1) if size > 1 else score_Qn
    first = score_QG.shape[1] - limit
    partitioned_QG = np.partition(score_QG, first, axis=1)
    bound_Q, largest_Q = partitioned_QG[:, first], partitioned_QG[:, first:].max(axis=1)
    return np.asarray(subtract_rounding(bound_Q, np.maximum(np.abs(bound_Q), np.abs(largest_Q)), dimension))


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
