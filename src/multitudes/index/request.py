"""The arguments of a search, validated once on entry, and split into queries that can be searched together.

Legend: Q queries · D dimensions.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.errors import UsageError
from multitudes.index.item_table import ItemTable, as_float32
from multitudes.index.protocol import ANY_TOPIC, Hits, empty_hits, write_hits
from multitudes.index.scan import scan

Key = TypeVar("Key")
T = TypeVar("T")
TopicVectors = Callable[[int], NDArray[np.float32]]  # topic → its vectors, contiguous


class SearchRequest(NamedTuple):
    """Q queries with their arguments; see ``Searchable.search``."""

    query_QD: NDArray[np.float32]
    limit_Q: NDArray[np.int64]
    excluded: Sequence[NDArray[np.int64]] | None
    topic_Q: NDArray[np.int64] | None

    @property
    def max_limit(self) -> int:
        """The largest limit."""
        return int(self.limit_Q.max(initial=0))

    def select(self, queries: NDArray[np.int64]) -> "SearchRequest":
        """Return the request of some of the queries."""
        return SearchRequest(
            self.query_QD[queries],
            self.limit_Q[queries],
            None if self.excluded is None else [self.excluded[q] for q in queries.tolist()],
            None if self.topic_Q is None else self.topic_Q[queries],
        )

    def with_row_exclusions(self, table: ItemTable) -> "SearchRequest":
        """Return the request with the rows of the excluded ids, ascending, in place of the ids."""
        return self if self.excluded is None else self._replace(excluded=map_distinct(self.excluded, table.rows_of_ids))

    def with_excluded_ids(self, ids: NDArray[np.int64]) -> "SearchRequest":
        """Return the request with further ids excluded for every query."""
        if len(ids) == 0:
            return self
        if self.excluded is None:
            return self._replace(excluded=[ids] * len(self.limit_Q))
        return self._replace(excluded=map_distinct(self.excluded, lambda own: np.concatenate([own, ids])))


def unfiltered_request(query_QD: NDArray[np.float32], limit: int) -> SearchRequest:
    """Return a request for the best of all items."""
    return SearchRequest(query_QD, np.full(len(query_QD), limit), None, None)


def check_request(
    query_QD: ArrayLike,
    limit: int | NDArray[np.int64],
    excluded: Sequence[NDArray[np.int64]] | None,
    topic_Q: NDArray[np.int64] | None,
    *,
    dimension: int,
    items: int,
) -> SearchRequest:
    """Return a valid request for an index of ``items`` vectors of ``dimension`` dimensions.

    Raises:
        UsageError: the queries have another width than the index, another argument has another length than the
            queries, or an exclusion is not a row of integers.
        DataError: a query is not finite.
    """
    query_QD = as_float32(query_QD, "a query")
    if query_QD.shape[1] != dimension:
        raise UsageError(
            f"queries have {query_QD.shape[1]} dimensions; the index holds {dimension}."
            " Use the user tower that was released with this index"
        )
    n = len(query_QD)
    if excluded is not None and len(excluded) != n:
        raise UsageError(f"{len(excluded)} exclusions for {n} queries; give one array for each query")
    limit_Q = _one_per_query(limit, n, "limits")
    topics = None if topic_Q is None else _one_per_query(topic_Q, n, "topics")
    return SearchRequest(query_QD, np.minimum(np.maximum(limit_Q, 0), items), _check_exclusions(excluded), topics)


def _check_exclusions(excluded: Sequence[ArrayLike] | None) -> list[NDArray[np.int64]] | None:
    """Return each exclusion as int64; an int64 array stays the same object.

    Raises:
        UsageError: an exclusion is not a row of integers: beyond 2^53, float ids mean other items.
    """
    if excluded is None:
        return None
    return [
        a if isinstance(a, np.ndarray) and a.dtype == np.int64 and a.ndim == 1 else _check_integers(a) for a in excluded
    ]


def _check_integers(ids: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(ids)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise UsageError(f"an exclusion is {array.dtype} of the shape {array.shape}; give a row of integer ids")
    return array.astype(np.int64)


def _one_per_query(numbers: int | NDArray[np.int64], n: int, what: str) -> NDArray[np.int64]:
    number_Q = np.asarray(numbers)
    if number_Q.dtype.kind not in "iu":
        raise UsageError(f"{what} are {number_Q.dtype}; give whole numbers")
    if number_Q.ndim and number_Q.shape != (n,):
        raise UsageError(f"{number_Q.size} {what} for {n} queries; give one number for each query")
    return number_Q.astype(np.int64) if number_Q.ndim else np.full(n, number_Q, dtype=np.int64)


def map_distinct(arrays: Sequence[NDArray[np.int64]], function: Callable[[NDArray[np.int64]], T]) -> list[T]:
    """Apply a function to each array, once per distinct object: queries of one user share their exclusion."""
    distinct = {id(array): array for array in arrays}
    results = {key: function(array) for key, array in distinct.items()}
    return [results[id(array)] for array in arrays]


def search_by_topic(request: SearchRequest, search: Callable[[int, SearchRequest], Hits]) -> Hits:
    """Search topic by topic; ``search`` gets a topic and the request of its queries."""
    if len(request.query_QD) == 0:
        return empty_hits(0, request.max_limit)
    if request.topic_Q is None:
        return search(ANY_TOPIC, request)
    topic_Q = request.topic_Q
    groups = [(topic, np.flatnonzero(topic_Q == topic)) for topic in sorted(set(topic_Q.tolist()))]
    return search_in_groups(request, groups, search)


def search_in_groups(
    request: SearchRequest,
    groups: Sequence[tuple[Key, NDArray[np.int64]]],
    search: Callable[[Key, SearchRequest], Hits],
) -> Hits:
    """Search groups of queries; a group is a key and the queries that share it."""
    if len(groups) == 1:
        return search(groups[0][0], request)
    hits = empty_hits(len(request.query_QD), request.max_limit)
    for key, queries in groups:
        write_hits(hits, queries, search(key, request.select(queries)))
    return hits


def scan_topic(table: ItemTable, topic_vectors: TopicVectors, topic: int, request: SearchRequest) -> Hits:
    """Search the items of a topic exactly.

    Args:
        table: all items.
        topic_vectors: returns the vectors of a topic.
        topic: the topic, or ``ANY_TOPIC``.
        request: with excluded rows in place of ids.
    """
    query_QD, limit_Q, excluded, _ = request
    # Rows are in the order of the ids, so the scan works on rows, and only the results are turned into ids.
    is_all = topic == ANY_TOPIC
    row_M = np.arange(len(table)) if is_all else table.postings.rows(topic).astype(np.int64)
    vectors_MD = table.vectors_nD if is_all else topic_vectors(topic)
    return table.rows_to_ids(scan(query_QD, row_M, vectors_MD, limit_Q, excluded))
