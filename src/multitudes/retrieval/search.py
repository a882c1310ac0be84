"""From user vectors to candidates: every vector proposes, the proposals are blended and calibrated.

Serving and evaluation use the same code, for one user and for thousands. The scale of the vectors contains the
temperature of the model, so an inner product is a logit.

Legend: B users · K vectors · Q queries (the vectors that exist, by user) · D dimensions · N candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from multitudes.api import Source
from multitudes.batches.user_vectors import InterestKind, UserVectors, columns_of
from multitudes.index.hits import truncate_hits
from multitudes.index.protocol import ANY_TOPIC, NO_ID, Hits
from multitudes.index.tastes import NO_TASTE
from multitudes.linear.neighbours import Terms
from multitudes.retrieval import blend
from multitudes.retrieval.allocation import UNWANTED, proposals, search_depths, vector_shares, without_history
from multitudes.retrieval.catalogue import Catalogue, popular_items
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.neighbours import add_neighbours, interest_terms
from multitudes.retrieval.request import Shortfall

POPULAR = -1  # the interest number of a popular item
REPEAT = -2  # the interest number of an item that the user returns to; see ``retrieval.repeats``
NO_ITEMS: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
_USERS_PER_CHUNK = 128  # the terms of their scores take megabytes each
_BY_ITEM: Final = ("item_N", "score_N", "interest_N", "found_by_NK")  # of ``Candidates``
_LEAST_WEIGHT: Final = 1e-6  # of what has no place of its own, and fills what is left
Value = TypeVar("Value", np.float32, np.float64)


class StageTimer(Protocol):
    """Called at the end of each stage of an answer; the service implements it with a clock."""

    def __call__(self, name: str, /) -> None:
        """Record the end of a stage; must be fast.

        Args:
            name: of the stage: users, tower, search, blend or names.
        """
        ...


def no_timing(name: str) -> None:
    """Record nothing: the default ``StageTimer``."""
    del name


@dataclass(frozen=True)
class Candidates:
    """The candidates of one user, best first."""

    item_N: NDArray[np.int64]
    # As the blend defines it; of a popular item, its positive events; of a repeat, its log probability.
    score_N: NDArray[np.float32]
    interest_N: NDArray[np.int64]  # column of the interest that the item is for, POPULAR or REPEAT
    found_by_NK: NDArray[np.bool_]  # the vectors whose own lists have the item, or the one that brought it
    kinds: tuple[InterestKind, ...]
    share_K: NDArray[np.float64]  # share of the list of each vector
    shortfalls: tuple[Shortfall, ...] = ()  # why the list is less than the full method would give

    @property
    def sources(self) -> list[Source]:
        """The kind of the interest that each item is for."""
        names: list[Source] = [*self.kinds, "repeat", "popular"]  # REPEAT and POPULAR count from the end
        return [names[k] for k in self.interest_N.tolist()]

    def select(self, chosen: slice | NDArray[np.bool_ | np.int64]) -> "Candidates":
        """Return some of the candidates, in order; shortfalls stay those of the whole list."""
        arrays: dict[str, Any] = {name: getattr(self, name)[chosen] for name in _BY_ITEM}
        return replace(self, **arrays)


def popular_candidates(
    item_N: NDArray[np.int64],
    count_N: NDArray[np.int64],
    kinds: tuple[InterestKind, ...] = (),
) -> Candidates:
    """Return popular items, most popular first, as candidates that none of a user's vectors brought."""
    return Candidates(
        item_N,
        score_N=count_N.astype(np.float32),
        interest_N=np.full(len(item_N), POPULAR),
        found_by_NK=np.zeros((len(item_N), len(kinds)), dtype=np.bool_),
        kinds=kinds,
        share_K=np.zeros(len(kinds)),
    )


