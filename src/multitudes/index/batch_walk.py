"""The walk through inverted lists for many users at once: one product of a list with all vectors that visit it.

For one user the codes of the lists are read, eight times smaller than the vectors. For many users each vector of an
item is read once for all of them, so the terms are exact. A user whose walk turns out too short is searched again with
all others of that kind, and in the end alone.

The lists that lead give each user a bound that enough terms reach: the largest of groups of their items. Then all lists
are read, and only what reaches the bound leaves the product of a list.

Legend: U users · F their vectors that may bring any item · P pairs of a vector and a list · V pairs of one list · G
groups of items · M rows of a list, or terms of a user · D dimensions.
"""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.index.inverted_mixture import (
    MAX_ATTEMPTS,
    MixtureWalk,
    Proposals,
    VectorLists,
    WalkPlan,
    WalkScores,
)
from multitudes.index.mixture import ScoredItems

_FROM_USERS = 24  # fewer are searched one by one
_MAX_TERMS = 2**20  # that users ask for together
_TERMS_PER_EXCLUDED = 2  # an excluded item is found by several vectors
_LEADING = 8  # one in so many lists of a user gives the bound
_ITEMS_PER_GROUP = 4


class _Visit(NamedTuple):
    """What one user reads."""

    user: int
    plan: WalkPlan
    kept: int  # candidates
    wanted: int  # terms among which the candidates are, with what is excluded
    leading: int  # the first lists, which give the bound
    lists: VectorLists


def propose_together(
    walk: MixtureWalk, scores: Sequence[WalkScores], log_priors: Sequence[NDArray[np.float64]]
) -> list[ScoredItems]:
    """Return the best items of each user; see ``MixtureSegment.propose_together``."""
    found: list[ScoredItems | None] = [None] * len(scores)
    plans = dict[int, WalkPlan]()
    if len(scores) >= _FROM_USERS:
        own_plans = [own.plan(log_prior_K) for own, log_prior_K in zip(scores, log_priors, strict=True)]
        plans = {u: plan for u, plan in enumerate(own_plans) if plan is not None}
    for _ in range(MAX_ATTEMPTS):
        visits = [visit for u, plan in plans.items() if (visit := _visit(walk, u, plan, scores[u])) is not None]
        plans = {}
        for chunk in _chunks(visits):
            for visit, proposed in zip(chunk, _walk_together(walk, chunk), strict=True):
                items = scores[visit.user].score_best(proposed, visit.kept, visit.plan.excluded)
                depth = scores[visit.user].deeper(items, visit.plan)
                if depth is None:
                    found[visit.user] = items
                else:
                    plans[visit.user] = visit.plan._replace(depth=depth)
    return [
        own.propose(log_prior_K) if items is None else items
        for own, log_prior_K, items in zip(scores, log_priors, found, strict=True)
    ]


