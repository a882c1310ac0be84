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
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multitudes.index.protocol import ANY_TOPIC, Hits, Index
from multitudes.index.request import runs
from multitudes.index.rows import find_rows
from multitudes.index.scan import log_sum_exp, products
from multitudes.seeding import generator

_CHUNK_BYTES = 2**20  # of scores, which are read three times: they stay in the cache (4 MiB take 1.7 times as long)

Seen: TypeAlias = Sequence[tuple[NDArray[np.int64], slice]]  # items, and the successive queries that cannot find them
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
        self, query_QD: NDArray[np.float32], best: Hits, seen_Q: Sequence[NDArray[np.int64]] | None = None
    ) -> NDArray[np.float32]:
        """Return log Σ_i exp(v·ψ_i) for each query.

        Args:
            query_QD: the queries.
            best: items already found (any number).
            seen_Q: of each query, items of the corpus that could not be found; successive queries may share them.
        """
        seen = runs(seen_Q) if seen_Q is not None else []
        known_Q = np.logaddexp(log_sum_exp(best.score_QN), self._seen_sum(query_QD, seen))
        sampled = (self._sampled(*_found(best)), self._sampled_of(seen))
        others_Q = np.empty(len(query_QD), dtype=np.float32)
        rows = max(1, _CHUNK_BYTES // (4 * len(self.ids_S)))
        for start in range(0, len(query_QD), rows):
            score_QS = products(query_QD[start : start + rows], self.vectors_SD)
            for query_M, place_M in sampled:
                here = slice(*np.searchsorted(query_M, (start, start + rows)).tolist())
                score_QS[query_M[here] - start, place_M[here]] = -np.inf
            others_Q[start : start + rows] = log_sum_exp(score_QS)
        scale = np.float32(np.log(self.items / len(self.ids_S)))
        return np.asarray(np.logaddexp(known_Q, others_Q + scale), dtype=np.float32)

    def _seen_sum(self, query_QD: NDArray[np.float32], seen: Seen) -> NDArray[np.float32]:
        """Return log Σ exp(score) over what could not be found."""
        most = max((len(ids_E) for ids_E, _ in seen), default=0)
        score_QE = np.full((len(query_QD), most + 1), -np.inf, dtype=np.float32)
        for ids_E, some in seen:
            score_QE[some, : len(ids_E)] = products(query_QD[some], self.vectors_of(ids_E))
        return log_sum_exp(score_QE)

    def _sampled(self, owner_M: NDArray[np.int64], ids_M: NDArray[np.int64]) -> Pairs:
        """Return the pairs of an owner and an item of the sample, by its place there."""
        place_M, sampled_M = find_rows(self.ids_S, ids_M)
        return owner_M[sampled_M], place_M[sampled_M]

    def _sampled_of(self, seen: Seen) -> Pairs:
        """Return which queries, ascending, could not find which items of the sample; looked up once for a user."""
        if not seen:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        user_M = np.repeat(np.arange(len(seen)), [len(ids_E) for ids_E, _ in seen])
        user_M, place_M = self._sampled(user_M, np.concatenate([ids_E for ids_E, _ in seen]))
        first_U = np.searchsorted(user_M, np.arange(len(seen) + 1)).tolist()
        places = [
            place_M[first_U[user] : first_U[user + 1]]
            for user, (_, some) in enumerate(seen)
            for _ in range(some.start, some.stop)
        ]
        return np.repeat(np.arange(len(places)), [len(place) for place in places]), np.concatenate(places)


def _found(best: Hits) -> Pairs:
    """Return the queries, ascending, and the items of all that was found, ascending too: they are looked up faster."""
    ids_QN = np.sort(best.id_QN, axis=1)  # what is none comes first
    query_M, rank_M = np.nonzero(ids_QN >= 0)
    return query_M, ids_QN[query_M, rank_M]
