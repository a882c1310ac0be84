"""log Σ_i exp(v·ψ_i) over a corpus too large to compute every score: what makes vectors comparable in a mixture.

An index that computes every score gives the sum with its search. Where it does not, the best items count exactly, and
one fixed sample stands for the rest. The best carry most of a peaked sum: from a sample alone, the estimate would
depend on whether they happen to be in it. They are what the search returned, and what a user has seen, which is kept
from the search.

How large a sample is: of 100,000 items, of which a user has seen 300 near the own tastes, 3,000 give the sum to 0.05
(root mean square) and lists of 100 that share 98.8 % with those of the exact sums; 5,000 give 0.04 and 99.1 %, 10,000
0.025 and 99.4 %. Without what was seen, 10,000 give 0.08 and 98.2 %, 3,000 0.13 and 97.4 %.

Legend: Q queries · S items of the sample · E items that a user has seen · D dimensions · M pairs of a query and an
item.

What can be retrieved: the index, which knows the topics of its items, and the popular order.

Legend: I items, numbered from 1 · Q queries · D dimensions. The ids of the index are the item numbers.

What everybody likes, without what somebody must not get.

Legend: N items that are asked for.
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

_CHUNK_BYTES = 2**20  # of scores, which are read three times: they stay in the cache (4 MiB take 1.7 times as long)

ExcludedItems: TypeAlias = Sequence[
    tuple[NDArray[np.int64], slice]
]  # items, and the successive queries that cannot find them
Pairs: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Normaliser:
    """A fixed sample of the corpus, or of the items of a topic."""

    ids_S: NDArray[np.int64]  # ascending
    vectors_SD: NDArray[np.float32]
    items: int
    vectors_of: Callable[[NDArray[np.int64]], NDArray[np.float32]]  # of items by id

    @classmethod
    def build(cls, index: Index, topic: int, sample: int, seed: int = 0) -> "Normaliser":
        """Draw the sample."""
        ids = index.ids() if topic == ANY_TOPIC else index.items_of(topic)
        items = len(ids)
        if items > sample:
            ids = np.sort(generator(seed, "normaliser").choice(ids, sample, replace=False))
        return cls(ids, index.vectors(ids), items, index.vectors)

    def log_sum(
        self, query_QD: NDArray[np.float32], best: Hits, excluded_Q: Sequence[NDArray[np.int64]] | None = None
    ) -> NDArray[np.float32]:
        """Return log Σ_i exp(v·ψ_i) for each query.

        Args:
            query_QD: the queries.
            best: items already found (any number).
            excluded_Q: of each query, items of the corpus that could not be found; successive queries may share them.
        """
        seen = identity_runs(excluded_Q) if excluded_Q is not None else []
        known_Q = np.logaddexp(log_sum_exp(best.score_QN), self._excluded_sum(query_QD, seen))
        sampled = (self._pairs_in_sample(*_found_pairs(best)), self._excluded_pairs_in_sample(seen))
        others_Q = np.empty(len(query_QD), dtype=np.float32)
        rows = max(1, _CHUNK_BYTES // (4 * len(self.ids_S)))
        for start in range(0, len(query_QD), rows):
            score_QS = inner_products(query_QD[start : start + rows], self.vectors_SD)
            for query_M, place_M in sampled:
                here = slice(*np.searchsorted(query_M, (start, start + rows)).tolist())
                score_QS[query_M[here] - start, place_M[here]] = -np.inf
            others_Q[start : start + rows] = log_sum_exp(score_QS)
        scale = np.float32(np.log(self.items / len(self.ids_S)))
        return np.asarray(np.logaddexp(known_Q, others_Q + scale), dtype=np.float32)

    def _excluded_sum(self, query_QD: NDArray[np.float32], seen: ExcludedItems) -> NDArray[np.float32]:
        """Return log Σ exp(score) over what could not be found."""
        most = max((len(ids_E) for ids_E, _ in seen), default=0)
        score_QE = np.full((len(query_QD), most + 1), -np.inf, dtype=np.float32)
        for ids_E, some in seen:
            score_QE[some, : len(ids_E)] = inner_products(query_QD[some], self.vectors_of(ids_E))
        return log_sum_exp(score_QE)

    def _pairs_in_sample(self, owner_M: NDArray[np.int64], ids_M: NDArray[np.int64]) -> Pairs:
        """Return the pairs of an owner and an item of the sample, by its place there."""
        place_M, sampled_M = find_rows(self.ids_S, ids_M)
        return owner_M[sampled_M], place_M[sampled_M]

    def _excluded_pairs_in_sample(self, seen: ExcludedItems) -> Pairs:
        """Return which queries, ascending, could not find which items of the sample; looked up once for a user."""
        if not seen:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        user_M = np.repeat(np.arange(len(seen)), [len(ids_E) for ids_E, _ in seen])
        user_M, place_M = self._pairs_in_sample(user_M, np.concatenate([ids_E for ids_E, _ in seen]))
        first_U = np.searchsorted(user_M, np.arange(len(seen) + 1)).tolist()
        places = [
            place_M[first_U[user] : first_U[user + 1]]
            for user, (_, some) in enumerate(seen)
            for _ in range(some.start, some.stop)
        ]
        return np.repeat(np.arange(len(places)), [len(place) for place in places]), np.concatenate(places)


def _found_pairs(best: Hits) -> Pairs:
    """Return the queries, ascending, and the items of all that was found, ascending too: they are looked up faster."""
    ids_QN = np.sort(best.id_QN, axis=1)  # what is none comes first
    query_M, rank_M = np.nonzero(ids_QN >= 0)
    return query_M, ids_QN[query_M, rank_M]


_MAX_NORMALISERS = 64  # of 0.8 MB each at 64 dimensions
_SAMPLE_SIZE = 3_000
_SAMPLE_SIZE_WITHOUT_SEEN = 10_000  # where what a user has seen is not told apart, see ``normaliser``


class Catalogue:
    """The items as retrieval sees them. Evaluation builds one from a model, a retriever from a release."""

    def __init__(self, index: Index, item_count: NDArray[np.int64]) -> None:
        """Join an index with ``item_count`` (I + 1), the positive events of each item: its popularity."""
        self.index = index
        self.item_count = item_count
        self._popular: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
        self._normaliser = lru_cache(_MAX_NORMALISERS)(partial(_build_normaliser, index))

    def items_by_popularity(self) -> NDArray[np.int64]:
        """Return the items that the index holds now by popularity, ties by the smaller number."""
        ids, known = self.index.ids(), self._popular
        # Most indexes give the same array until their items change, so that nothing is compared.
        if known is None or not (known[0] is ids or np.array_equal(known[0], ids)):
            self._popular = known = ids, ids[np.argsort(-self.event_counts(ids), kind="stable")]
        return known[1]

    def event_counts(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positive events of items; none of those that came after ``item_count`` was made."""
        known = ids < len(self.item_count)
        return np.where(known, self.item_count[np.where(known, ids, 0)], 0)

    def log_sums(
        self,
        query_QD: NDArray[np.float32],
        topic_Q: NDArray[np.int64],
        hits: Hits,
        excluded: Sequence[NDArray[np.int64]] | None = None,
    ) -> NDArray[np.float32]:
        """Return log Σ exp(score) over the items of each query's topic, estimated where the index does not know it.

        ``excluded`` are the items that each query could not find, which count all the same.
        """
        assert hits.log_sum_Q is not None
        log_sum_Q = hits.log_sum_Q.copy()
        for topic in np.unique(topic_Q[np.isnan(log_sum_Q)]).tolist():
            where = np.flatnonzero(np.isnan(log_sum_Q) & (topic_Q == topic))
            seen_Q = None
            if excluded is not None and _counts_seen_exactly(self.index, topic):
                seen_Q = map_distinct([excluded[q] for q in where.tolist()], self._indexed_items)
            log_sum_Q[where] = self._normaliser(topic).log_sum(query_QD[where], hits.select(where), seen_Q)
        return log_sum_Q

    def _indexed_items(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some items that the index holds, once each."""
        held = ids[find_rows(self.index.ids(), ids)[1]]
        return held if (held[1:] > held[:-1]).all() else np.unique(held)


def _counts_seen_exactly(index: Index, topic: int) -> bool:
    """Return whether what a user has seen counts exactly, among items of a topic or of any."""
    # Of a topic, it would have to be known which of them have it; of a remote index, asked what it holds.
    return topic == ANY_TOPIC and isinstance(index, LiveIndex)


def _build_normaliser(index: Index, topic: int) -> Normaliser:
    return Normaliser.build(
        index, topic, _SAMPLE_SIZE if _counts_seen_exactly(index, topic) else _SAMPLE_SIZE_WITHOUT_SEEN
    )


def popular_items(catalogue: Catalogue, n: int, excluded: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ``n`` most popular items that are not in ``excluded``: all there are, where there are fewer.

    Looks no further down the list than it has to, so that a long ``excluded`` costs little.
    """
    ranked, ascending = catalogue.items_by_popularity(), np.sort(excluded)
    looked_at = n + 64  # most of the time few of the most popular are left out
    while True:
        item = ranked[:looked_at]
        place = np.minimum(np.searchsorted(ascending, item), max(0, len(ascending) - 1))
        kept = item[ascending[place] != item] if len(ascending) else item
        if len(kept) >= n or looked_at >= len(ranked):
            return kept[:n]
        looked_at *= 4
