"""Search for a mixture: the items that are most probable over all vectors of a user, in one search.

The probability of an item y is Σ_k π_k · exp(v_k·y) / Z_k, with the shares π_k of the vectors and Z_k = Σ exp(v_k·y)
over the items of the vector's topic, the excluded ones included. Z_k is known before the search and depends on the
vector and the items alone, so neither the number of results nor what is excluded changes the probability of an item.

A segment proposes more items than are asked for, with their exact scores. Among these ``candidates`` the rank of an
item in the order of one vector says whether that vector found it.

Legend: K vectors of a user · D dimensions · U candidates · N results.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from multitudes.errors import UsageError
from multitudes.index.item_table import as_float32

NO_IDS: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
_CANDIDATES_PER_RESULT = 4


class MixtureQuery(NamedTuple):
    """What one user asks for."""

    vectors_KD: NDArray[np.float32]
    log_share_K: NDArray[np.float64]  # minus infinity: the vector has no say
    topic_K: NDArray[np.int64]  # the topic to which the items of a vector are restricted, or ``ANY_TOPIC``
    # A vector found an item that is among so many of its own best; None: an item is found by the vector of its credit.
    limit_K: NDArray[np.int64] | None
    n: int
    excluded: NDArray[np.int64]  # ids that must not be returned
    # Ids of the user's history that may be returned. Inverted lists score them whatever their search proposes: the
    # vectors were made from them, so they are among the best items in lists that a search has no reason to read.
    history: NDArray[np.int64] = NO_IDS

    @property
    def candidates(self) -> int:
        """The number of candidates among which each vector ranks its own; one vector finds all that it brings."""
        return self.n if self.limit_K is None or len(self.vectors_KD) == 1 else _CANDIDATES_PER_RESULT * self.n


class MixtureList(NamedTuple):
    """The most probable items, best first, with ties by the smaller id."""

    id_N: NDArray[np.int64]
    score_N: NDArray[np.float32]  # log probability
    credit_N: NDArray[np.int64]  # the vector with the largest term of the sum
    found_by_NK: NDArray[np.bool_]  # the vectors that found the item, ``credit_N`` among them


class ScoredItems(NamedTuple):
    """Candidates, ascending by id, with the exact scores of every vector."""

    id_U: NDArray[np.int64]
    score_KU: NDArray[np.float32]  # minus infinity where the item is not of the vector's topic


class MixtureScores(Protocol):
    """The vectors of a user and the items of a segment."""

    log_sum_K: NDArray[np.float64]  # log Z of each vector over the segment; minus infinity: its topic has no items

    def propose(self, log_prior_K: NDArray[np.float64]) -> ScoredItems:
        """Return the best items by Σ_k exp(score_k + log_prior_k) that the query does not exclude.

        There are ``query.candidates`` of them or more, or all that have a probability if those are fewer.
        """
        ...


@runtime_checkable
class MixtureSegment(Protocol):
    """A segment that can be searched for a mixture."""

    @property
    def users_together(self) -> int:
        """The number of users for whom ``propose_together`` is called at once: their scores are held in memory."""
        ...

    def score_mixtures(self, queries: Sequence[MixtureQuery]) -> Iterator[MixtureScores]:
        """Yield the scores of each user's vectors; ``log_sum_K`` is without the items that a view leaves out.

        Args:
            queries: one for each user.
        """
        ...

    def propose_together(
        self, scores: Sequence[MixtureScores], log_priors: Sequence[NDArray[np.float64]]
    ) -> list[ScoredItems]:
        """Return what ``propose`` returns, for many users.

        Args:
            scores: of each user, from ``score_mixtures``.
            log_priors: of each user's vectors.
        """
        ...


def check_mixture(query: MixtureQuery, dimension: int) -> MixtureQuery:
    """Return a valid query for an index of vectors of ``dimension`` dimensions.

    Raises:
        UsageError: the vectors have another width than the index.
        DataError: a vector is not finite.
    """
    vectors_KD = as_float32(query.vectors_KD, "a query")
    if vectors_KD.shape[1] != dimension:
        raise UsageError(
            f"queries have {vectors_KD.shape[1]} dimensions; the index holds {dimension}."
            " Use the user tower that was released with this index"
        )
    return query._replace(vectors_KD=vectors_KD)


def search_mixtures(segments: Sequence[MixtureSegment], queries: Sequence[MixtureQuery]) -> Iterator[MixtureList]:
    """Search segments that have no item in common, the largest first; many users at once where the largest can."""
    users = zip(queries, zip(*(segment.score_mixtures(queries) for segment in segments), strict=True), strict=True)
    while chunk := list(islice(users, segments[0].users_together)):
        asks = [(query, scores) for query, scores in chunk if _asks_for_items(query)]
        priors = [log_priors(query, np.logaddexp.reduce([own.log_sum_K for own in scores])) for query, scores in asks]
        proposed = [
            segment.propose_together([scores[number] for _, scores in asks], priors)
            for number, segment in enumerate(segments)
        ]
        answers = zip(priors, zip(*proposed, strict=True), strict=True)
        for query, _ in chunk:
            if _asks_for_items(query):
                log_prior_K, items = next(answers)
                yield rank(items, log_prior_K, query)
            else:
                yield _empty_list(len(query.vectors_KD))


def _asks_for_items(query: MixtureQuery) -> bool:
    return query.n > 0 and len(query.vectors_KD) > 0


def _empty_list(vectors: int) -> MixtureList:
    return MixtureList(NO_IDS, np.zeros(0, dtype=np.float32), NO_IDS, np.zeros((0, vectors), dtype=np.bool_))


def log_priors(query: MixtureQuery, log_sum_K: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log π − log Z of each vector; minus infinity for one whose topic has no items."""
    has_items_K = np.isfinite(log_sum_K)
    return np.where(has_items_K, query.log_share_K - np.where(has_items_K, log_sum_K, 0), -np.inf)


