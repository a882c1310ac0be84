"""The mixture over a table of items, exactly: one matrix product for all vectors, one exponential of each score.

The exponentials serve twice: their sums are the normalisers, and weighted by the shares they are the probabilities.
Only the best items are scored again, by products that are the same to the last bit at every position.

Legend: K vectors of a user · G vectors that share a topic · n items · M items of a topic · D dimensions · U candidates.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.index.item_table import ItemTable, positions_of
from multitudes.index.mixture import MixtureQuery, ScoredItems
from multitudes.index.protocol import ANY_TOPIC
from multitudes.index.scan import inner_products, paired_inner_products, reached_bound, rounding_error

_CHUNK_BYTES = 4 * 2**20  # exponentials held at once, as in ``scan``
USERS_PER_CHUNK = 32
_UNDERFLOW = 1e-30  # of the largest probability: float32 loses the digits of smaller ones


class TopicScores(NamedTuple):
    """The exponentials of the scores of the vectors that share a topic, relative to the largest of each vector."""

    column_G: NDArray[np.int64]  # of the vectors of the query
    row_M: NDArray[np.int32] | None  # the rows of the topic; None: all rows
    exp_GM: NDArray[np.float32]  # zero for rows that are left out
    largest_G: NDArray[np.float32]  # minus infinity if every row is left out
    log_sum_G: NDArray[np.float64]  # the log normaliser of each vector


def exponentials(
    vectors_GD: NDArray[np.float32], item_MD: NDArray[np.float32], left_out: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Return ``exp_GM``, ``largest_G`` and ``log_sum_G`` of ``TopicScores``; ``left_out`` are positions of items."""
    score_GM = inner_products(vectors_GD, item_MD)
    if len(left_out):
        score_GM[:, left_out] = -np.inf
    largest_G = score_GM.max(axis=1, initial=-np.inf)
    score_GM -= np.where(np.isfinite(largest_G), largest_G, 0)[:, None]
    np.exp(score_GM, out=score_GM)
    with np.errstate(divide="ignore"):  # no item: the log of zero
        log_sum_G = np.log(score_GM.sum(axis=1)).astype(np.float64) + largest_G
    return score_GM, largest_G, log_sum_G


def score_exactly(
    table: ItemTable,
    topic_vectors: Callable[[int], NDArray[np.float32]],
    left_out: NDArray[np.int64],
    queries: Sequence[MixtureQuery],
) -> "Iterator[ExactMixture]":
    """Yield the scores of each query; the vectors of several users share a product.

    Args:
        table: the items.
        topic_vectors: returns the vectors of a topic, contiguous.
        left_out: rows that are not there, ascending.
        queries: one for each user.
    """
    free = [np.flatnonzero(query.topic_K == ANY_TOPIC) for query in queries]
    vectors_per_chunk = _CHUNK_BYTES // (4 * len(table))
    start = 0
    while start < len(queries):
        end, rows = start + 1, len(free[start])
        while end < min(len(queries), start + USERS_PER_CHUNK) and rows + len(free[end]) <= vectors_per_chunk:
            rows, end = rows + len(free[end]), end + 1
        chunk = queries[start:end]
        topics = score_topics(table, topic_vectors, left_out, chunk)
        vectors_RD = np.concatenate([query.vectors_KD[own] for query, own in zip(chunk, free[start:end], strict=True)])
        exp_Rn, largest_R, log_sum_R = exponentials(vectors_RD, table.vectors_nD, left_out)
        row = 0
        for query, own, of_topics in zip(chunk, free[start:end], topics, strict=True):
            rows_of_user = slice(row, row + len(own))
            of_all = TopicScores(own, None, exp_Rn[rows_of_user], largest_R[rows_of_user], log_sum_R[rows_of_user])
            yield ExactMixture(table, left_out, query, [of_all, *of_topics] if len(own) else of_topics)
            row = rows_of_user.stop
        start = end


def score_topics(
    table: ItemTable,
    topic_vectors: Callable[[int], NDArray[np.float32]],
    left_out: NDArray[np.int64],
    queries: Sequence[MixtureQuery],
) -> list[list[TopicScores]]:
    """Return for each query the scores of its topics; the vectors that share a topic share a product.

    Args:
        table: the items.
        topic_vectors: returns the vectors of a topic, contiguous.
        left_out: rows that are not there, ascending.
        queries: one for each user.
    """
    scores: list[list[TopicScores]] = [[] for _ in queries]
    vectors_of_topic = dict[int, list[tuple[int, int]]]()
    for u, query in enumerate(queries):
        for k, topic in enumerate(query.topic_K.tolist()):
            if topic != ANY_TOPIC:
                vectors_of_topic.setdefault(topic, []).append((u, k))
    for topic, owners in vectors_of_topic.items():
        row_M = table.postings.rows(topic)
        if len(row_M) == 0:
            continue
        vectors_GD = np.stack([queries[u].vectors_KD[k] for u, k in owners])
        exp_GM, largest_G, log_sum_G = exponentials(vectors_GD, topic_vectors(topic), positions_of(row_M, left_out))
        for g, (u, k) in enumerate(owners):
            own = slice(g, g + 1)
            scores[u].append(TopicScores(np.array([k]), row_M, exp_GM[own], largest_G[own], log_sum_G[own]))
    return scores


