"""The items that can be retrieved: the index, their popularity, and the normalisers that a mixture needs.

A mixture compares the scores of different vectors, for which it needs the log normaliser log Σ_i exp(v·ψ_i) of each
vector v over the corpus. An index that computes every score returns it with its search. Otherwise it is estimated: the
best items count exactly, and one fixed sample stands for all others. The best items carry most of a peaked sum, so an
estimate from a sample alone would depend on whether the sample contains them. The best items are those that the search
returned and those that the user has seen, which the search excludes.

Size of the sample: of 100,000 items, of which a user has seen 300 close to their taste, a sample of 3,000 gives the log
normaliser within 0.05 (root mean square), and lists of 100 that share 98.8 % of their items with those of the exact
sums; 5,000 give 0.04 and 99.1 %, 10,000 give 0.025 and 99.4 %. If the seen items do not count exactly, 10,000 give 0.08
and 98.2 %, 3,000 give 0.13 and 97.4 %.

Legend: I items, numbered from 1 (these are the ids of the index) · Q queries · S items of the sample · E items that a
user has seen · D dimensions · M pairs of a query and an item.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multitudes.index.item_table import find_rows
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import ANY_TOPIC, Hits, Index
from multitudes.index.request import identity_runs, map_distinct
from multitudes.index.scan import inner_products, log_sum_exp
from multitudes.seeding import generator

_MAX_NORMALISERS = 64  # of 0.8 MB each at 64 dimensions
_SAMPLE_SIZE = 3_000
_SAMPLE_SIZE_WITHOUT_SEEN = 10_000  # where the seen items do not count exactly
_CHUNK_BYTES = 2**20  # of scores, which are read three times from the processor's cache (4 MiB take 1.7 times as long)

# The items that successive queries exclude, with the range of these queries.
ExcludedItems: TypeAlias = Sequence[tuple[NDArray[np.int64], slice]]
Pairs: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]


class Catalogue:
    """The items of a release, or of a run that is evaluated."""

    def __init__(self, index: Index, item_count: NDArray[np.int64]) -> None:
        """Create a catalogue.

        Args:
            index: holds the item vectors.
            item_count: users of each item (I + 1), their popularity.
        """
        self.index = index
        self.item_count = item_count
        self._by_popularity: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None  # ids of the index, and sorted
        self._normaliser = lru_cache(_MAX_NORMALISERS)(partial(_build_normaliser, index))

    def items_by_popularity(self) -> NDArray[np.int64]:
        """Return the items of the index, most popular first; ties go to the smaller number."""
        ids, known = self.index.ids(), self._by_popularity
        # Most indexes return the same array until their items change, so that the arrays need not be compared.
        if known is None or not (known[0] is ids or np.array_equal(known[0], ids)):
            self._by_popularity = known = ids, ids[np.argsort(-self.user_counts(ids), kind="stable")]
        return known[1]

    def user_counts(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the users of items, 0 for items beyond ``item_count``."""
        known = ids < len(self.item_count)
        return np.where(known, self.item_count[np.where(known, ids, 0)], 0)

    def log_sums(
        self,
        query_QD: NDArray[np.float32],
        topic_Q: NDArray[np.int64],
        hits: Hits,
        excluded: Sequence[NDArray[np.int64]] | None = None,
    ) -> NDArray[np.float32]:
        """Return log Σ exp(score) over the items of each query's topic; estimate it where the index did not compute it.

        Args:
            query_QD: the queries.
            topic_Q: topic of each query, or ``ANY_TOPIC``.
            hits: what the index found.
            excluded: items that the search of each query excluded; they belong to the sum.

        Returns:
            Log sums (Q).
        """
        assert hits.log_sum_Q is not None
        log_sum_Q = hits.log_sum_Q.copy()
        for topic in np.unique(topic_Q[np.isnan(log_sum_Q)]).tolist():
            queries = np.flatnonzero(np.isnan(log_sum_Q) & (topic_Q == topic))
            excluded_Q = None
            if excluded is not None and _counts_seen_exactly(self.index, topic):
                excluded_Q = map_distinct([excluded[q] for q in queries.tolist()], self._indexed_items)
            normaliser = self._normaliser(topic)
            log_sum_Q[queries] = normaliser.log_sum(query_QD[queries], hits.select(queries), excluded_Q)
        return log_sum_Q

    def _indexed_items(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the distinct items that the index holds."""
        indexed = ids[find_rows(self.index.ids(), ids)[1]]
        return indexed if (indexed[1:] > indexed[:-1]).all() else np.unique(indexed)


def popular_items(catalogue: Catalogue, n: int, excluded: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ``n`` most popular items that are not in ``excluded``, or all of them if there are fewer.

    Reads only as many popular items as necessary, so many excluded items cost little.
    """
    by_popularity, excluded = catalogue.items_by_popularity(), np.sort(excluded)
    n_read = n + 64  # usually few of the most popular items are excluded
    while True:
        items = by_popularity[:n_read]
        row = np.minimum(np.searchsorted(excluded, items), max(0, len(excluded) - 1))
        allowed = items[excluded[row] != items] if len(excluded) else items
        if len(allowed) >= n or n_read >= len(by_popularity):
            return allowed[:n]
        n_read *= 4


def _counts_seen_exactly(index: Index, topic: int) -> bool:
    """Return whether the items that a user has seen count exactly in an estimate.

    Within a topic, it would be necessary to know which of them have the topic; of a remote index, which of them it has.
    """
    return topic == ANY_TOPIC and isinstance(index, LiveIndex)


def _build_normaliser(index: Index, topic: int) -> "Normaliser":
    sample = _SAMPLE_SIZE if _counts_seen_exactly(index, topic) else _SAMPLE_SIZE_WITHOUT_SEEN
    return Normaliser.build(index, topic, sample)


def sample_items(ids: NDArray[np.int64], n: int, seed: int, stream: str) -> NDArray[np.int64]:
    """Return ``n`` of some ids, ascending, drawn by the seed from a random stream; all if there are no more."""
    return np.sort(generator(seed, stream).choice(ids, n, replace=False)) if len(ids) > n else ids


@dataclass(frozen=True)
class Normaliser:
    """Estimates log normalisers with a fixed sample of the corpus, or of the items of a topic."""

    ids_S: NDArray[np.int64]  # ascending
    vectors_SD: NDArray[np.float32]
    items: int  # of the corpus or the topic
    vectors_of: Callable[[NDArray[np.int64]], NDArray[np.float32]]  # of items by id

    @classmethod
    def build(cls, index: Index, topic: int, sample: int, seed: int = 0) -> "Normaliser":
        """Draw a sample of items of a topic, or of all items with ``ANY_TOPIC``."""
        ids = index.ids() if topic == ANY_TOPIC else index.items_of(topic)
        chosen = sample_items(ids, sample, seed, "normaliser")
        return cls(chosen, index.vectors(chosen), len(ids), index.vectors)

    def log_sum(
        self, query_QD: NDArray[np.float32], best: Hits, excluded_Q: Sequence[NDArray[np.int64]] | None = None
    ) -> NDArray[np.float32]:
        """Estimate log Σ_i exp(v·ψ_i) of each query.

        Args:
            query_QD: the queries.
            best: any number of items that a search found; they count exactly.
            excluded_Q: items of the corpus that the search of each query excluded; they count exactly. Successive
                queries may share the array.

        Returns:
            Estimates (Q).
        """
        excluded = identity_runs(excluded_Q) if excluded_Q is not None else []
        exact_Q = np.logaddexp(log_sum_exp(best.score_QN), self._excluded_sum(query_QD, excluded))
        counted_pairs = (self._pairs_in_sample(*_found_pairs(best)), self._excluded_pairs_in_sample(excluded))
        sampled_Q = np.empty(len(query_QD), dtype=np.float32)
        rows = max(1, _CHUNK_BYTES // (4 * len(self.ids_S)))
        for start in range(0, len(query_QD), rows):
            score_QS = inner_products(query_QD[start : start + rows], self.vectors_SD)
            for query_M, row_M in counted_pairs:
                chunk = slice(*np.searchsorted(query_M, (start, start + rows)).tolist())
                score_QS[query_M[chunk] - start, row_M[chunk]] = -np.inf
            sampled_Q[start : start + rows] = log_sum_exp(score_QS)
        scale = np.float32(np.log(self.items / len(self.ids_S)))
        return np.asarray(np.logaddexp(exact_Q, sampled_Q + scale), dtype=np.float32)

    def _excluded_sum(self, query_QD: NDArray[np.float32], excluded: ExcludedItems) -> NDArray[np.float32]:
        """Return log Σ exp(score) over the excluded items of each query."""
        width = max((len(ids_E) for ids_E, _ in excluded), default=0)
        score_QE = np.full((len(query_QD), width + 1), -np.inf, dtype=np.float32)
        for ids_E, queries in excluded:
            score_QE[queries, : len(ids_E)] = inner_products(query_QD[queries], self.vectors_of(ids_E))
        return log_sum_exp(score_QE)

    def _pairs_in_sample(self, owner_M: NDArray[np.int64], ids_M: NDArray[np.int64]) -> Pairs:
        """Return the pairs of an owner and an item that the sample contains, with the item's row in the sample."""
        row_M, in_sample_M = find_rows(self.ids_S, ids_M)
        return owner_M[in_sample_M], row_M[in_sample_M]

    def _excluded_pairs_in_sample(self, excluded: ExcludedItems) -> Pairs:
        """Return the pairs of a query, ascending, and an excluded item of the sample; one lookup for each user."""
        if not excluded:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        user_M = np.repeat(np.arange(len(excluded)), [len(ids_E) for ids_E, _ in excluded])
        user_M, row_M = self._pairs_in_sample(user_M, np.concatenate([ids_E for ids_E, _ in excluded]))
        first_U = np.searchsorted(user_M, np.arange(len(excluded) + 1)).tolist()
        rows = [
            row_M[first_U[user] : first_U[user + 1]]
            for user, (_, queries) in enumerate(excluded)
            for _ in range(queries.start, queries.stop)
        ]
        return np.repeat(np.arange(len(rows)), [len(row) for row in rows]), np.concatenate(rows)


def _found_pairs(best: Hits) -> Pairs:
    """Return the pairs of a query, ascending, and an item that it found, ascending, which makes the lookup faster."""
    ids_QN = np.sort(best.id_QN, axis=1)  # NO_ID comes first
    query_M, rank_M = np.nonzero(ids_QN >= 0)
    return query_M, ids_QN[query_M, rank_M]