def _visit(walk: MixtureWalk, user: int, plan: WalkPlan, scores: WalkScores) -> _Visit | None:
    """Return what a user reads; None: such depths were not tuned."""
    parameters = scores.parameters(plan)
    if parameters is None:
        return None
    pairs, kept = parameters
    wanted = kept + _TERMS_PER_EXCLUDED * (plan.depth - scores.n)
    # Their groups are twice as many as the terms that are wanted, if the lists are of the usual size.
    leading = max(pairs // _LEADING, ceil(2 * wanted * _ITEMS_PER_GROUP * walk.lists.lists / len(walk.table)))
    return _Visit(user, plan, kept, wanted, leading, scores.best_pairs(plan, pairs, leading))


def _chunks(visits: Sequence[_Visit]) -> Iterator[list[_Visit]]:
    """Yield the visits in groups whose terms fit into memory."""
    chunk, terms = list[_Visit](), 0
    for visit in visits:
        if chunk and terms + visit.wanted > _MAX_TERMS:
            yield chunk
            chunk, terms = [], 0
        chunk.append(visit)
        terms += visit.wanted
    if chunk:
        yield chunk


def _walk_together(walk: MixtureWalk, visits: Sequence[_Visit]) -> Iterator[list[Proposals]]:
    """Yield what each user found in lists and topics: rows that are not excluded, and their terms of the sum."""
    topics = [_join(visit.plan.of_topics) for visit in visits]
    pairs = _join_pairs(visits)
    bound_U = _leading_bounds(walk, pairs, visits, [term_M for _, term_M in topics])
    found = _sieve(walk, pairs, bound_U)
    for visit, bound, of_lists, (topic_row_M, topic_term_M) in zip(visits, bound_U, found, topics, strict=True):
        reach_M = np.flatnonzero(topic_term_M >= bound)
        row_M, term_M = _best(*_join([of_lists, (topic_row_M[reach_M], topic_term_M[reach_M])]), visit.wanted)
        is_allowed_M = visit.plan.excluded.are_allowed(row_M)
        yield [(row_M[is_allowed_M], term_M[is_allowed_M])]


def _join(proposals: Sequence[tuple[NDArray[np.integer[Any]], NDArray[np.float32]]]) -> Proposals:
    """Return proposals as one."""
    if not proposals:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
    return np.concatenate([rows for rows, _ in proposals]), np.concatenate([terms for _, terms in proposals])


def _best(row_M: NDArray[np.int64], term_M: NDArray[np.float32], count: int) -> Proposals:
    """Return the ``count`` largest terms, and what ties with the last of them."""
    if len(term_M) <= count:
        return row_M, term_M
    best_M = np.flatnonzero(term_M >= np.partition(term_M, -count)[-count])
    return row_M[best_M], term_M[best_M]


class _Pairs(NamedTuple):
    """The pairs of several users, user by user."""

    user_P: NDArray[np.int64]
    vector_P: NDArray[np.int64]  # of the vectors of all users
    list_P: NDArray[np.int64]
    vectors_FD: NDArray[np.float32]
    prior_F: NDArray[np.float32]

    def select(self, chosen: NDArray[np.int64]) -> "_Pairs":
        """Return some of the pairs."""
        return self._replace(user_P=self.user_P[chosen], vector_P=self.vector_P[chosen], list_P=self.list_P[chosen])


def _join_pairs(visits: Sequence[_Visit]) -> _Pairs:
    users = [visit.lists for visit in visits]
    length_U = [len(own.list_P) for own in users]
    first_vector_U = np.cumsum([0] + [len(own.vectors_FD) for own in users])[:-1]
    return _Pairs(
        user_P=np.repeat(np.arange(len(users)), length_U),
        vector_P=np.concatenate([own.vector_P for own in users]) + np.repeat(first_vector_U, length_U),
        list_P=np.concatenate([own.list_P for own in users]),
        vectors_FD=np.concatenate([own.vectors_FD for own in users]),
        prior_F=np.concatenate([own.prior_F for own in users]),
    )


class _Block(NamedTuple):
    """A list with the scores of its items by the vectors that visit it."""

    row_M: NDArray[np.int64]
    pair_V: NDArray[np.int64]
    prior_V: NDArray[np.float32]
    score_MV: NDArray[np.float32]  # overwritten by the next block


def _blocks(walk: MixtureWalk, pairs: _Pairs) -> Iterator[_Block]:
    """Yield the pairs by list."""
    by_list_P = np.argsort(pairs.list_P.astype(np.int32), kind="stable")
    pairs_of_lists = np.split(by_list_P, np.flatnonzero(np.diff(pairs.list_P[by_list_P])) + 1)
    size_L = walk.lists.sizes[pairs.list_P[[pair_V[0] for pair_V in pairs_of_lists]]]
    buffer = np.empty(int((size_L * [len(pair_V) for pair_V in pairs_of_lists]).max()), dtype=np.float32)
    for pair_V in pairs_of_lists:
        row_M, vector_V = walk.lists.rows_of(int(pairs.list_P[pair_V[0]])), pairs.vector_P.take(pair_V)
        score_MV = buffer[: len(row_M) * len(pair_V)].reshape(len(row_M), len(pair_V))
        np.matmul(walk.table.vectors_at(row_M), pairs.vectors_FD.take(vector_V, axis=0).T, out=score_MV)
        yield _Block(row_M, pair_V, pairs.prior_F.take(vector_V), score_MV)


def _leading_bounds(
    walk: MixtureWalk, pairs: _Pairs, visits: Sequence[_Visit], topic_terms: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return for each user a finite bound that as many terms reach as are wanted, or all terms if those are fewer.

    It is known from the leading lists of the user and from the topics.
    """
    first_U = np.cumsum([0] + [len(visit.lists.list_P) for visit in visits])
    leading = [np.arange(min(visit.leading, len(visit.lists.list_P))) for visit in visits]
    pairs = pairs.select(np.concatenate([first + own for first, own in zip(first_U, leading, strict=False)]))
    largest_PG = _largest_of_groups(walk, pairs)
    largest = np.split(largest_PG, np.cumsum([len(own) for own in leading])[:-1])
    bound_U = np.full(len(visits), np.finfo(np.float32).min)
    for u, (visit, own_PG, term_M) in enumerate(zip(visits, largest, topic_terms, strict=True)):
        reached = np.concatenate([own_PG.ravel(), term_M])
        if len(reached) >= visit.wanted:
            bound_U[u] = max(bound_U[u], np.partition(reached, -visit.wanted)[-visit.wanted])
    return bound_U


def _largest_of_groups(walk: MixtureWalk, pairs: _Pairs) -> NDArray[np.float32]:
    """Return for each pair the largest terms of groups of the list's items, filled with minus infinity."""
    groups = max(1, int(walk.lists.sizes[pairs.list_P].max(initial=0)) // _ITEMS_PER_GROUP)
    largest_PG = np.full((len(pairs.list_P), groups), -np.inf, dtype=np.float32)
    for row_M, pair_V, prior_V, score_MV in _blocks(walk, pairs):
        own = len(row_M) // _ITEMS_PER_GROUP
        grouped_GMV = score_MV[: own * _ITEMS_PER_GROUP].reshape(own, _ITEMS_PER_GROUP, len(pair_V))
        largest_PG[pair_V, :own] = (grouped_GMV.max(axis=1) + prior_V).T
    return largest_PG


def _sieve(walk: MixtureWalk, pairs: _Pairs, bound_U: NDArray[np.float32]) -> list[Proposals]:
    """Return for each user the terms that reach the bound."""
    bound_P = bound_U[pairs.user_P]
    users, rows, terms = [], [], []
    for row_M, pair_V, prior_V, score_MV in _blocks(walk, pairs):
        flat = np.flatnonzero(score_MV >= bound_P.take(pair_V) - prior_V)
        m, v = np.divmod(flat, len(pair_V))
        users.append(pairs.user_P.take(pair_V.take(v)))
        rows.append(row_M.take(m))
        terms.append(score_MV.ravel().take(flat) + prior_V.take(v))
    user_M, row_M, term_M = (np.concatenate(arrays) for arrays in (users, rows, terms))
    by_user_M = np.argsort(user_M.astype(np.int16), kind="stable")
    ends_U = np.cumsum(np.bincount(user_M, minlength=len(bound_U)))[:-1]
    return list(zip(np.split(row_M[by_user_M], ends_U), np.split(term_M[by_user_M], ends_U), strict=True))
