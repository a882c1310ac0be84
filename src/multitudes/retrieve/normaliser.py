"""log Σ_i exp(v·ψ_i) over the corpus: what makes the scores of different vectors comparable in a mixture.

Legend: Q queries · n items · S items of the sample · D dimensions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multitudes.index.protocol import Hits, Index
from multitudes.index.scan import exclude
from multitudes.seeding import generator

_CHUNK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Normaliser:
    """The sum over the corpus: exact on small ones; on large ones the best items exactly, the rest from a sample.

    The best items carry most of a peaked sum, so that an estimate from a sample alone would depend on whether they
    happen to be in it.
    """

    ids_S: NDArray[np.int64]
    vectors_SD: NDArray[np.float32]
    items: int

    @classmethod
    def build(cls, index: Index, exact_up_to: int = 20_000, seed: int = 0) -> "Normaliser":
        """Take the vectors of all items, or of ``exact_up_to`` drawn by ``seed`` where there are more."""
        ids = index.ids()
        if len(ids) > exact_up_to:
            ids = np.sort(generator(seed, "normaliser").choice(ids, exact_up_to, replace=False))
        return cls(ids, index.vectors(ids), len(index))

    def log_sum(self, query_QD: NDArray[np.float32], best: Hits) -> NDArray[np.float32]:
        """Return log Σ_i exp(v·ψ_i) for each query, of which ``best`` are items already found (any number)."""
        if len(self.ids_S) == self.items:
            return log_sum_exp(query_QD, self.vectors_SD)
        found = [best.ids(q) for q in range(len(query_QD))]
        rest_Q = log_sum_exp(query_QD, self.vectors_SD, (self.ids_S, found))
        scale = np.float32(np.log(self.items / len(self.ids_S)))
        return np.asarray(np.logaddexp(rest_Q + scale, np.logaddexp.reduce(best.score_QN, axis=1, initial=-np.inf)))


def log_sum_exp(
    query_QD: NDArray[np.float32],
    vectors_nD: NDArray[np.float32],
    without: tuple[NDArray[np.int64], list[NDArray[np.int64]]] | None = None,
) -> NDArray[np.float32]:
    """Return log Σ_i exp(v·ψ_i) over the rows of ``vectors_nD`` for each query; minus infinity over no rows.

    Args:
        query_QD: the queries.
        vectors_nD: the items.
        without: ids of the items (ascending), and for each query the ids to leave out.
    """
    result_Q = np.full(len(query_QD), -np.inf, dtype=np.float32)
    if len(vectors_nD) == 0:
        return result_Q
    rows = max(1, _CHUNK_BYTES // (4 * len(vectors_nD)))
    for start in range(0, len(query_QD), rows):
        score_Qn = query_QD[start : start + rows] @ vectors_nD.T
        if without is not None:
            exclude(score_Qn, without[0], without[1][start : start + rows])
        largest_Q1 = np.maximum(score_Qn.max(axis=1, keepdims=True), np.finfo(np.float32).min)
        score_Qn -= largest_Q1
        np.exp(score_Qn, out=score_Qn)
        with np.errstate(divide="ignore"):  # nothing left: the log of zero
            result_Q[start : start + rows] = np.log(score_Qn.sum(axis=1)) + largest_Q1[:, 0]
    return result_Q
