"""Exact search: compute every inner product, then select the best of each query.

Measured for a request at n = 10,000, D = 64, N = 100 on one core: 24 µs a query, 15 of them for the product;
``faiss.knn`` takes 78 µs and ``argpartition`` 93 µs for the same answer, because they select among all n scores. Here
the maxima of G groups give a bound that at least N scores reach, and only the scores above it are sorted. Computing
their scores so that they do not depend on their position (``paired_inner_products``) costs 2 µs more.

Legend: Q queries · n items · D dimensions · N results · G groups of a row · E excluded items · R pairs.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from multitudes.index.hits import descending_bits, empty_hits, identity_runs
from multitudes.index.item_table import ItemTable, find_rows
from multitudes.index.protocol import ANY_TOPIC, Hits

_faiss: Any = faiss  # its types are incomplete
_CHUNK_BYTES = 4 * 2**20  # scores held at once: small enough for the cache, large enough for a fast product
_ITEMS, _QUERIES = 2**16, 256  # at once, of more items: 1 M take 0.7 of the time that 16 queries of all items take
_GROUPS_PER_RESULT = 3
FEW_QUERIES = 16  # about those of one user
_BLOCK = 512  # items of ``transpose_blocks``
_SMALL_PRODUCT = 2**19  # multiplications; OpenBLAS rearranges the operands above 10^6
_ROUNDING_STEPS = 4  # the rounding error of D products is usually below √D times the precision of the scores
_LOWEST = np.finfo(np.float32).min


def scan(
    query_QD: NDArray[np.float32],
    row_n: NDArray[np.int64],
    vectors_nD: NDArray[np.float32],
    limit: int | NDArray[np.int64],
    excluded: Sequence[NDArray[np.int64]] | None = None,
    penalties: Sequence[NDArray[np.float32] | None] | None = None,
    block_PDM: NDArray[np.float32] | None = None,
) -> Hits:
    """Return the best rows for each query: best first, ties by the smaller row.

    Args:
        query_QD: the queries.
        row_n: rows of a table, ascending, below 2^31.
        vectors_nD: of these rows.
        limit: N, for all queries, or one number for each.
        excluded: for each query rows that it must not find.
        penalties: added to the scores of each query: minus infinity where it must not find an item, else zero.
        block_PDM: the same vectors from ``transpose_blocks``, of at most 65,536 items.
    """
    limit_Q = np.minimum(np.maximum(np.zeros(len(query_QD), dtype=np.int64) + limit, 0), len(row_n))
    width = int(limit_Q.max(initial=0))
    if width == 0:
        return empty_hits(len(query_QD), width)
    step = _QUERIES if len(row_n) > _ITEMS else max(FEW_QUERIES, _CHUNK_BYTES // (4 * len(row_n)))
    chunks = []
    for start in range(0, len(query_QD), step):
        queries = slice(start, start + step)
        rows = None if excluded is None else excluded[queries]
        added = None if penalties is None else penalties[queries]
        query, place = _candidates(query_QD[queries], row_n, vectors_nD, limit_Q[queries], rows, added, block_PDM)
        scores = paired_inner_products(query_QD[queries], vectors_nD, query, place)
        chunks.append(_rank(query, row_n.take(place), scores, limit_Q[queries], width))
    return chunks[0] if len(chunks) == 1 else Hits(*map(np.concatenate, zip(*chunks, strict=True)))


def scan_topic(
    table: ItemTable,
    topic: int,
    query_QD: NDArray[np.float32],
    limit_Q: NDArray[np.int64],
    excluded: Sequence[NDArray[np.int64]] | None,
) -> Hits:
    """Return the best rows of a topic; ``ANY_TOPIC``: of all rows."""
    if topic == ANY_TOPIC:
        return scan(query_QD, np.arange(len(table)), table.vectors_nD, limit_Q, excluded)
    row_M = table.postings.rows(topic).astype(np.int64)
    return scan(query_QD, row_M, table.vectors_at(row_M), limit_Q, excluded)


def _rank(
    query: NDArray[np.int64],
    row: NDArray[np.int64],
    scores: NDArray[np.float32],
    limit_Q: NDArray[np.int64],
    width: int,
) -> Hits:
    """Return the hits of flat candidates, which ascend by query and then by row; minus infinity is no candidate."""
    # The vectors of one user have lists of very different lengths: one sort of all takes half the time of one by query.
    # Query, score and place in one integer: NumPy sorts these in an eighth of the time of a stable argsort.
    first = np.searchsorted(query, np.arange(len(limit_Q))).take(query)
    rank = np.arange(len(query)) - first
    bits = int(rank.max(initial=0)).bit_length()  # with those of a chunk's queries at most 31
    key = (((query << 32) + descending_bits(scores)) << bits) + rank
    key.sort()
    order = first + (key & ((1 << bits) - 1))
    scores = scores.take(order)
    found = np.flatnonzero((rank < limit_Q.take(query)) & (scores > -np.inf))
    hits, query = empty_hits(len(limit_Q), width), query.take(found)
    place = query * width + rank.take(found)  # brackets with two arrays take twice the time
    hits.id_QN.ravel()[place], hits.score_QN.ravel()[place] = row.take(order.take(found)), scores.take(found)
    return hits._replace(count_Q=np.bincount(query, minlength=len(limit_Q)))


def transpose_blocks(vectors_nD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors in P transposed blocks of M items (P, D, M), with zeros in the last; see ``inner_products``."""
    padded_nD = np.pad(vectors_nD, ((0, -len(vectors_nD) % _BLOCK), (0, 0)))
    return np.ascontiguousarray(padded_nD.reshape(-1, _BLOCK, padded_nD.shape[1]).swapaxes(1, 2))