class ExactMixture:
    """The scores of all items for one user; see ``MixtureScores``."""

    def __init__(
        self, table: ItemTable, left_out: NDArray[np.int64], query: MixtureQuery, topics: Sequence[TopicScores]
    ) -> None:
        """Take the scores of each topic, the first of which may be those of all items."""
        self._table, self._left_out, self._query, self._topics = table, left_out, query, topics
        self.log_sum_K = np.full(len(query.vectors_KD), -np.inf)
        for scores in topics:
            self.log_sum_K[scores.column_G] = scores.log_sum_G

    def propose(self, log_prior_K: NDArray[np.float64]) -> ScoredItems:
        """Return the best items; see ``MixtureScores.propose``."""
        row_U = self._best_rows(log_prior_K)
        return score_rows(self._table, row_U, self._query)

    def _best_rows(self, log_prior_K: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the rows that may be among the best, ascending; rounding may add some."""
        n = len(self._table)
        excluded = self._table.rows_of_ids(self._query.excluded)
        count = min(self._query.candidates, n - len(excluded))
        if count <= 0 or not ((log_prior_K > -np.inf) & (self.log_sum_K > -np.inf)).any():
            return np.zeros(0, dtype=np.int64)
        margin = self._rounding(log_prior_K)
        p_n = self._probabilities(log_prior_K)
        p_n[excluded] = 0
        least = reached_bound(p_n, count) * np.exp(-margin)
        if least > _UNDERFLOW:
            return _take(p_n, least, count, is_exact=margin == 0)
        log_p_n = self._log_probabilities(log_prior_K)
        log_p_n[excluded] = -np.inf
        least = max(reached_bound(log_p_n, count) - margin, float(np.finfo(np.float32).min))
        return _take(log_p_n, least, count, is_exact=margin == 0)

    def _probabilities(self, log_prior_K: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the probability of each row, relative to the largest possible one."""
        log_weights = [log_prior_K[scores.column_G] + scores.largest_G for scores in self._topics]
        largest = max(float(weight.max()) for weight in log_weights)
        p_n = np.zeros(len(self._table), dtype=np.float32)
        for scores, log_weight_G in zip(self._topics, log_weights, strict=True):
            p_M = np.exp(log_weight_G - largest).astype(np.float32) @ scores.exp_GM
            if scores.row_M is None:
                p_n += p_M
            else:
                p_n[scores.row_M] += p_M
        return p_n

    def _log_probabilities(self, log_prior_K: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the log probability of each row: for lists so deep that probabilities underflow."""
        log_p_n = np.full(len(self._table), -np.inf, dtype=np.float32)
        prior_K = log_prior_K.astype(np.float32)
        for scores in self._topics:
            row_M = slice(None) if scores.row_M is None else scores.row_M
            item_MD = self._table.vectors_nD[row_M]
            for k in scores.column_G[prior_K[scores.column_G] > -np.inf].tolist():
                score_M = item_MD @ self._query.vectors_KD[k] + prior_K[k]
                log_p_n[row_M] = np.logaddexp(log_p_n[row_M], score_M)
        log_p_n[self._left_out] = -np.inf
        return log_p_n

    def _rounding(self, log_prior_K: NDArray[np.float64]) -> float:
        """Return twice the largest rounding error of a log probability."""
        used_K = log_prior_K > -np.inf
        length = float(np.linalg.norm(self._query.vectors_KD[used_K].astype(np.float64), axis=1).max())
        largest = length * self._table.longest
        return 2 * float(rounding_error(np.float32(largest), self._table.dimension))


def score_rows(table: ItemTable, row_U: NDArray[np.int64], query: MixtureQuery) -> ScoredItems:
    """Return the exact scores of rows, which ascend, for every vector whose topic they have."""
    item_UD = table.vectors_at(row_U)
    score_KU = paired_inner_products(query.vectors_KD[:, None], item_UD)
    restricted = np.flatnonzero(query.topic_K != ANY_TOPIC)
    if len(restricted):
        score_KU[restricted] = np.where(
            table.have_topics(row_U, query.topic_K[restricted]), score_KU[restricted], -np.inf
        )
    return ScoredItems(table.ids[row_U], score_KU)


def _take(value_n: NDArray[np.float32], least: float, count: int, *, is_exact: bool) -> NDArray[np.int64]:
    """Return the rows whose value is at least ``least``; only the first of equal ones if the values are exact."""
    row_U = np.flatnonzero(value_n >= least)
    if is_exact and len(row_U) > count:
        return np.sort(row_U[np.argsort(-value_n[row_U], kind="stable")[:count]])
    return row_U
