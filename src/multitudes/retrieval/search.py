"""From user vectors to candidates: search, exclude, filter by topic, blend, fill up with popular items.

Serving and evaluation use the same code, for one user and for thousands. The scale of the vectors contains the
temperature of the model, so an inner product is a logit.

Legend: B users · K vectors · Q queries (the vectors that exist, by user) · D dimensions · N candidates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from multitudes.api import Source
from multitudes.batches.interleave import interleave
from multitudes.batches.user_vectors import InterestKind, UserVectors
from multitudes.index.exact import ExactIndex
from multitudes.index.hits import truncate_hits
from multitudes.index.live import LiveIndex
from multitudes.index.mixture import MixtureQuery
from multitudes.index.protocol import ANY_TOPIC, NO_ID, Hits
from multitudes.retrieval import blend
from multitudes.retrieval.allocation import popular_shares_of_users, search_depths, vector_quotas, vector_shares
from multitudes.retrieval.catalogue import Catalogue, popular_items
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.request import Shortfall

POPULAR = -1  # the interest number of a popular item
REPEAT = -2  # the interest number of an item that the user returns to; see ``retrieval.repeats``
NO_ITEMS: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
_USERS_PER_CHUNK = 512


class StageTimer(Protocol):
    """Called at the end of each stage of an answer; the service implements it with a clock."""

    def __call__(self, name: str, /) -> None:
        """Record the end of a stage; must be fast.

        Args:
            name: of the stage: people, tower, search, blend or names.
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
    interest_N: NDArray[np.int64]  # column of the vector that brought the item, POPULAR or REPEAT
    found_by_NK: NDArray[np.bool_]  # the vectors whose own lists have the item
    kinds: tuple[InterestKind, ...]
    share_K: NDArray[np.float64]  # share of the list of each vector
    shortfalls: tuple[Shortfall, ...] = ()  # why the list is less than the full method would give

    @property
    def sources(self) -> list[Source]:
        """The kind of the vector that brought each item."""
        names: list[Source] = [*self.kinds, "repeat", "popular"]  # REPEAT and POPULAR count from the end
        return [names[k] for k in self.interest_N.tolist()]

    def select(self, chosen: slice | NDArray[np.bool_ | np.int64]) -> "Candidates":
        """Return some of the candidates, in order; shortfalls stay those of the whole list."""
        return replace(
            self,
            item_N=self.item_N[chosen],
            score_N=self.score_N[chosen],
            interest_N=self.interest_N[chosen],
            found_by_NK=self.found_by_NK[chosen],
        )

    def top(self, n: int) -> "Candidates":
        """Return the first ``n`` candidates."""
        return self.select(slice(n))


def popular_candidates(
    item_N: NDArray[np.int64],
    count_N: NDArray[np.int64],
    kinds: tuple[InterestKind, ...] = (),
    shortfalls: tuple[Shortfall, ...] = (),
) -> Candidates:
    """Return popular items as candidates.

    Args:
        item_N: item numbers, most popular first.
        count_N: positive events of each item.
        kinds: of the user's vectors, none of which brought an item.
        shortfalls: why there is nothing better.
    """
    return Candidates(
        item_N,
        score_N=count_N.astype(np.float32),
        interest_N=np.full(len(item_N), POPULAR),
        found_by_NK=np.zeros((len(item_N), len(kinds)), dtype=np.bool_),
        kinds=kinds,
        share_K=np.zeros(len(kinds)),
        shortfalls=shortfalls,
    )


class SearchResult(NamedTuple):
    """The lists of all queries of some users."""

    user_Q: NDArray[np.int64]
    column_Q: NDArray[np.int64]
    hits: Hits
    topic_Q: NDArray[np.int64]  # the topic to which a list is restricted, or ANY_TOPIC
    log_normaliser_Q: NDArray[np.float32]  # for the mixture; else zeros

    def top(self, limit_BK: NDArray[np.int64]) -> "SearchResult":
        """Return the first ``limit_BK`` items of each list."""
        return self._replace(hits=truncate_hits(self.hits, limit_BK[self.user_Q, self.column_Q]))


