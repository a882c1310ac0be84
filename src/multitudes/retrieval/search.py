"""How an answer says where its time goes: a callable, so that nobody below a service knows a clock.

From user vectors to candidates: search, exclude, filter, blend, refill. One path for one user and for thousands.

Legend: B users · K vectors · Q queries (the vectors that exist, by user) · C conditions · D dimensions · N candidates.

Vectors carry the temperature of their model: the inner product is the logit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.user_vectors import InterestKind, UserVectors
from multitudes.index.protocol import ANY_TOPIC, NO_ID, Hits
from multitudes.retrieval import blend
from multitudes.retrieval.allocation import search_depths, vector_quotas, vector_shares
from multitudes.retrieval.blend import blend_mixture
from multitudes.retrieval.catalogue import Catalogue, popular_items
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.request import Shortfall


class StageTimer(Protocol):
    """Called with the name of a stage when it ends: people, tower, search, blend, names."""

    def __call__(self, name: str, /) -> None:
        """Note it; must be cheap."""
        ...


def no_timing(name: str) -> None:
    """Note nothing: the default."""
    del name


Source = Literal["unconditioned", "implicit", "explicit", "popular"]
POPULAR = -1  # in place of the number of an interest
_USERS_PER_CHUNK = 512


@dataclass(frozen=True)
class Candidates:
    """What one user gets, best first."""

    item_N: NDArray[np.int64]
    score_N: NDArray[np.float32]  # as the blend defines it; the number of positive events where popular
    interest_N: NDArray[np.int64]  # column of the vector that brought the item, -1 = popular
    found_by_NK: NDArray[np.bool_]  # every vector that has the item among its own best
    kinds: tuple[InterestKind, ...]
    share_K: NDArray[np.float64]  # of the list that each vector was to get
    shortfalls: tuple[Shortfall, ...] = ()  # why less than the full method served this user

    @property
    def sources(self) -> list[Source]:
        """What kind of vector brought each item."""
        return ["popular" if k == POPULAR else self.kinds[k] for k in self.interest_N.tolist()]


def popular_candidates(
    item_N: NDArray[np.int64],
    events_N: NDArray[np.int64],
    kinds: tuple[InterestKind, ...] = (),
    shortfalls: tuple[Shortfall, ...] = (),
) -> Candidates:
    """Return popular items as candidates, which none of the vectors brought, with how often each was liked."""
    none_NK = np.zeros((len(item_N), len(kinds)), dtype=np.bool_)
    by_none_N, no_share_K = np.full(len(item_N), POPULAR), np.zeros(len(kinds))
    return Candidates(item_N, events_N.astype(np.float32), by_none_N, none_NK, kinds, no_share_K, shortfalls)


class _SearchResult(NamedTuple):
    """The lists of all queries of some users, and what a blend needs to know about each."""

    user_Q: NDArray[np.int64]
    column_Q: NDArray[np.int64]
    hits: Hits
    topic_Q: NDArray[np.int64]  # the topic that a list is restricted to, or ANY_TOPIC
    log_normaliser_Q: NDArray[np.float32]  # only for the mixture, else zeros


def find_candidates(
    vectors: UserVectors,
    catalogue: Catalogue,
    n: int,
    seen: Sequence[NDArray[np.int64]],
    config: RetrieveConfig,
    timer: StageTimer = no_timing,
    boost_BK: NDArray[np.float64] | None = None,
) -> list[Candidates]:
    """Find ``n`` candidates for each user: as many whenever the catalogue holds them beyond the seen items.

    Args:
        vectors: the users' vectors.
        catalogue: what can be retrieved.
        n: how many candidates, the same however many vectors a user has.
        seen: for each user the item numbers that must not come back.
        config: how the list is divided and blended.
        timer: is told when the search and the blend end.
        boost_BK: how many times each vector counts; None: once.
    """
    found: list[Candidates] = []
    for start in range(0, len(seen), _USERS_PER_CHUNK):
        part = slice(start, start + _USERS_PER_CHUNK)
        boost = None if boost_BK is None else boost_BK[part]
        found += _find_chunk(vectors.select(part), catalogue, n, seen[part], config, timer, boost)
    return found


def _find_chunk(
    vectors: UserVectors,
    catalogue: Catalogue,
    n: int,
    seen: Sequence[NDArray[np.int64]],
    config: RetrieveConfig,
    timer: StageTimer,
    boost_BK: NDArray[np.float64] | None,
) -> list[Candidates]:
    # What each vector may bring: places of the list, or its probability.
    share_BK = vector_shares(vectors, config, boost_BK)
    portion_BK = vector_quotas(vectors, config, n, boost_BK) if config.blend == "round_robin" else share_BK
    limit_BK = search_depths(share_BK, n, config)
    lists = _search(vectors, catalogue, limit_BK, seen, config)
    timer("search")
    early_B = _has_truncated_list(lists, limit_BK, n)
    found, short = dict[int, Candidates](), list[int]()
    for b, (blended, found_by_NK) in enumerate(_blend_lists(lists, portion_BK, vectors, catalogue, n, config)):
        if len(blended.item_N) < n and early_B[b]:
            short.append(b)
        else:
            n_vectors = int(vectors.mask_BK[b].sum())
            found[b] = _fill_with_popular(
                blended, found_by_NK, vectors.kinds, share_BK[b], n_vectors, catalogue, n, seen[b]
            )
    timer("blend")
    if short:  # rare: the vectors share more items than was foreseen
        deep = config.model_copy(update={"depth": "full"})
        boost = None if boost_BK is None else boost_BK[short]
        again = _find_chunk(vectors.select(np.array(short)), catalogue, n, [seen[b] for b in short], deep, timer, boost)
        found |= zip(short, again, strict=True)
    return [found[b] for b in range(len(seen))]


def _has_truncated_list(lists: _SearchResult, limit_BK: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    """Return for which users (B) some vector would have had more, had it been asked for ``n``."""
    limit_Q = limit_BK[lists.user_Q, lists.column_Q]
    early_B = np.zeros(len(limit_BK), dtype=np.bool_)
    early_B[lists.user_Q[(lists.hits.count_Q >= limit_Q) & (limit_Q < n)]] = True
    return early_B


def _search(
    vectors: UserVectors,
    catalogue: Catalogue,
    limit_BK: NDArray[np.int64],
    seen: Sequence[NDArray[np.int64]],
    config: RetrieveConfig,
) -> _SearchResult:
    """Search all vectors of all users in one call, each as deep as it is said."""
    user_Q, column_Q = np.nonzero(vectors.mask_BK)
    query_QD = vectors.vectors_BKD[user_Q, column_Q]
    explicit_Q = np.array([kind == "explicit" for kind in vectors.kinds], dtype=np.bool_)[column_Q]
    topic_Q = np.where(explicit_Q & config.relevance_filter, vectors.topic_BK[user_Q, column_Q], ANY_TOPIC)
    excluded = [seen[b] for b in user_Q.tolist()]
    normalise = config.blend == "mixture"
    limit_Q = limit_BK[user_Q, column_Q]
    hits = catalogue.index.search(query_QD, limit_Q, excluded=excluded, topic_Q=topic_Q, log_sums=normalise)
    if normalise:
        log_sum_Q = catalogue.log_sums(query_QD, topic_Q, hits, excluded)
    else:
        log_sum_Q = np.zeros(len(user_Q), dtype=np.float32)
    return _SearchResult(user_Q, column_Q, hits, topic_Q, log_sum_Q)


def _blend_lists(
    lists: _SearchResult,
    portion_BK: NDArray[np.int64] | NDArray[np.float64],
    vectors: UserVectors,
    catalogue: Catalogue,
    n: int,
    config: RetrieveConfig,
) -> list[tuple[blend.BlendedList, NDArray[np.bool_]]]:
    """Return the list of each user, whose interests are columns of its vectors, and which of them found each item."""
    found = blend.merge_lists(lists.hits, lists.user_Q, lists.column_Q, vectors.mask_BK.shape)
    found_BKU = found.score_KU > -np.inf
    count_B = (found.item_U != NO_ID).sum(axis=1).tolist()
    if config.blend == "mixture":
        topic_BK = np.full(vectors.mask_BK.shape, ANY_TOPIC)
        log_normaliser_BK = np.full(vectors.mask_BK.shape, -np.inf, dtype=np.float32)
        topic_BK[lists.user_Q, lists.column_Q] = lists.topic_Q
        log_normaliser_BK[lists.user_Q, lists.column_Q] = lists.log_normaliser_Q
        every = blend_mixture(found, vectors, topic_BK, portion_BK.astype(np.float64), log_normaliser_BK, catalogue, n)
    else:
        every = _blend_each_user(found, count_B, lists, portion_BK, n, config)
    return [
        (blended, found_BKU[b, :, np.searchsorted(found.item_U[b, :count], blended.item_N)])
        for b, (count, blended) in enumerate(zip(count_B, every, strict=True))
    ]


def _blend_each_user(
    found: blend.MergedLists,
    count_B: Sequence[int],
    lists: _SearchResult,
    portion_BK: NDArray[np.int64] | NDArray[np.float64],
    n: int,
    config: RetrieveConfig,
) -> Iterator[blend.BlendedList]:
    """Yield the list of each user by a blend that looks at one user at a time."""
    start_B = np.searchsorted(lists.user_Q, np.arange(len(count_B) + 1)).tolist()
    for b, count in enumerate(count_B):
        mine = slice(start_B[b], start_B[b + 1])
        column_K = lists.column_Q[mine]
        if count == 0:
            yield blend.EMPTY_LIST
        elif config.blend == "round_robin":
            blended = blend.round_robin(lists.hits.select(mine), portion_BK[b, column_K].astype(np.int64), n)
            yield blended._replace(interest_N=column_K[blended.interest_N])
        else:
            yield blend.global_top(blend.MergedLists(found.item_U[b, :count], found.score_KU[b, :, :count]), n)


def _fill_with_popular(
    blended: blend.BlendedList,
    found_by_NK: NDArray[np.bool_],
    kinds: tuple[InterestKind, ...],
    share_K: NDArray[np.float64],
    n_vectors: int,
    catalogue: Catalogue,
    n: int,
    seen: NDArray[np.int64],
) -> Candidates:
    """Fill what is short of ``n`` with popular items."""
    missing = n - len(blended.item_N)
    if missing <= 0:
        return Candidates(*blended, found_by_NK, kinds, share_K)
    popular_M = popular_items(catalogue, missing, np.concatenate([seen, blended.item_N]))
    return Candidates(
        np.concatenate([blended.item_N, popular_M]),
        np.concatenate([blended.score_N, catalogue.event_counts(popular_M).astype(np.float32)]),
        np.concatenate([blended.interest_N, np.full(len(popular_M), POPULAR)]),
        np.concatenate([found_by_NK, np.zeros((len(popular_M), len(kinds)), dtype=np.bool_)]),
        kinds,
        share_K,
        _shortfalls(n_vectors, len(popular_M), n),
    )


def _shortfalls(n_vectors: int, n_popular: int, n: int) -> tuple[Shortfall, ...]:
    if n_vectors == 0:
        return (Shortfall("unknown", "no interest is known: popular items"),)
    if n_popular == 0:
        return ()
    reason = f"the interests found too few items: {n_popular} of {n} places are popular items"
    return (Shortfall("few", reason),)