class SearchResult(NamedTuple):
    """The lists of all queries of some users."""

    user_Q: NDArray[np.int64]
    column_Q: NDArray[np.int64]
    hits: Hits
    terms: Sequence[Terms] | None = None  # of the scores of each user, if own events propose too

    def top(self, limit_BK: NDArray[np.int64]) -> "SearchResult":
        """Return the first ``limit_BK`` items of each list."""
        return self._replace(hits=truncate_hits(self.hits, limit_BK[self.user_Q, self.column_Q]))

    def select(self, user_B: NDArray[np.int64]) -> "SearchResult":
        """Return the lists of some of the users, ascending."""
        chosen = np.flatnonzero(np.isin(self.user_Q, user_B))
        user_Q = np.searchsorted(user_B, self.user_Q[chosen])
        terms = None if self.terms is None else [self.terms[b] for b in user_B.tolist()]
        return SearchResult(user_Q, self.column_Q[chosen], self.hits.select(chosen), terms)


class SearchPlan(NamedTuple):
    """What the lists of some users are made from, and how many items each vector finds for that."""

    vectors: UserVectors  # those that are searched
    popular_B: NDArray[np.float64]  # share of popular items in the turns
    share_BK: NDArray[np.float64]
    most_B1: NDArray[np.int64]  # proposals: a vector needs no more
    limit_BK: NDArray[np.int64]


def plan_search(vectors: UserVectors, n: int, config: RetrieveConfig, *, in_full: bool = False) -> SearchPlan:
    """Return the plan of lists of ``n``; with ``in_full``, every vector finds the most, also those without a share."""
    vectors, popular_B = without_history(vectors)
    share_BK, most_B1 = vector_shares(vectors, config), proposals(vectors, n)
    limit_BK = np.where(vectors.mask_BK, most_B1, 0) if in_full else search_depths(share_BK, most_B1, config)
    return SearchPlan(vectors, popular_B, share_BK, most_B1, limit_BK)


def searched_topics(vectors: UserVectors, config: RetrieveConfig) -> NDArray[np.int64]:
    """Return the topic that the items of each vector must have, or ``ANY_TOPIC`` (B, K)."""
    is_restricted_K = columns_of("explicit", vectors.kinds) & config.relevance_filter
    return np.where(is_restricted_K, vectors.topic_BK, ANY_TOPIC)


def find_candidates(
    vectors: UserVectors,
    catalogue: Catalogue,
    n: int,
    excluded: Sequence[NDArray[np.int64]],
    config: RetrieveConfig,
    timer: StageTimer = no_timing,
    *,
    lists: SearchResult | None = None,
) -> list[Candidates]:
    """Find ``n`` candidates for each user, or all items that are not ``excluded`` if those are fewer.

    ``lists`` take the place of the search: from ``search_vectors``, as deep as ``allocation.proposals`` or more, or
    from ``own_store``; where they hold too little, popular items follow. ``timer`` is called at the end of the stages
    "search" and "blend".
    """
    if lists is not None:
        return _find_chunk(vectors, catalogue, n, excluded, config, timer, lists)
    candidates: list[Candidates] = []
    for start in range(0, len(excluded), _USERS_PER_CHUNK):
        chunk = slice(start, start + _USERS_PER_CHUNK)
        candidates += _find_chunk(vectors.select(chunk), catalogue, n, excluded[chunk], config, timer)
    return candidates


