"""From user vectors to candidates: search, exclude, filter, blend, refill. One path for one user and for thousands.

Legend: B users · K vectors · Q queries (the vectors that exist, by user) · C conditions · D dimensions · N candidates.

Vectors carry the temperature of their model: the inner product is the logit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.vectors import Kind, UserVectors
from multitudes.index.protocol import ANY_TOPIC, Hits
from multitudes.index.rows import find_rows
from multitudes.retrieve import blend
from multitudes.retrieve.allocate import depths, quotas, shares
from multitudes.retrieve.catalogue import Catalogue
from multitudes.retrieve.plan import RetrieveConfig
from multitudes.retrieve.popular import popular
from multitudes.retrieve.shortfall import Shortfall
from multitudes.retrieve.stages import Stage, unmeasured

Source = Literal["unconditioned", "implicit", "explicit", "popular"]
POPULAR = -1  # in place of the number of an interest
_USERS_AT_ONCE = 256


@dataclass(frozen=True)
class Candidates:
    """What one user gets, best first."""

    item_N: NDArray[np.int64]
    score_N: NDArray[np.float32]  # as the blend defines it; the number of positive events where popular
    interest_N: NDArray[np.int64]  # column of the vector that brought the item, -1 = popular
    found_by_NK: NDArray[np.bool_]  # every vector that has the item among its own best
    kinds: tuple[Kind, ...]
    share_K: NDArray[np.float64]  # of the list that each vector was to get
    shortfalls: tuple[Shortfall, ...] = ()  # why less than the full method served this user

    @property
    def sources(self) -> list[Source]:
        """What kind of vector brought each item."""
        return ["popular" if k == POPULAR else self.kinds[k] for k in self.interest_N.tolist()]


def popular_alone(
    item_N: NDArray[np.int64],
    events_N: NDArray[np.int64],
    kinds: tuple[Kind, ...] = (),
    shortfalls: tuple[Shortfall, ...] = (),
) -> Candidates:
    """Return popular items as candidates, which none of the vectors brought, with how often each was liked."""
    none_NK = np.zeros((len(item_N), len(kinds)), dtype=np.bool_)
    by_none_N, no_share_K = np.full(len(item_N), POPULAR), np.zeros(len(kinds))
    return Candidates(item_N, events_N.astype(np.float32), by_none_N, none_NK, kinds, no_share_K, shortfalls)


class _Lists(NamedTuple):
    """The lists of all queries of some users, and what a blend needs to know about each."""

    user_Q: NDArray[np.int64]
    column_Q: NDArray[np.int64]
    hits: Hits
    topic_Q: NDArray[np.int64]  # the topic that a list is restricted to, or ANY_TOPIC
    log_normaliser_Q: NDArray[np.float32]  # only for the mixture, else zeros

    def rows(self, chosen: slice) -> "_Lists":
        """Return the lists of some of the queries."""
        return _Lists(
            self.user_Q[chosen],
            self.column_Q[chosen],
            self.hits.rows(chosen),
            self.topic_Q[chosen],
            self.log_normaliser_Q[chosen],
        )


def find(
    vectors: UserVectors,
    catalogue: Catalogue,
    n: int,
    seen: Sequence[NDArray[np.int64]],
    config: RetrieveConfig,
    stage: Stage = unmeasured,
    boost_BK: NDArray[np.float64] | None = None,
) -> list[Candidates]:
    """Find ``n`` candidates for each user: as many whenever the catalogue holds them beyond the seen items.

    Args:
        vectors: the users' vectors.
        catalogue: what can be retrieved.
        n: how many candidates, the same however many vectors a user has.
        seen: for each user the item numbers that must not come back.
        config: how the list is divided and blended.
        stage: is told when the search and the blend end.
        boost_BK: how many times each vector counts; None: once.
    """
    found: list[Candidates] = []
    for start in range(0, len(seen), _USERS_AT_ONCE):
        part = slice(start, start + _USERS_AT_ONCE)
        boost = None if boost_BK is None else boost_BK[part]
        found += _find(vectors.rows(part), catalogue, n, seen[part], config, stage, boost)
    return found


def _find(
    vectors: UserVectors,
    catalogue: Catalogue,
    n: int,
    seen: Sequence[NDArray[np.int64]],
    config: RetrieveConfig,
    stage: Stage,
    boost_BK: NDArray[np.float64] | None,
) -> list[Candidates]:
    # What each vector may bring: places of the list, or its probability.
    share_BK = shares(vectors, config, boost_BK)
    portion_BK = quotas(vectors, config, n, boost_BK) if config.blend == "round_robin" else share_BK
    limit_BK = depths(share_BK, n, config)
    lists = _search(vectors, catalogue, limit_BK, seen, config)
    stage("search")
    start_B = np.searchsorted(lists.user_Q, np.arange(len(seen) + 1))
    found, short = dict[int, Candidates](), list[int]()
    for b, seen_items in enumerate(seen):
        mine = lists.rows(slice(int(start_B[b]), int(start_B[b + 1])))
        k = mine.column_Q
        blended, union = _blend(mine, portion_BK[b, k], vectors.vectors_BKD[b, k], catalogue, n, config)
        if len(blended.item_N) < n and _ended_early(mine, limit_BK[b], n):
            short.append(b)
        else:
            found[b] = _completed(blended, union, mine, vectors.kinds, share_BK[b], catalogue, n, seen_items)
    stage("blend")
    if short:  # rare: the vectors share more items than was foreseen
        deep = config.model_copy(update={"depth": "full"})
        boost = None if boost_BK is None else boost_BK[short]
        again = _find(vectors.rows(np.array(short)), catalogue, n, [seen[b] for b in short], deep, stage, boost)
        found |= zip(short, again, strict=True)
    return [found[b] for b in range(len(seen))]


def _ended_early(lists: _Lists, limit_K: NDArray[np.int64], n: int) -> bool:
    """Return whether some vector would have had more, had it been asked for ``n``."""
    limit_Q = limit_K[lists.column_Q]
    return bool(((lists.hits.count_Q >= limit_Q) & (limit_Q < n)).any())


def _search(
    vectors: UserVectors,
    catalogue: Catalogue,
    limit_BK: NDArray[np.int64],
    seen: Sequence[NDArray[np.int64]],
    config: RetrieveConfig,
) -> _Lists:
    """Search all vectors of all users in one call, each as deep as it is said."""
    user_Q, column_Q = np.nonzero(vectors.mask_BK)
    query_QD = vectors.vectors_BKD[user_Q, column_Q]
    explicit_Q = np.array([kind == "explicit" for kind in vectors.kinds], dtype=np.bool_)[column_Q]
    topic_Q = np.where(explicit_Q & config.relevance_filter, vectors.topic_BK[user_Q, column_Q], ANY_TOPIC)
    excluded = [seen[b] for b in user_Q.tolist()]
    normalise = config.blend == "mixture"
    limit_Q = limit_BK[user_Q, column_Q]
    hits = catalogue.index.search(query_QD, limit_Q, excluded=excluded, topic_Q=topic_Q, log_sums=normalise)
    log_sum_Q = catalogue.log_sums(query_QD, topic_Q, hits) if normalise else np.zeros(len(user_Q), dtype=np.float32)
    return _Lists(user_Q, column_Q, hits, topic_Q, log_sum_Q)


def _blend(
    lists: _Lists,
    portion_K: NDArray[np.int64] | NDArray[np.float64],
    vectors_KD: NDArray[np.float32],
    catalogue: Catalogue,
    n: int,
    config: RetrieveConfig,
) -> tuple[blend.Blended, blend.Union]:
    """Blend the lists of one user; ``K`` counts the vectors that exist."""
    union = blend.union(lists.hits)
    if len(union.item_U) == 0:
        return blend.NOTHING, union
    if config.blend == "round_robin":
        return blend.round_robin(lists.hits, portion_K.astype(np.int64), n), union
    if config.blend == "global_top":
        return blend.global_top(union, n), union
    logit_KU = vectors_KD @ catalogue.index.vectors(union.item_U).T
    for k in np.flatnonzero(lists.topic_Q).tolist():  # a filtered vector has no say on items of other topics
        _, on_topic_U = find_rows(catalogue.index.items_of(int(lists.topic_Q[k])), union.item_U)
        logit_KU[k, ~on_topic_U] = -np.inf
    return blend.mixture(union, logit_KU, portion_K.astype(np.float64), lists.log_normaliser_Q, n), union


def _completed(
    blended: blend.Blended,
    union: blend.Union,
    lists: _Lists,
    kinds: tuple[Kind, ...],
    share_K: NDArray[np.float64],
    catalogue: Catalogue,
    n: int,
    seen: NDArray[np.int64],
) -> Candidates:
    """Fill what is short of ``n`` with popular items, and say who found what."""
    found_by_NK = np.zeros((len(blended.item_N), len(kinds)), dtype=np.bool_)
    own_score_KN = union.score_KU[:, np.searchsorted(union.item_U, blended.item_N)]
    found_by_NK[:, lists.column_Q] = np.isfinite(own_score_KN).T
    missing = n - len(blended.item_N)
    interest_N = lists.column_Q[blended.interest_N]
    if missing <= 0:
        return Candidates(blended.item_N, blended.score_N, interest_N, found_by_NK, kinds, share_K)
    popular_M = popular(catalogue, missing, np.concatenate([seen, blended.item_N]))
    return Candidates(
        np.concatenate([blended.item_N, popular_M]),
        np.concatenate([blended.score_N, catalogue.events(popular_M).astype(np.float32)]),
        np.concatenate([interest_N, np.full(len(popular_M), POPULAR)]),
        np.concatenate([found_by_NK, np.zeros((len(popular_M), len(kinds)), dtype=np.bool_)]),
        kinds,
        share_K,
        _shortfalls(len(lists.column_Q), len(popular_M), n),
    )


def _shortfalls(n_vectors: int, n_popular: int, n: int) -> tuple[Shortfall, ...]:
    if n_vectors == 0:
        return (Shortfall("unknown", "no interest is known: popular items"),)
    if n_popular == 0:
        return ()
    reason = f"the interests found too few items: {n_popular} of {n} places are popular items"
    return (Shortfall("few", reason),)