def inner_products(
    query_QD: NDArray[np.float32], vectors_nD: NDArray[np.float32], block_PDM: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return every inner product (Q, n).

    BLAS rearranges its operands before it multiplies, unless the product is small. For the vectors of one user that
    costs more than the product itself, so they are multiplied with some items at a time, and with those of
    ``transpose_blocks`` as they are, in two thirds of the time (ten queries, 9,724 items, width 128).
    """
    if not 1 < len(query_QD) <= FEW_QUERIES:
        return query_QD @ vectors_nD.T
    if block_PDM is not None:
        score_QPM = np.empty((len(query_QD), len(block_PDM), _BLOCK), dtype=np.float32)
        np.matmul(query_QD, block_PDM, out=score_QPM.swapaxes(0, 1))
        return score_QPM.reshape(len(query_QD), -1)[:, : len(vectors_nD)]
    query_DQ, step = np.ascontiguousarray(query_QD.T), max(1, _SMALL_PRODUCT // query_QD.size)
    score_Qn = np.empty((len(query_QD), len(vectors_nD)), dtype=np.float32)
    for start in range(0, len(vectors_nD), step):
        score_Qn[:, start : start + step] = (vectors_nD[start : start + step] @ query_DQ).T
    return score_Qn


def paired_inner_products(
    query_QD: NDArray[np.float32], vectors_nD: NDArray[np.float32], query: NDArray[np.int64], row: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the inner products of pairs of a query and a row (any shape); minus infinity for a negative row.

    Each is the same to the last bit at every position. BLAS rounds differently for other shapes and positions: a query
    would not get the same answer alone and in a batch, and copies of one vector would not tie. So every index ranks its
    results by these products.
    """
    faiss.omp_set_num_threads(1)  # per thread: a thread that never called it would use every core
    scores = np.full(row.shape, -np.inf, dtype=np.float32)
    given = [np.ascontiguousarray(array) for array in (query_QD, query, vectors_nD, row)]
    _faiss.pairwise_indexed_inner_product(query_QD.shape[1], row.size, *map(faiss.swig_ptr, (*given, scores)))
    return scores


def _candidates(
    query_QD: NDArray[np.float32],
    row_n: NDArray[np.int64],
    vectors_nD: NDArray[np.float32],
    limit_Q: NDArray[np.int64],
    excluded: Sequence[NDArray[np.int64]] | None,
    penalties: Sequence[NDArray[np.float32] | None] | None,
    block_PDM: NDArray[np.float32] | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the queries and places of all items that could be among the best ``limit_Q`` of their query.

    Many items are compared in parts, so that the scores of many queries can be held at once. A part has more items than
    the limit, so the bound of each part is one for all items.
    """
    limit_Q, count = np.maximum(limit_Q, 1), max(1, len(row_n) // max(_ITEMS, 2 * int(limit_Q.max())))
    edges = [len(row_n) * part // count for part in range(count + 1)]
    found, bound_Q = [], np.full(len(query_QD), _LOWEST)
    for start, end in pairwise(edges):
        score_Qn = inner_products(query_QD, vectors_nD[start:end], block_PDM)
        for score_n, penalty_n in zip(score_Qn, penalties or (), strict=penalties is not None):
            if penalty_n is not None:
                np.add(score_n, penalty_n[start:end], out=score_n)
        for row_E, queries in identity_runs(excluded or ()):  # the queries of one user share their exclusion
            place_E, is_held_E = find_rows(row_n[start:end], row_E)
            score_Qn[queries, place_E[is_held_E]] = -np.inf
        # In every row at least `limit_Q` scores reach its bound, unless the exclusion left fewer.
        bound_Q = np.maximum(bound_Q, _score_bound(score_Qn, limit_Q, query_QD.shape[1]))
        query, place = np.divmod(np.flatnonzero(score_Qn >= bound_Q[:, None]), end - start)
        found.append((query, place + start))
    if len(found) == 1:
        return found[0]
    query, place = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(query, kind="stable")
    return query[order], place[order]


def _score_bound(score_Qn: NDArray[np.float32], limit_Q: NDArray[np.int64], dimension: int) -> NDArray[np.float32]:
    """Return for each row a bound that its best ``limit_Q`` scores reach despite rounding, and few others do."""
    groups = int(limit_Q.max()) * _GROUPS_PER_RESULT
    size = score_Qn.shape[1] // groups
    # The maxima of `limit_Q` groups reach the bound, so at least `limit_Q` scores do.
    score_QG = score_Qn[:, : size * groups].reshape(-1, size, groups).max(axis=1) if size > 1 else score_Qn
    place_Q = score_QG.shape[1] - limit_Q
    sorted_QG = np.sort(score_QG, axis=1)  # the queries need different places; a partition takes no less time
    bound_Q = sorted_QG[np.arange(len(place_Q)), place_Q]
    largest_Q = np.maximum(np.abs(bound_Q), np.abs(sorted_QG[:, -1]))  # has the largest rounding error
    bound_Q = bound_Q - np.float32(_ROUNDING_STEPS * np.finfo(np.float32).eps * np.sqrt(dimension)) * largest_Q
    return np.asarray(np.maximum(bound_Q, _LOWEST))  # what is excluded is below it