def _find_chunk(
    vectors: UserVectors,
    catalogue: Catalogue,
    n: int,
    excluded: Sequence[NDArray[np.int64]],
    config: RetrieveConfig,
    timer: StageTimer,
    lists: SearchResult | None = None,
    *,
    in_full: bool = False,
) -> list[Candidates]:
    """Find candidates; with ``in_full``, every vector proposes the most, also those without a share."""
    n_vectors_B = vectors.mask_BK.sum(axis=1).tolist()
    vectors, popular_B, share_BK, most_B1, limit_BK = plan_search(vectors, n, config, in_full=in_full)
    result = search_vectors(vectors, catalogue, limit_BK, excluded, config) if lists is None else lists.top(limit_BK)
    timer("search")
    chosen, (user_Q, column_Q, hits, terms) = blend.BLENDS[config.blend], result
    if chosen.terms:  # in place of scores, which do not compare
        hits = hits._replace(score_QN=chosen.terms(hits, share_BK[user_Q, column_Q]))
    merged = blend.merge_lists(hits, user_Q, column_Q, share_BK.shape)
    proposed = blend.UserLists(hits, user_Q, column_Q, merged, share_BK, n)
    blended = chosen.join(proposed, int(most_B1.max()))
    if vectors.taste_BT is not None:
        blended = _calibrate(blended, vectors.taste_BT, catalogue, n)
    blended = blend.BlendedList(blended.item_BN[:, :n], blended.score_BN[:, :n], blended.interest_BN[:, :n])
    score_BKN = merged.scores_of(blended.item_BN)
    found_BNK = _found_by(proposed, blended, score_BKN, n)
    if chosen.terms:
        blended = blended._replace(interest_BN=_interests(blended, vectors, score_BKN, found_BNK, catalogue))
    if terms is not None:
        blended = blended._replace(interest_BN=_by_terms(blended, vectors, found_BNK, terms))
    truncated_B = np.any(vectors.mask_BK & _is_truncated(result, limit_BK, most_B1), axis=1).tolist()
    candidates, retried = dict[int, Candidates](), list[int]()
    for b, count in enumerate((blended.item_BN != NO_ID).sum(axis=1).tolist()):
        if count < n and truncated_B[b]:
            retried.append(b)
        else:
            row = b, slice(count)
            item_N, score_N, interest_N = blended.item_BN[row], blended.score_BN[row], blended.interest_BN[row]
            own = Candidates(item_N, score_N, interest_N, found_BNK[row], vectors.kinds, share_BK[b])
            candidates[b] = add_popular(own, n_vectors_B[b], popular_B[b], catalogue, n, excluded[b])
    timer("blend")
    if retried:  # rare: the lists of a user overlap more than expected
        again, left_out = vectors.select(np.array(retried)), [excluded[b] for b in retried]
        lists = None if lists is None else lists.select(np.array(retried))
        found = _find_chunk(again, catalogue, n, left_out, config, timer, lists, in_full=True)
        candidates |= zip(retried, found, strict=True)
    return [candidates[b] for b in range(len(excluded))]


