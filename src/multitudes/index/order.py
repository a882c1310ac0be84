"""Candidates in their order: score and row in one integer, so that one sort ranks them, ties by the smaller row.

NumPy sorts integers faster than it finds the order of floats: 12 × 722 candidates took 0.13 ms in place of 0.32 on one
core. Behind the row, a bit says whether a filter takes the candidate out: it keeps its place in the
ranking, so that it is known how deep the last result stands.

Legend: Q queries · M candidates · N results · R results of all queries.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.index.protocol import Hits
from multitudes.index.scan import no_hits

_HIGH = np.int32(0x7FFFFFFF)  # all bits of 32 but the sign
_LOW = 0xFFFFFFFF  # the row, of 31 bits, and the bit of the filter


class Ranking(NamedTuple):
    """What one search found, by row, and how deep among all that was proposed the last of it stands."""

    hits: Hits
    depth_Q: NDArray[np.int64]


def in_order(row_QM: NDArray[np.int64], score_QM: NDArray[np.float32], out_QM: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return a key for each candidate, best first; a row below zero is none, and comes last where it scores nothing."""
    bits_QM = (score_QM + np.float32(0)).view(np.int32)  # minus zero is zero: they tie
    falling_QM = ~(bits_QM ^ ((bits_QM >> 31) & _HIGH))  # the floats as integers, the largest first
    key_QM = falling_QM.astype(np.int64) << 32
    key_QM |= (row_QM & _HIGH) << 1
    key_QM |= out_QM | (row_QM < 0)
    key_QM.sort(axis=1)
    return key_QM


def first(key_QM: NDArray[np.int64], limit_Q: NDArray[np.int64], width: int) -> Hits:
    """Return the best rows of each query where no filter takes any out."""
    key_QN = key_QM[:, :width]
    found_QN = (key_QN & 1) == 0
    found_QN &= np.arange(key_QN.shape[1]) < limit_Q[:, None]
    hits = no_hits(len(limit_Q), width)
    np.copyto(hits.id_QN[:, : key_QN.shape[1]], rows_of(key_QN), where=found_QN)
    np.copyto(hits.score_QN[:, : key_QN.shape[1]], _scores(key_QN), where=found_QN)
    return hits._replace(count_Q=found_QN.sum(axis=1))


def kept(key_QM: NDArray[np.int64], limit_Q: NDArray[np.int64], width: int) -> Ranking:
    """Return the rows that each query keeps: the first of its candidates that no filter takes out.

    The depth is one that finds as surely, unfiltered, as what each query kept was found. The last to be kept stands
    within it, and the mean of the kept in its upper half, as it does where all are kept: what stands low is found less
    surely, so where the best are excluded twice the depth is needed. (1 M × 64, the best hundred of each query
    excluded, a hundred asked for at a promise of 0.97: recall 0.981, and 0.965 without this.)
    """
    kept_QM = (key_QM & 1) == 0
    nth_QM = np.cumsum(kept_QM, axis=1)
    kept_QM &= nth_QM <= limit_Q[:, None]
    query_R, place_R = np.nonzero(kept_QM)
    key_R, nth_R = key_QM[query_R, place_R], nth_QM[query_R, place_R] - 1
    hits = no_hits(len(limit_Q), width)
    hits.id_QN[query_R, nth_R] = rows_of(key_R)
    hits.score_QN[query_R, nth_R] = _scores(key_R)
    count_Q = kept_QM.sum(axis=1)
    last_Q, sum_Q = np.zeros_like(count_Q), np.bincount(query_R, place_R + 1, minlength=len(limit_Q))
    last_Q[query_R] = place_R + 1  # places rise within a query: the last is written last
    depth_Q = np.maximum(last_Q, np.ceil(2 * sum_Q / np.maximum(1, count_Q) - 1).astype(np.int64))
    return Ranking(hits._replace(count_Q=count_Q), depth_Q)


def rows_of(key_QM: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows that ``in_order`` put into the keys."""
    return np.asarray((key_QM & _LOW) >> 1)


def _scores(key_R: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the scores that ``in_order`` put into the keys."""
    rising_R = ~(key_R >> 32).astype(np.int32)
    return np.asarray((rising_R ^ ((rising_R >> 31) & _HIGH)).view(np.float32))
