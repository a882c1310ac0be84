"""A vector store in place of the index of the release: what it searches with, and what is made of its hits.

A hit is an item id alone: the release scores it with its own vectors, and drops what the store should have filtered. So
an inexact store, or one whose scores are distances, costs recall and never the order of a list.

Legend: B users · K vectors · Q lists of all users · M items of a list.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multitudes.api import FoundItems, VectorQuery, VectorsResponse
from multitudes.batches.user_vectors import UserVectors
from multitudes.errors import UsageError
from multitudes.index.hits import empty_hits
from multitudes.index.item_table import find_rows
from multitudes.index.protocol import ANY_TOPIC
from multitudes.index.scan import paired_inner_products
from multitudes.release.release import Release
from multitudes.retrieval.allocation import proposals
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.resolved_request import ResolvedRequest
from multitudes.retrieval.search import NO_ITEMS, SearchResult, plan_search, searched_topics, with_neighbours


def describe_vectors(
    release: Release,
    resolved: ResolvedRequest,
    vectors: UserVectors | None,
    excluded: NDArray[np.int64],
    config: RetrieveConfig,
) -> VectorsResponse:
    """Return what a store searches with for one request: ``vectors`` of its user, None where popular items answer."""
    queries, max_limit = list[VectorQuery](), 0
    if vectors is not None:
        plan = plan_search(vectors, resolved.request.n, config)
        max_limit, topic_BK = int(plan.most_B1[0, 0]), searched_topics(plan.vectors, config)
        for k in np.flatnonzero(plan.vectors.mask_BK[0]).tolist():
            share, limit = float(plan.share_BK[0, k]), int(plan.limit_BK[0, k])
            topic, vector = release.topics[topic_BK[0, k]] or None, tuple(plan.vectors.vectors_BKD[0, k].tolist())
            queries.append(VectorQuery(k, plan.vectors.kinds[k], topic, share, limit, vector))
    return VectorsResponse(
        request_id=resolved.request.request_id or None,
        user_id=resolved.context.user_id,
        release=release.version,
        reason="; ".join(shortfall.reason for shortfall in resolved.shortfalls),
        vectors=tuple(queries),
        max_limit=max_limit,
        exclude=tuple(release.item_names.ids(excluded[excluded > 0])),
        mute_topics=tuple(release.topics[topic] for topic in sorted(resolved.preferences.muted_topics)),
    )


def found_lists(
    release: Release,
    catalogue: Catalogue,
    found: Sequence[Sequence[FoundItems]],
    vectors: UserVectors,
    n: int,
    excluded: Sequence[NDArray[np.int64]],
    config: RetrieveConfig,
) -> SearchResult:
    """Return the lists of what a store found for B users and ``n`` places, as a search of the index would return them.

    Raises:
        UsageError: an item is not of the release, or an interest is beyond the vectors of the release.
    """
    width = len(vectors.kinds)
    numbers = {(b, one.interest): _numbers(release, one, width) for b, own in enumerate(found) for one in own}
    user_Q, column_Q = np.nonzero(vectors.mask_BK)
    queries = zip(user_Q.tolist(), column_Q.tolist(), searched_topics(vectors, config)[user_Q, column_Q], strict=True)
    items = [_allowed_items(catalogue, numbers.get((b, k), NO_ITEMS), excluded[b], topic) for b, k, topic in queries]
    hits = empty_hits(len(items), max(map(len, items), default=0))
    hits.count_Q[:] = list(map(len, items))
    for q, item_M in enumerate(items):
        query_1D, places = vectors.vectors_BKD[user_Q[q], column_Q[q]][None], slice(len(item_M))
        place_M = np.arange(len(item_M))
        score_M = paired_inner_products(query_1D, release.index.vectors(item_M), 0 * place_M, place_M)
        order_M = np.lexsort((item_M, -score_M))  # as an index orders ties
        hits.id_QN[q, places], hits.score_QN[q, places] = item_M[order_M], score_M[order_M]
    topic_Q = searched_topics(vectors, config)[user_Q, column_Q]
    limit_Q = np.maximum(proposals(vectors, n)[user_Q, 0], hits.count_Q)
    return with_neighbours(SearchResult(user_Q, column_Q, hits), vectors, catalogue, limit_Q, topic_Q, excluded)


def _numbers(release: Release, found: FoundItems, width: int) -> NDArray[np.int64]:
    """Return the numbers of the items that were found for one vector, in any order."""
    if found.interest >= width:
        raise UsageError(
            f"found: interest {found.interest}; expected that of a vector, 0 to {width - 1} in this release"
        )
    number_M = release.item_names.numbers(found.item_ids)
    if not number_M.all():
        item = f"item {found.item_ids[int(np.argmin(number_M))]!r:.80}"
        raise UsageError(f"found: {item} is not in release {release.version}; search the vectors of that release")
    return number_M


def _allowed_items(
    catalogue: Catalogue, number_M: NDArray[np.int64], excluded: NDArray[np.int64], topic: int
) -> NDArray[np.int64]:
    """Return what a search may find of some items: distinct, not removed, not excluded, and of the topic."""
    item_M = np.unique(number_M)
    item_M = item_M[find_rows(catalogue.ids(), item_M)[1] & ~np.isin(item_M, excluded)]
    return item_M if topic == ANY_TOPIC else item_M[find_rows(catalogue.index.items_of(topic), item_M)[1]]
