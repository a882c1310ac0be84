"""The mixture over inverted lists: one walk through the lists that matter most to all vectors of a user together.

1. The normaliser of a vector is Σ_l n_l · exp(v·c_l + s_l · v'Wv / 2), with the size n_l, the mean c_l and the relative
   variance s_l of list l and the covariance W within lists: as if the items of a list were normal. The sums over the
   vector's heaviest lists are exact. What remains of the error is mostly linear in the variance v'Wv and in the log of
   how much of the sum few lists have, Σ_l p_l²; the coefficients come from the users that the index was tuned on.
2. The pairs of a vector and a list are ordered by v·c_l + log π − log Z, and one call of FAISS reads the best pairs.
3. The best of the proposals, and those of the topics of the other vectors (``topic_lists``), are ranked by their full
   vectors.

How many pairs are read depends on the depth: the rank of the last result among all items, the excluded ones included.
It is estimated before the walk, from the probabilities of the excluded items, and known after it. A walk that was too
short is made again, and in the end all items are scored.

Legend: K vectors of a user · F vectors that may bring any item · L lists · P pairs of a vector and a list · D
dimensions · n items · E excluded items · M proposals · U candidates.
"""

from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from math import log
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multitudes.index.approximate import ApproximateSearch
from multitudes.index.engine import ExcludedRows
from multitudes.index.exact_mixture import USERS_PER_CHUNK, score_exactly, score_rows
from multitudes.index.item_table import cache_by_topic, find_rows
from multitudes.index.list_moments import ListMoments, Lists
from multitudes.index.mixture import MixtureQuery, MixtureScores, ScoredItems, log_probabilities
from multitudes.index.mixture_levels import Levels, MixtureTuning, estimate_depth, needed_depth
from multitudes.index.protocol import ANY_TOPIC
from multitudes.index.request import SearchRequest
from multitudes.index.scan import log_sum_exp
from multitudes.index.search_depth import DEPTH_TOLERANCE
from multitudes.index.topic_lists import TopicLists, TopicProposals, propose_of_topics
from multitudes.seeding import generator

USERS_TOGETHER = 512  # whose topics are searched in one call
MAX_ATTEMPTS = 3  # each deeper than the one before; then every item is scored
_EXCLUDED_SAMPLE = 1_000  # excluded items, evenly spaced: an estimate needs no more of many thousands
_TOPIC_SAMPLE = 10_000  # items of a topic that is searched with the engine
_KEPT_WITHOUT_WALK = 8  # candidates for each result where every item is of a topic
_KEPT_PER_WALKED = 1.5  # candidates for each proposal of one vector


class VectorLists(NamedTuple):
    """The lists that the vectors of a user visit."""

    vectors_FD: NDArray[np.float32]
    prior_F: NDArray[np.float32]
    vector_P: NDArray[np.int64]
    list_P: NDArray[np.int64]


class WalkPlan(NamedTuple):
    """How deep a user is searched first, and what the depth that was needed is known from."""

    levels: Levels
    of_topics: list["Proposals"]  # that are not excluded
    prior_K: NDArray[np.float32]
    excluded: ExcludedRows
    log_p_E: NDArray[np.float32]  # log probabilities of a sample of the excluded items
    step: int  # excluded items that each of the sample stands for
    depth: int


Proposals: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float32]]  # rows, and their terms of the sum


class LargeTopic(NamedTuple):
    """A vector that is restricted to a topic which is searched with the engine."""

    column: int
    topic: int
    log_sum: float


