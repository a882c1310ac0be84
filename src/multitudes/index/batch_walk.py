"""The walk through inverted lists for many users at once: one product of a list with all vectors that visit it.

For one user the codes of the lists are read, eight times smaller than the vectors. For many users each vector of an
item is read once for all of them, so the terms are exact. A user whose walk turns out too short is searched again with
all others of that kind, and in the end alone.

Legend: F vectors that may bring any item · P pairs of a vector and a list · T terms of all pairs · M rows of a list, or
terms of a user · D dimensions.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

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
from multitudes.index.item_table import find_rows
from multitudes.index.mixture import ScoredItems
from multitudes.index.scan import reached_bound

_FROM_USERS = 24  # fewer are searched one by one
_MAX_USERS = 512
_MAX_TERMS = 2**24  # of lists held at once: 64 MiB
_MAX_TOPIC_TERMS = 2**26  # of topics, 256 MiB
_TOPICS_OF_USER = 5
_TERMS_PER_EXCLUDED = 2  # an excluded item is found by several vectors


class _Visit(NamedTuple):
    """What one user reads."""

    user: int
    plan: WalkPlan
    kept: int
    lists: VectorLists


def users_together(walk: MixtureWalk) -> int:
    """Return the number of users whose terms of the topics that are scanned fit into memory."""
    largest = min(int(np.diff(walk.table.postings.offset).max(initial=1)), walk.search.tuning.target.scanned)
    return max(_FROM_USERS, min(_MAX_USERS, _MAX_TOPIC_TERMS // max(1, _TOPICS_OF_USER * largest)))


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
        visits = [visit for u, plan in plans.items() if (visit := _visit(u, plan, scores[u])) is not None]
        plans = {}
        for chunk in _chunks(walk, visits):
            for visit, proposed in zip(chunk, _walk_together(walk, chunk, scores), strict=True):
                items = scores[visit.user].score_best(proposed, visit.kept)
                depth = scores[visit.user].deeper(items, visit.plan)
                if depth is None:
                    found[visit.user] = items
                else:
                    plans[visit.user] = visit.plan._replace(depth=depth)
    return [
        own.propose(log_prior_K) if items is None else items
        for own, log_prior_K, items in zip(scores, log_priors, found, strict=True)
    ]


def _visit(user: int, plan: WalkPlan, scores: WalkScores) -> _Visit | None:
    """Return what a user reads; None: such depths were not tuned."""
    parameters = scores.parameters(plan.depth)
    return None if parameters is None else _Visit(user, plan, parameters[1], scores.best_pairs(plan, parameters[0]))


def _chunks(walk: MixtureWalk, visits: Sequence[_Visit]) -> Iterator[list[_Visit]]:
    """Yield the visits in groups whose terms fit into memory."""
    chunk, terms = list[_Visit](), 0
    for visit in visits:
        own = int(walk.lists.sizes[visit.lists.list_P].sum())
        if chunk and terms + own > _MAX_TERMS:
            yield chunk
            chunk, terms = [], 0
        chunk.append(visit)
        terms += own
    if chunk:
        yield chunk


def _walk_together(
    walk: MixtureWalk, visits: Sequence[_Visit], scores: Sequence[WalkScores]
) -> Iterator[list[Proposals]]:
    """Yield what each user found in lists and topics: rows that are not excluded, and their terms of the sum."""
    list_P = np.concatenate([visit.lists.list_P for visit in visits])
    end_P = np.cumsum(walk.lists.sizes[list_P])
    start_P = end_P - walk.lists.sizes[list_P]
    term_T = _terms(walk, [visit.lists for visit in visits], list_P, start_P)
    pair = 0
    for visit in visits:
        pairs = slice(pair, pair + len(visit.lists.list_P))
        pair = pairs.stop
        first, last = int(start_P[pairs.start]), int(end_P[pairs.stop - 1])
        own, plan = scores[visit.user], visit.plan
        topics = list(own.topic_terms(plan.prior_K))
        term_M = np.concatenate([term_T[first:last], *(terms for _, terms in topics)])
        count = visit.kept + _TERMS_PER_EXCLUDED * (plan.depth - own.n)
        best_M = np.flatnonzero((term_M >= reached_bound(term_M, min(len(term_M), count))) & (term_M > -np.inf))
        walked_M = best_M[: np.searchsorted(best_M, last - first)]
        pair_M = pairs.start + np.searchsorted(end_P[pairs], first + walked_M, side="right")
        row_M = walk.row_of_entry[walk.first_entry[list_P[pair_M]] + first + walked_M - start_P[pair_M]]
        if topics:
            of_topics_M = best_M[len(walked_M) :] - (last - first)
            row_M = np.concatenate([row_M, np.concatenate([rows for rows, _ in topics])[of_topics_M]])
        is_allowed_M = ~find_rows(plan.excluded.row_E, row_M)[1]
        yield [(row_M[is_allowed_M], term_M[best_M][is_allowed_M]), *own.best_of_large_topics(plan.prior_K)]


def _terms(
    walk: MixtureWalk, users: Sequence[VectorLists], list_P: NDArray[np.int64], start_P: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the terms of the items of each pair, by pair; those of pair p begin at ``start_P[p]``."""
    vectors_FD = np.concatenate([own.vectors_FD for own in users])
    prior_F = np.concatenate([own.prior_F for own in users])
    first_vector = np.cumsum([0] + [len(own.vectors_FD) for own in users]).tolist()
    vector_P = np.concatenate([own.vector_P + first for own, first in zip(users, first_vector, strict=False)])
    term_T = np.empty(int(start_P[-1] + walk.lists.sizes[list_P[-1]]), dtype=np.float32)
    by_list_P = np.argsort(list_P, kind="stable")
    for pairs in np.split(by_list_P, np.flatnonzero(np.diff(list_P[by_list_P])) + 1):
        item_MD, visitor_P = walk.table.vectors_at(walk.lists.rows_of(int(list_P[pairs[0]]))), vector_P[pairs]
        term_PM = vectors_FD.take(visitor_P, axis=0) @ item_MD.T
        term_PM += prior_F.take(visitor_P)[:, None]
        size = len(item_MD)
        for start, term_M in zip(start_P[pairs].tolist(), term_PM, strict=True):
            term_T[start : start + size] = term_M
    return term_T