def find_candidates(
    vectors: UserVectors,
    catalogue: Catalogue,
    n: int,
    excluded: Sequence[NDArray[np.int64]],
    config: RetrieveConfig,
    timer: StageTimer = no_timing,
    boost_BK: NDArray[np.float64] | None = None,
    *,
    history: Sequence[NDArray[np.int64]] | None = None,
    found_by: bool = True,
    lists: SearchResult | None = None,
) -> list[Candidates]:
    """Find candidates for many users.

    Args:
        vectors: of the users.
        catalogue: the items that can be retrieved.
        n: number of candidates of each user, however many vectors they have.
        excluded: of each user, the item numbers that are not returned.
        config: how the list is divided and blended.
        timer: called at the end of the stages "search" and "blend".
        boost_BK: factors that multiply the shares of the vectors; None: no boosts.
        history: of each user, the seen items that may be returned. The search for a mixture in inverted lists needs
            them to keep its recall, which is measured on unseen items; others ignore them.
        found_by: whether ``found_by_NK`` is asked for. A mixture has to score four times as many items for it; without
            it, an item is found by the vector that brought it.
        lists: from ``search_vectors``, at least ``n`` deep: what an exact search of each vector finds, in place of
            the search.

    Returns:
        The candidates of each user, in order: ``n``, or all items that are not excluded if those are fewer.
    """
    history = [NO_ITEMS] * len(excluded) if history is None else history
    if lists is not None:
        return _find_chunk(vectors, catalogue, n, excluded, config, timer, boost_BK, history, found_by, lists)
    candidates: list[Candidates] = []
    for start in range(0, len(excluded), _USERS_PER_CHUNK):
        chunk = slice(start, start + _USERS_PER_CHUNK)
        boost = None if boost_BK is None else boost_BK[chunk]
        candidates += _find_chunk(
            vectors.select(chunk), catalogue, n, excluded[chunk], config, timer, boost, history[chunk], found_by
        )
    return candidates


def are_nested(kinds: Sequence[InterestKind], catalogue: Catalogue, config: RetrieveConfig) -> bool:
    """Return whether the list of fewer candidates is the top of the longer one: exact search, and one order of items.

    Args:
        kinds: of the users' vectors.
        catalogue: the items that can be retrieved.
        config: how the list is divided and blended.
    """
    is_one_order = len(kinds) == 1 or _is_mixture_search(kinds, catalogue, config)
    return is_one_order and isinstance(catalogue.index, LiveIndex) and isinstance(catalogue.index.segment, ExactIndex)


def _is_mixture_search(kinds: Sequence[InterestKind], catalogue: Catalogue, config: RetrieveConfig) -> bool:
    """Return whether one search finds the mixture; of one vector, an ordinary search does, for many users at once."""
    index = catalogue.index
    return config.blend == "mixture" and len(kinds) > 1 and isinstance(index, LiveIndex) and index.has_mixture


def _find_chunk(
    vectors: UserVectors,
    catalogue: Catalogue,
    n: int,
    excluded: Sequence[NDArray[np.int64]],
    config: RetrieveConfig,
    timer: StageTimer,
    boost_BK: NDArray[np.float64] | None,
    history: Sequence[NDArray[np.int64]],
    found_by: bool = True,
    lists: SearchResult | None = None,
) -> list[Candidates]:
    if _is_mixture_search(vectors.kinds, catalogue, config):
        return _find_by_mixture(vectors, catalogue, n, excluded, config, timer, boost_BK, history, found_by)
    share_BK = vector_shares(vectors, config, boost_BK)
    # What each vector gets: a number of places, or a probability.
    portion_BK = vector_quotas(vectors, config, n, boost_BK) if config.blend == "round_robin" else share_BK
    limit_BK = search_depths(share_BK, n, config)
    result = _search(vectors, catalogue, limit_BK, excluded, config) if lists is None else lists.top(limit_BK)
    timer("search")
    truncated_B, popular_B = _has_truncated_list(result, limit_BK, n), popular_shares_of_users(vectors, config)
    candidates, retried = dict[int, Candidates](), list[int]()
    for b, (blended, found_by_NK) in enumerate(_blend_lists(result, portion_BK, vectors, catalogue, n, config)):
        if len(blended.item_N) < n and truncated_B[b]:
            retried.append(b)
        else:
            n_vectors = int(vectors.mask_BK[b].sum())
            own = Candidates(*blended, found_by_NK, vectors.kinds, share_BK[b])
            candidates[b] = add_popular(own, n_vectors, popular_B[b], catalogue, n, excluded[b])
    timer("blend")
    if retried:  # rare: the lists of a user overlap more than expected
        full = config.model_copy(update={"depth": "full"})
        boost = None if boost_BK is None else boost_BK[retried]
        found = _find_chunk(
            vectors.select(np.array(retried)), catalogue, n, [excluded[b] for b in retried], full, timer, boost, []
        )
        candidates |= zip(retried, found, strict=True)
    return [candidates[b] for b in range(len(excluded))]