def log_probabilities(term_KU: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return log Σ_k exp(term) of each item; minus infinity if no term is finite."""
    largest_U = term_KU.max(axis=0, initial=np.finfo(np.float32).min)
    with np.errstate(divide="ignore"):  # no finite term: the log of zero
        return np.asarray(np.log(np.exp(term_KU - largest_U).sum(axis=0)) + largest_U)


def rank(proposed: Sequence[ScoredItems], log_prior_K: NDArray[np.float64], query: MixtureQuery) -> MixtureList:
    """Return the best of the candidates of several segments."""
    id_U, score_KU = (
        np.concatenate([items.id_U for items in proposed]),
        np.hstack([items.score_KU for items in proposed]),
    )
    if len(proposed) > 1:
        ascending = np.argsort(id_U)
        id_U, score_KU = id_U[ascending], score_KU[:, ascending]
    term_KU = score_KU + log_prior_K.astype(np.float32)[:, None]
    log_p_U = log_probabilities(term_KU)
    best_U = np.argsort(-log_p_U, kind="stable")[: min(query.candidates, int((log_p_U > -np.inf).sum()))]
    best_N = best_U[: query.n]
    credit_N = term_KU[:, best_N].argmax(axis=0)
    found_by_NK = np.zeros((len(best_N), len(score_KU)), dtype=np.bool_)
    if query.limit_K is not None:
        found_by_NK[:] = _is_found(score_KU[:, best_U], query.limit_K)[:, : len(best_N)].T
    found_by_NK[np.arange(len(best_N)), credit_N] = True
    return MixtureList(id_U[best_N], log_p_U[best_N], credit_N, found_by_NK)


def _is_found(score_KU: NDArray[np.float32], limit_K: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each vector and candidate whether the candidate is among the vector's best."""
    if score_KU.shape[1] == 0:
        return np.zeros(score_KU.shape, dtype=np.bool_)
    ascending_KU = np.sort(score_KU, axis=1)
    nth_K = np.maximum(0, score_KU.shape[1] - limit_K)
    bound_K1 = ascending_KU[np.arange(len(limit_K)), np.minimum(nth_K, score_KU.shape[1] - 1)][:, None]
    return np.asarray((score_KU >= bound_K1) & (score_KU > -np.inf) & (limit_K[:, None] > 0))