class MixtureWalk:
    """Searches inverted lists for mixtures."""

    def __init__(
        self,
        search: ApproximateSearch,
        lists: Lists,
        moments: ListMoments,
        topic_lists: TopicLists,
        tuning: MixtureTuning,
    ) -> None:
        """Prepare a search.

        Args:
            search: of single vectors; it says which rows are left out.
            lists: the engine of that search.
            moments: of the lists.
            topic_lists: the codes of topics.
            tuning: of the search for mixtures.
        """
        self.search, self.lists, self.moments, self.tuning = search, lists, moments, tuning
        self.topic_lists = topic_lists
        self.table, self.left_out = search.table, search.tombstones
        self.levels, self._levels_with_topics = Levels(tuning.levels), Levels(tuning.with_topics)
        self._topic_sample = cache_by_topic(self._sample_topic)
        self._is_proposed = cache(lambda topic: topic in topic_lists.number_of or search.is_scanned(topic))

    def with_tuning(self, tuning: MixtureTuning) -> "MixtureWalk":
        """Return a search that was tuned otherwise."""
        return MixtureWalk(self.search, self.lists, self.moments, self.topic_lists, tuning)

    def with_search(self, search: ApproximateSearch) -> "MixtureWalk":
        """Return a search that leaves out other rows."""
        return MixtureWalk(search, self.lists, self.moments, self.topic_lists, self.tuning)

    def scores(self, queries: Sequence[MixtureQuery]) -> Iterator["WalkScores"]:
        """Yield the scores of each user; the topics and the normalisers of several are computed together."""
        for start in range(0, len(queries), USERS_TOGETHER):
            users = queries[start : start + USERS_TOGETHER]
            topics = propose_of_topics(self.search, self.topic_lists, users, self._is_proposed)
            for first in range(0, len(users), USERS_PER_CHUNK):
                chunk = slice(first, first + USERS_PER_CHUNK)
                yield from self._scores_of_lists(users[chunk], topics[chunk])

    def _scores_of_lists(
        self, queries: Sequence[MixtureQuery], topics: Sequence[list[TopicProposals]]
    ) -> Iterator["WalkScores"]:
        vectors = [query.vectors_KD[query.topic_K == ANY_TOPIC] for query in queries]
        vectors_FD = np.concatenate(vectors)
        score_FL = self.list_scores(vectors_FD)
        log_sum_F = self.log_sums(vectors_FD, score_FL)
        score_FL[~vectors_FD.any(axis=1)] = -np.inf  # all items tie for a vector of zeros: no list is worth a visit
        end = np.cumsum([len(own) for own in vectors])
        for u, query in enumerate(queries):
            own = slice(end[u] - len(vectors[u]), end[u])
            yield WalkScores(self, query, score_FL[own], log_sum_F[own], topics[u], self._large_topics(query))

    def levels_of(self, query: MixtureQuery, prior_K: NDArray[np.float32], topic_items_K: NDArray[np.int64]) -> Levels:
        """Return the levels for a user, by the share of the topics that can fill the list: ``topic_items_K`` items."""
        share_K = np.exp(query.log_share_K) * (prior_K > -np.inf)
        topic_share = float(share_K[topic_items_K >= query.n].sum())
        is_by_topics = self.tuning.with_topics and topic_share >= self.tuning.topic_share * float(share_K.sum())
        return self._levels_with_topics if is_by_topics else self.levels

    def score_all(self, query: MixtureQuery) -> MixtureScores:
        """Score every item."""
        return next(score_exactly(self.table, self.search.topic_vectors, self.left_out.row_E, [query]))

    def _large_topics(self, query: MixtureQuery) -> list[LargeTopic]:
        """Return the vectors of a query whose topics are searched with the engine."""
        return [
            LargeTopic(k, topic, self._sampled_log_sum(topic, query.vectors_KD[k]))
            for k, topic in enumerate(query.topic_K.tolist())
            if topic != ANY_TOPIC and not self._is_proposed(topic)
        ]

    def _sampled_log_sum(self, topic: int, vector_D: NDArray[np.float32]) -> float:
        """Return the log normaliser of a vector within a topic, estimated from a sample of its items."""
        items, sample_SD = self.search.live_items(topic), self._topic_sample(topic)
        if items == 0:
            return -np.inf
        return float(log_sum_exp((sample_SD @ vector_D)[None])[0]) + log(items / len(sample_SD))

    def _sample_topic(self, topic: int) -> NDArray[np.float32]:
        row_M = self.table.postings.rows(topic)
        if len(self.left_out.row_E):
            row_M = row_M[self.left_out.are_allowed(row_M.astype(np.int64))]
        chosen = generator(0, "normaliser", topic).choice(len(row_M), min(len(row_M), _TOPIC_SAMPLE), replace=False)
        return self.table.vectors_at(np.sort(row_M[chosen]))

    def lists_of_vector(self, depth: int) -> int:
        """Return the number of lists that suffice for one vector alone."""
        levels = self.search.tuning.levels
        return next((level.effort for level in levels if level.depth >= depth), self.lists.lists)

    def list_scores(self, vectors_FD: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the score of the mean of each list."""
        return vectors_FD @ self._transposed_means

    @cached_property
    def _transposed_means(self) -> NDArray[np.float32]:
        """The means, in the order in which BLAS multiplies them with a few vectors in a third of the time."""
        return np.ascontiguousarray(self.moments.mean_LD.T)

    def log_sums(self, vectors_FD: NDArray[np.float32], score_FL: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the log normaliser of each vector."""
        raw_F, feature_FX = self.raw_log_sums(vectors_FD, score_FL, self.tuning.exact_lists)
        return np.asarray(raw_F - np.vecdot(feature_FX, np.asarray(self.tuning.correction)))

    def raw_log_sums(
        self, vectors_FD: NDArray[np.float32], score_FL: NDArray[np.float32], exact: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the log normaliser of each vector without its correction, and the features of that (F, 3).

        Args:
            vectors_FD: the vectors.
            score_FL: their ``list_scores``.
            exact: number of heaviest lists of a vector whose items are summed.
        """
        variance_F = np.vecdot(vectors_FD @ self.moments.covariance_DD, vectors_FD)
        variance_FL = variance_F[:, None] * self.moments.variance_L
        some_L = np.maximum(self._log_sizes, 0)  # finite where a list has no item left, whose sum is nothing below
        critical_L = 2 * some_L
        # Of so few normal scores the largest one is the sum once their variance exceeds the critical one.
        above_FL = np.sqrt(variance_FL * critical_L) - some_L
        log_sum_FL = score_FL + np.where(variance_FL <= critical_L, variance_FL / 2, above_FL) + self._log_sizes
        if exact:
            heaviest_FX = np.argpartition(log_sum_FL, -exact, axis=1)[:, -exact:]
            for f, numbers in enumerate(heaviest_FX.tolist()):
                item_MD = self.table.vectors_at(self._live_rows(numbers))
                log_sum_FL[f, numbers] = -np.inf
                log_sum_FL[f, numbers[-1]] = log_sum_exp((item_MD @ vectors_FD[f])[None])[0]  # of all of them
        raw_F = log_sum_exp(log_sum_FL).astype(np.float64)
        share_FL = np.exp(log_sum_FL - raw_F.astype(np.float32)[:, None])
        concentration_F = np.log(np.maximum(np.vecdot(share_FL, share_FL), np.finfo(np.float32).tiny))
        return raw_F, np.stack([np.ones(len(raw_F)), variance_F, concentration_F], axis=1)

    @cached_property
    def _log_sizes(self) -> NDArray[np.float32]:
        """The log of the number of items in each list."""
        size_L = self.lists.sizes
        if len(self.left_out.row_E):
            size_L = size_L - np.bincount(self.lists.list_of_rows[self.left_out.row_E], minlength=len(size_L))
        with np.errstate(divide="ignore"):  # an empty list: the log of zero
            return np.log(size_L).astype(np.float32)

    def _live_rows(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        row_M = np.concatenate([self.lists.rows_of(number) for number in numbers])
        return row_M[self.left_out.are_allowed(row_M)] if len(self.left_out.row_E) else row_M

    def walk(
        self,
        vectors_FD: NDArray[np.float32],
        score_FL: NDArray[np.float32],
        log_prior_F: NDArray[np.float32],
        pairs: int,
        count: int,
        allowed: NDArray[np.uint8] | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Read the best pairs of a vector and a list.

        Returns:
            The rows that were found, up to ``count`` by each vector, and their terms of the sum by their codes.
        """
        vector_P, list_P = _order_pairs(score_FL + log_prior_F[:, None], pairs)
        if not len(vector_P):  # all items tie for vectors of zeros, which visit no list
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        count_F = np.bincount(vector_P, minlength=len(vectors_FD))
        walks = np.flatnonzero(count_F)
        row_P = (np.cumsum(count_F > 0) - 1)[vector_P]
        column_P = np.arange(len(vector_P)) - (np.cumsum(count_F) - count_F)[vector_P]
        found = self.lists.search_pairs(vectors_FD[walks], (row_P, column_P, list_P), count, allowed)
        row_QM, code_QM = found[0], found[1] + log_prior_F[walks][:, None]
        found_QM = row_QM >= 0
        return row_QM[found_QM], code_QM[found_QM]


def _best_pairs(value_FL: NDArray[np.float32], pairs: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the vectors and lists of the largest finite values, in any order."""
    flat = value_FL.ravel()
    least = np.partition(flat, -pairs)[-pairs] if pairs < len(flat) else -np.inf
    best_P = np.flatnonzero((flat >= least) & (flat > -np.inf))  # takes two thirds of the time of argpartition
    if len(best_P) > pairs:  # several tie with the last
        best_P = best_P[np.argsort(-flat[best_P], kind="stable")[:pairs]]
    vector_P, list_P = np.divmod(best_P, value_FL.shape[1])
    return vector_P, list_P


def _order_pairs(value_FL: NDArray[np.float32], pairs: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of ``_best_pairs`` by vector and then best first, as FAISS reads them."""
    vector_P, list_P = _best_pairs(value_FL, pairs)
    order = np.lexsort((-value_FL[vector_P, list_P], vector_P))
    return vector_P[order], list_P[order]


class WalkScores:
    """The vectors of one user; see ``MixtureScores``."""

    def __init__(
        self,
        walk: MixtureWalk,
        query: MixtureQuery,
        score_FL: NDArray[np.float32],
        log_sum_F: NDArray[np.float64],
        topics: Sequence[TopicProposals],
        large_topics: Sequence[LargeTopic],
    ) -> None:
        """Take the scores of the lists and the best items of the topics."""
        self._walk, self._query, self._score_FL = walk, query, score_FL
        self._free_F = np.flatnonzero(query.topic_K == ANY_TOPIC)
        self._vectors_FD = query.vectors_KD[self._free_F]
        self._topics, self._large_topics = topics, large_topics
        self.log_sum_K = np.full(len(query.vectors_KD), -np.inf)
        self.log_sum_K[self._free_F] = log_sum_F
        for proposals in self._topics:
            self.log_sum_K[proposals.column] = proposals.log_sum
        for large in self._large_topics:
            self.log_sum_K[large.column] = large.log_sum

    @property
    def n(self) -> int:
        """The number of results."""
        return self._query.n

    def propose(self, log_prior_K: NDArray[np.float64]) -> ScoredItems:
        """Return the best items; see ``MixtureScores.propose``."""
        plan = self.plan(log_prior_K)
        if plan is None:
            return self._propose_without_walk(log_prior_K)
        for _ in range(MAX_ATTEMPTS):
            parameters = self.parameters(plan)
            if parameters is None:
                break
            items = self.candidates(plan.prior_K, plan.of_topics, *parameters, plan.excluded)
            depth = self.deeper(items, plan)
            if depth is None:
                return items
            plan = plan._replace(depth=depth)
        return self._score_all(log_prior_K)

    def plan(self, log_prior_K: NDArray[np.float64]) -> WalkPlan | None:
        """Return how deep the user is searched; None: no vector walks."""
        walk, query, prior_K = self._walk, self._query, log_prior_K.astype(np.float32)
        if not ((prior_K[self._free_F] > -np.inf) & self._vectors_FD.any(axis=1)).any():
            return None
        excluded = walk.left_out.with_rows(walk.table.rows_of_ids(query.excluded))
        log_p_E, step = self._excluded_probabilities(prior_K, excluded.row_E)
        of_topics, topic_items_K = self.best_of_topics(prior_K, excluded)
        levels = walk.levels_of(query, prior_K, topic_items_K)
        depth = estimate_depth(levels, log_p_E, step, query.n)
        return WalkPlan(levels, of_topics, prior_K, excluded, log_p_E, step, depth)

    def parameters(self, plan: WalkPlan) -> tuple[int, int] | None:
        """Return the number of pairs and of candidates for a depth; None: that was not tuned."""
        depth, n = plan.depth, self._query.n
        parameters = plan.levels.parameters(depth, n) or self._walk.levels.parameters(depth, n)
        if parameters is None:
            return None
        pairs, kept = parameters
        return min(pairs, len(self._free_F) * self._walk.lists_of_vector(depth)), kept

    def best_pairs(self, plan: WalkPlan, pairs: int, leading: int) -> VectorLists:
        """Return the best pairs of a vector and a list, the best ``leading`` ones first, else in any order."""
        prior_F = plan.prior_K[self._free_F]
        value_FL = self._score_FL + prior_F[:, None]
        vector_P, list_P = _best_pairs(value_FL, pairs)
        if leading < len(list_P):
            order_P = np.argpartition(-value_FL[vector_P, list_P], leading)
            vector_P, list_P = vector_P[order_P], list_P[order_P]
        return VectorLists(self._vectors_FD, prior_F, vector_P, list_P)

    def deeper(self, items: ScoredItems, plan: WalkPlan) -> int | None:
        """Return how deep the user has to be searched instead; None: ``plan`` was deep enough."""
        log_p_U = log_probabilities(items.score_KU + plan.prior_K[:, None])
        needed = needed_depth(log_p_U, plan.log_p_E, plan.step, self.n)
        if needed is None:  # too few items were found
            return 2 * plan.depth
        return None if needed <= DEPTH_TOLERANCE * plan.depth else needed

    def _propose_without_walk(self, log_prior_K: NDArray[np.float64]) -> ScoredItems:
        """Return the best items where no vector walks; see ``plan``."""
        walk, query, prior_K = self._walk, self._query, log_prior_K.astype(np.float32)
        if (prior_K[self._free_F] > -np.inf).any() or self._large_topics:  # all items tie, or few are of a topic
            return self._score_all(log_prior_K)
        excluded = walk.left_out.with_rows(walk.table.rows_of_ids(query.excluded))
        of_topics, _ = self.best_of_topics(prior_K, excluded)
        kept = _KEPT_WITHOUT_WALK * query.n
        items = self.candidates(prior_K, of_topics, 0, kept, excluded)
        if sum(len(row_M) for row_M, _ in of_topics) <= kept:
            return items
        # An item of several topics is proposed several times, so many proposals may be few items; and an item of the
        # history may have none of the topics.
        possible = int((log_probabilities(items.score_KU + prior_K[:, None]) > -np.inf).sum())
        return self._score_all(log_prior_K) if possible < query.n else items

    def _score_all(self, log_prior_K: NDArray[np.float64]) -> ScoredItems:
        return self._walk.score_all(self._query).propose(log_prior_K)

    def _excluded_probabilities(
        self, prior_K: NDArray[np.float32], row_E: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], int]:
        """Return the log probabilities of a sample of the excluded items, and how many each stands for.

        Those of a topic are left out: its best items are found beside the walk, which does not have to reach them.
        """
        step = max(1, len(row_E) // _EXCLUDED_SAMPLE)
        item_ED = self._walk.table.vectors_at(row_E[::step])
        term_FE = self._vectors_FD @ item_ED.T + prior_K[self._free_F][:, None]
        return log_probabilities(term_FE), step

    def best_of_topics(
        self, prior_K: NDArray[np.float32], excluded: ExcludedRows
    ) -> tuple[list[Proposals], NDArray[np.int64]]:
        """Return the best rows of the topics that are not excluded, and how many of them each vector has (K)."""
        items_K = np.zeros(len(prior_K), dtype=np.int64)
        proposed = [self._best_of_large_topic(large, prior_K) for large in self._large_topics]
        for large, (row_M, _) in zip(self._large_topics, proposed, strict=True):
            items_K[large.column] = len(row_M)
        asked = [topic for topic in self._topics if prior_K[topic.column] > -np.inf]
        if asked:
            row_M = np.concatenate([topic.row_M for topic in asked])
            term_M = np.concatenate([topic.score_M + prior_K[topic.column] for topic in asked])
            column_M = np.repeat([topic.column for topic in asked], [len(topic.row_M) for topic in asked])
            is_allowed_M = excluded.are_allowed(row_M)
            items_K += np.bincount(column_M[is_allowed_M], minlength=len(prior_K))
            proposed.append((row_M[is_allowed_M], term_M[is_allowed_M]))
        return proposed, items_K

    def candidates(
        self,
        prior_K: NDArray[np.float32],
        of_topics: Sequence[Proposals],
        pairs: int,
        kept: int,
        excluded: ExcludedRows,
    ) -> ScoredItems:
        """Return the best of ``pairs`` and of the topics, ``kept`` of them, with exact scores."""
        proposed = list(of_topics)
        if pairs:
            free, count = self._free_F, int(kept / _KEPT_PER_WALKED)
            walked = self._walk.walk(
                self._vectors_FD, self._score_FL, prior_K[free], pairs, count, excluded.allowed_bits
            )
            proposed.append(walked)
        return self.score_best(proposed, kept, excluded)

    def score_best(self, proposed: Sequence[Proposals], kept: int, excluded: ExcludedRows) -> ScoredItems:
        """Return the best ``kept`` proposals, and the items of the history, with exact scores."""
        row_M = np.concatenate([rows for rows, _ in proposed]) if proposed else np.zeros(0, dtype=np.int64)
        if len(row_M) > kept:
            term_M = np.concatenate([terms for _, terms in proposed])
            row_M = row_M[np.argpartition(-term_M, kept)[:kept]]
        if len(self._query.history):
            history_M = self._walk.table.rows_of_ids(self._query.history)
            row_M = np.concatenate([row_M, history_M[excluded.are_allowed(history_M)]])
        row_M = np.sort(row_M)
        return score_rows(self._walk.table, row_M[np.diff(row_M, prepend=-1) > 0], self._query)

    def _best_of_large_topic(self, large: LargeTopic, prior_K: NDArray[np.float32]) -> Proposals:
        """Return the best rows of a topic that is searched with the engine, and their terms of the sum."""
        query, limit = self._query, np.array([self._query.candidates])
        request = SearchRequest(
            query.vectors_KD[large.column][None], limit, [query.excluded], np.array([large.topic]), log_sums=False
        )
        hits = self._walk.search.search(request)
        row_M, _ = find_rows(self._walk.table.ids, hits.ids(0))
        return row_M, hits.scores(0) + prior_K[large.column]