def _find_by_mixture(
    vectors: UserVectors,
    catalogue: Catalogue,
    n: int,
    excluded: Sequence[NDArray[np.int64]],
    config: RetrieveConfig,
    timer: StageTimer,
    boost_BK: NDArray[np.float64] | None,
    history: Sequence[NDArray[np.int64]],
    found_by: bool,
) -> list[Candidates]:
    """Find candidates by one search for each user; see ``index.mixture``."""
    index = catalogue.index
    assert isinstance(index, LiveIndex)
    share_BK = vector_shares(vectors, config, boost_BK)
    # Vectors without a share bring nothing to a mixture.
    searched = vectors._replace(mask_BK=vectors.mask_BK & (share_BK > 0))
    queries = mixture_queries(searched, share_BK, config, n, excluded, history, found_by=found_by)
    column_BK = [np.flatnonzero(mask_K) for mask_K in searched.mask_BK]
    lists = [
        (blend.BlendedList(found.id_N, found.score_N, column_K[found.credit_N]), found.found_by_NK)
        for column_K, found in zip(column_BK, index.mixture(queries), strict=True)
    ]
    timer("search")
    n_vectors_B, popular_B = vectors.mask_BK.sum(axis=1).tolist(), popular_shares_of_users(vectors, config)
    candidates = []
    for b, (blended, found_NK) in enumerate(lists):
        found_by_NK = np.zeros((len(found_NK), len(vectors.kinds)), dtype=np.bool_)
        found_by_NK[:, column_BK[b]] = found_NK
        own = Candidates(*blended, found_by_NK, vectors.kinds, share_BK[b])
        candidates.append(add_popular(own, n_vectors_B[b], popular_B[b], catalogue, n, excluded[b]))
    timer("blend")
    return candidates


def mixture_queries(
    vectors: UserVectors,
    share_BK: NDArray[np.float64],
    config: RetrieveConfig,
    n: int,
    excluded: Sequence[NDArray[np.int64]],
    history: Sequence[NDArray[np.int64]] | None = None,
    *,
    found_by: bool = True,
) -> list[MixtureQuery]:
    """Return what each user asks an index for.

    Args:
        vectors: of the users.
        share_BK: share of the list of each vector; see ``vector_shares``.
        config: settings of retrieval.
        n: number of candidates of each user.
        excluded: of each user, the item numbers that are not returned.
        history: of each user, the seen items that may be returned; None: none.
        found_by: whether the vectors that found each item are asked for.
    """
    limit_BK = search_depths(share_BK, n, config)
    topic_BK = _restrictions(vectors, config)
    with np.errstate(divide="ignore"):  # log 0 is minus infinity, as it should be
        log_share_BK = np.log(share_BK)
    queries = []
    for b, mask_K in enumerate(vectors.mask_BK):
        own = b, np.flatnonzero(mask_K)
        limit_K = limit_BK[own] if found_by else None
        queries.append(
            MixtureQuery(
                vectors.vectors_BKD[own],
                log_share_BK[own],
                topic_BK[own],
                limit_K,
                n,
                excluded[b],
                NO_ITEMS if history is None else history[b],
            )
        )
    return queries


def _restrictions(vectors: UserVectors, config: RetrieveConfig) -> NDArray[np.int64]:
    """Return the topic to which each vector is restricted (B, K), or ``ANY_TOPIC``."""
    explicit_K = np.array([kind == "explicit" for kind in vectors.kinds], dtype=np.bool_)
    return np.where(explicit_K & config.relevance_filter, vectors.topic_BK, ANY_TOPIC)