def _is_truncated(result: SearchResult, limit_BK: NDArray[np.int64], most_B1: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which vectors (B, K) would find more in a search for ``most_B1`` items."""
    count_BK = np.zeros(limit_BK.shape, dtype=np.int64)
    count_BK[result.user_Q, result.column_Q] = result.hits.count_Q
    return np.asarray((count_BK >= limit_BK) & (limit_BK < most_B1))


def search_vectors(
    vectors: UserVectors,
    catalogue: Catalogue,
    limit: int | NDArray[np.int64],
    excluded: Sequence[NDArray[np.int64]],
    config: RetrieveConfig,
) -> SearchResult:
    """Return the best ``limit`` items of each vector, one number or (B, K), but the user's excluded ones; one call."""
    limit_BK = np.broadcast_to(limit, vectors.mask_BK.shape)
    user_Q, column_Q = np.nonzero(vectors.mask_BK & (limit_BK > 0))
    topic_Q = searched_topics(vectors, config)[user_Q, column_Q]
    excluded_Q = [excluded[b] for b in user_Q.tolist()]
    query_QD, limit_Q = vectors.vectors_BKD[user_Q, column_Q], limit_BK[user_Q, column_Q]
    found_Q = limit_Q
    if vectors.own is not None:  # where events propose, zeros, which tell no item from another, find nothing
        found_Q = np.where(query_QD.any(axis=1), limit_Q, 0)
    hits = catalogue.index.search(query_QD, found_Q, excluded=excluded_Q, topic_Q=topic_Q)
    return with_neighbours(SearchResult(user_Q, column_Q, hits), vectors, catalogue, limit_Q, topic_Q, excluded)


def with_neighbours(
    found: SearchResult,
    vectors: UserVectors,
    catalogue: Catalogue,
    limit_Q: NDArray[np.int64],
    topic_Q: NDArray[np.int64],
    excluded: Sequence[NDArray[np.int64]],
) -> SearchResult:
    """Return the lists of vectors with what the events of their users propose, if there are such."""
    if catalogue.neighbours is None or vectors.own is None:
        return found
    queries = (found.user_Q, found.column_Q, topic_Q)
    hits, terms = add_neighbours(catalogue.neighbours, catalogue, vectors, queries, limit_Q, excluded, found.hits)
    return found._replace(hits=hits, terms=terms)


def _found_by(
    lists: blend.UserLists, blended: blend.BlendedList, score_BKN: NDArray[np.float32], n: int
) -> NDArray[np.bool_]:
    """Return the vectors that have each item among their own best ``n``, or the one that brought it (B, N, K)."""
    least_BK = np.full(lists.share_BK.shape, -np.inf, dtype=np.float32)
    if 0 < n <= lists.hits.score_QN.shape[1]:
        nth_Q = np.where(lists.hits.count_Q >= n, lists.hits.score_QN[:, n - 1], -np.inf)
        least_BK[lists.user_Q, lists.column_Q] = nth_Q
    found_BKN = (score_BKN >= least_BK[:, :, None]) & (score_BKN > -np.inf)
    user, place = np.nonzero(~found_BKN.any(axis=1) & (blended.item_BN != NO_ID))  # deep in every list, for its taste
    found_BKN[user, blended.interest_BN[user, place], place] = True
    return found_BKN.swapaxes(1, 2)


def _calibrate(
    proposed: blend.BlendedList, taste_BT: NDArray[np.float64], catalogue: Catalogue, n: int
) -> blend.BlendedList:
    """Return the proposals of each user that have the first ``n`` places."""
    order_BM = calibrated_order(catalogue.tastes_of(proposed.item_BN), taste_BT)
    if (taste_BT == UNWANTED).any():  # what is unwanted comes last, but a list that ends has its empty places there
        is_empty_BM = np.take_along_axis(proposed.item_BN, order_BM, axis=1) == NO_ID
        order_BM = np.take_along_axis(order_BM, np.argsort(is_empty_BM, axis=1, kind="stable"), axis=1)
    return proposed.take(order_BM[:, :n])


def of_tastes(value_BT: NDArray[Value], taste_BM: NDArray[np.int16]) -> NDArray[Value]:
    """Return the value of the taste of each item of each user (B, M, …); zero for ``NO_TASTE``."""
    value_BM = value_BT[np.arange(len(value_BT))[:, None], taste_BM]  # a copy; NO_TASTE is −1, the last column
    value_BM[taste_BM == NO_TASTE] = 0
    return value_BM


def calibrated_order(taste_BM: NDArray[np.int16], weight_BT: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the order of each user's candidates (B, M), as rows of the list before calibration: one sort by turns.

    ``taste_BM`` are the tastes of the candidates, best first; where a list ends, its candidates of no taste come last.
    ``weight_BT`` is the part of the list of each taste, at most 1 in all, or ``UNWANTED``, which comes last.
    """
    place_M = np.arange(taste_BM.shape[1])
    by_taste_BM = np.argsort(taste_BM, axis=1, kind="stable") + np.arange(len(taste_BM))[:, None] * len(place_M)
    sorted_BM = taste_BM.take(by_taste_BM)
    first_BM, within_BM = np.zeros((2, *taste_BM.shape), dtype=np.int64)
    np.copyto(first_BM[:, 1:], place_M[1:], where=sorted_BM[:, 1:] != sorted_BM[:, :-1])
    within_BM.ravel()[by_taste_BM] = place_M - np.maximum.accumulate(first_BM, axis=1)
    own_BM = of_tastes(weight_BT, taste_BM)
    rest_B1 = np.maximum(1 - np.maximum(weight_BT, 0).sum(axis=1, keepdims=True), _LEAST_WEIGHT)
    key_BM = np.minimum((place_M + 0.5) / rest_B1, (within_BM + 0.5) / np.maximum(own_BM, _LEAST_WEIGHT**2))
    key_BM[own_BM == UNWANTED] = np.inf
    return np.argsort(key_BM, axis=1, kind="stable")


def _interests(
    blended: blend.BlendedList,
    vectors: UserVectors,
    term_BKN: NDArray[np.float32],
    found_BNK: NDArray[np.bool_],
    catalogue: Catalogue,
) -> NDArray[np.int64]:
    """Return the interest that each item is for: the one with most events in its taste, of those that found it.

    Of those with as many it is the one with the largest term, far below 1. A followed topic keeps what it brought, and
    what no interest with events in its taste found is for the list that it is from.
    """
    if vectors.events_BTK is None:
        return blended.interest_BN
    events_BNK = of_tastes(vectors.events_BTK, catalogue.tastes_of(blended.item_BN))
    events_BNK[~found_BNK] = 0
    key_BNK = events_BNK + np.maximum(term_BKN.swapaxes(1, 2), 0)
    is_kept_BN = ~events_BNK.any(axis=2) | columns_of("explicit", vectors.kinds)[blended.interest_BN]
    return np.where(is_kept_BN, blended.interest_BN, key_BNK.argmax(axis=2))


def _by_terms(
    blended: blend.BlendedList, vectors: UserVectors, found_BNK: NDArray[np.bool_], terms: Sequence[Terms]
) -> NDArray[np.int64]:
    """Return the interest that each item is for: the one whose events speak most for it.

    Such an interest found the item, which is entered into ``found_BNK``. An item that the events of no interest speak
    for, or that a followed topic brought, stays for the list that it is from.
    """
    assert vectors.own is not None
    interest_BN, columns = blended.interest_BN.copy(), len(vectors.kinds)
    is_topic_BN = columns_of("explicit", vectors.kinds)[interest_BN]
    for b, own in enumerate(vectors.own):
        count = int((blended.item_BN[b] != NO_ID).sum())
        term_NK = interest_terms(terms[b], own, blended.item_BN[b, :count], columns)
        term_NK[:, :columns][:, ~vectors.mask_BK[b]] = 0.0
        largest_N = term_NK.argmax(axis=1)
        is_of_interest_N = (largest_N < columns) & (term_NK.max(axis=1, initial=0) > 0)
        found_BNK[b, :count] |= term_NK[:, :columns] > 0
        interest_BN[b, :count] = np.where(is_of_interest_N & ~is_topic_BN[b, :count], largest_N, interest_BN[b, :count])
    return interest_BN


def add_popular(
    found: Candidates,
    n_vectors: int,
    popular_share: float,
    catalogue: Catalogue,
    n: int,
    excluded: NDArray[np.int64],
) -> Candidates:
    """Let popular items take their share of the turns in a user's list, and fill it up to ``n`` with them."""
    missing = n - len(found.item_N)
    if not popular_share and missing <= 0:
        return found
    if popular_share and len(found.item_N):
        popular_N = popular_items(catalogue, n, excluded)
        chosen = interleave(found.item_N, popular_N, popular_share, n)
        joined = replace(
            _append(found, popular_N, catalogue).select(chosen), share_K=found.share_K * (1 - popular_share)
        )
    else:
        popular_N = popular_items(catalogue, missing, np.concatenate([excluded, found.item_N]))
        joined = _append(found, popular_N, catalogue)
    if missing <= 0:
        return joined
    beyond_their_turns = int((joined.interest_N == POPULAR).sum() - np.ceil(popular_share * n))
    if n_vectors == 0:
        shortfalls = (Shortfall("unknown", "no interest is known: popular items"),)
    elif beyond_their_turns > 0:
        places = f"{beyond_their_turns} of {n} places are popular items"
        shortfalls = (Shortfall("few", f"the interests found too few items: {places}"),)
    else:
        return joined
    return replace(joined, shortfalls=shortfalls)


def _append(found: Candidates, popular_M: NDArray[np.int64], catalogue: Catalogue) -> Candidates:
    """Return a list with popular items behind it."""
    popular = popular_candidates(popular_M, catalogue.user_counts(popular_M), found.kinds)
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(one, name) for one in (found, popular)]) for name in _BY_ITEM
    }
    return replace(found, **arrays)


def interleave(item_N: NDArray[np.int64], other_M: NDArray[np.int64], other_share: float, n: int) -> NDArray[np.int64]:
    """Return ``n`` distinct items of two ranked lists that take turns, or all, as rows of both lists joined.

    The turn of an item depends on its rank alone, so a shorter list is the beginning of a longer one. The first list
    begins; the second has ``other_share`` of the turns, between 0 and 1.
    """
    turn = np.concatenate(
        [(np.arange(len(item_N)) + 0.5) / (1 - other_share), (np.arange(len(other_M)) + 0.5) / other_share]
    )
    order = np.argsort(turn, kind="stable")
    _, first = np.unique(np.concatenate([item_N, other_M])[order], return_index=True)
    return order[np.sort(first)][:n]