def _has_truncated_list(result: SearchResult, limit_BK: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    """Return for which users (B) a search for ``n`` items would find more."""
    limit_Q = limit_BK[result.user_Q, result.column_Q]
    truncated_B = np.zeros(len(limit_BK), dtype=np.bool_)
    truncated_B[result.user_Q[(result.hits.count_Q >= limit_Q) & (limit_Q < n)]] = True
    return truncated_B


def search_vectors(
    vectors: UserVectors, catalogue: Catalogue, n: int, excluded: Sequence[NDArray[np.int64]], config: RetrieveConfig
) -> SearchResult:
    """Return the best ``n`` items of every vector, for all blends that divide or join such lists.

    Args:
        vectors: of the users.
        catalogue: the items that can be retrieved.
        n: length of each list.
        excluded: of each user, the item numbers that are not returned.
        config: settings of retrieval.
    """
    return _search(vectors, catalogue, np.full(vectors.mask_BK.shape, n), excluded, config)


def _search(
    vectors: UserVectors,
    catalogue: Catalogue,
    limit_BK: NDArray[np.int64],
    excluded: Sequence[NDArray[np.int64]],
    config: RetrieveConfig,
) -> SearchResult:
    """Search with all vectors of all users in one call, for ``limit_BK`` items each."""
    user_Q, column_Q = np.nonzero(vectors.mask_BK)
    query_QD = vectors.vectors_BKD[user_Q, column_Q]
    topic_Q = _restrictions(vectors, config)[user_Q, column_Q]
    excluded_Q = [excluded[b] for b in user_Q.tolist()]
    normalise = config.blend == "mixture"
    limit_Q = limit_BK[user_Q, column_Q]
    hits = catalogue.index.search(query_QD, limit_Q, excluded=excluded_Q, topic_Q=topic_Q, log_sums=normalise)
    if normalise:
        log_sum_Q = catalogue.log_sums(query_QD, topic_Q, hits, excluded_Q)
    else:
        log_sum_Q = np.zeros(len(user_Q), dtype=np.float32)
    return SearchResult(user_Q, column_Q, hits, topic_Q, log_sum_Q)


def _blend_lists(
    result: SearchResult,
    portion_BK: NDArray[np.int64] | NDArray[np.float64],
    vectors: UserVectors,
    catalogue: Catalogue,
    n: int,
    config: RetrieveConfig,
) -> list[tuple[blend.BlendedList, NDArray[np.bool_]]]:
    """Return the list of each user, with columns of ``vectors`` as interests, and the vectors that found each item."""
    merged = blend.merge_lists(result.hits, result.user_Q, result.column_Q, vectors.mask_BK.shape)
    found_BKU = merged.score_KU > -np.inf
    count_B = (merged.item_U != NO_ID).sum(axis=1).tolist()
    if config.blend == "mixture":
        topic_BK = np.full(vectors.mask_BK.shape, ANY_TOPIC)
        log_normaliser_BK = np.full(vectors.mask_BK.shape, -np.inf, dtype=np.float32)
        topic_BK[result.user_Q, result.column_Q] = result.topic_Q
        log_normaliser_BK[result.user_Q, result.column_Q] = result.log_normaliser_Q
        lists = blend.blend_mixture(
            merged, vectors, topic_BK, portion_BK.astype(np.float64), log_normaliser_BK, catalogue, n
        )
    else:
        lists = _blend_each_user(merged, count_B, result, portion_BK, n, config)
    return [
        (blended, found_BKU[b, :, np.searchsorted(merged.item_U[b, :count], blended.item_N)])
        for b, (count, blended) in enumerate(zip(count_B, lists, strict=True))
    ]


def _blend_each_user(
    merged: blend.MergedLists,
    count_B: Sequence[int],
    result: SearchResult,
    portion_BK: NDArray[np.int64] | NDArray[np.float64],
    n: int,
    config: RetrieveConfig,
) -> Iterator[blend.BlendedList]:
    """Yield the list of each user, by a blend that works on one user at a time."""
    start_B = np.searchsorted(result.user_Q, np.arange(len(count_B) + 1)).tolist()
    for b, count in enumerate(count_B):
        own = slice(start_B[b], start_B[b + 1])
        column_K = result.column_Q[own]
        if count == 0:
            yield blend.EMPTY_LIST
        elif config.blend == "round_robin":
            blended = blend.round_robin(result.hits.select(own), portion_BK[b, column_K].astype(np.int64), n)
            yield blended._replace(interest_N=column_K[blended.interest_N])
        elif config.blend == "global_top":
            yield blend.global_top(blend.MergedLists(merged.item_U[b, :count], merged.score_KU[b, :, :count]), n)
        else:
            raise AssertionError(f"the blend '{config.blend}' has no branch here")


def add_popular(
    found: Candidates,
    n_vectors: int,
    popular_share: float,
    catalogue: Catalogue,
    n: int,
    excluded: NDArray[np.int64],
) -> Candidates:
    """Let popular items take their turns in a list, and fill it up to ``n`` with them.

    Args:
        found: what the vectors of a user found, up to ``n`` items.
        n_vectors: how many vectors the user has.
        popular_share: of the turns.
        catalogue: the items that can be retrieved.
        n: number of candidates.
        excluded: item numbers that are not returned.
    """
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
    return replace(joined, shortfalls=_shortfalls(n_vectors, max(0, beyond_their_turns), n))


def _append(found: Candidates, popular_M: NDArray[np.int64], catalogue: Catalogue) -> Candidates:
    """Return a list with popular items behind it."""
    popular = popular_candidates(popular_M, catalogue.user_counts(popular_M), found.kinds)
    return replace(
        found,
        item_N=np.concatenate([found.item_N, popular.item_N]),
        score_N=np.concatenate([found.score_N, popular.score_N]),
        interest_N=np.concatenate([found.interest_N, popular.interest_N]),
        found_by_NK=np.concatenate([found.found_by_NK, popular.found_by_NK]),
    )


def _shortfalls(n_vectors: int, n_popular: int, n: int) -> tuple[Shortfall, ...]:
    if n_vectors == 0:
        return (Shortfall("unknown", "no interest is known: popular items"),)
    if n_popular == 0:
        return ()
    reason = f"the interests found too few items: {n_popular} of {n} places are popular items"
    return (Shortfall("few", reason),)
