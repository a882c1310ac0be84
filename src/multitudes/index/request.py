"""What is asked of an index, checked once at the border, and answered topic by topic.

Legend: Q queries · N results asked for · D dimensions.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.errors import UsageError
from multitudes.index.hits import empty_hits, write_hits
from multitudes.index.item_table import ItemTable, as_float32
from multitudes.index.protocol import ANY_TOPIC, Hits

Key = TypeVar("Key")
Made = TypeVar("Made")


class SearchRequest(NamedTuple):
    """Q queries with what is asked of each; see ``Index.search``."""

    query_QD: NDArray[np.float32]
    limit_Q: NDArray[np.int64]
    excluded: Sequence[NDArray[np.int64]] | None
    topic_Q: NDArray[np.int64] | None
    log_sums: bool

    @property
    def max_limit(self) -> int:
        """The largest limit."""
        return int(self.limit_Q.max(initial=0))

    def select(self, where: NDArray[np.int64]) -> "SearchRequest":
        """Return what is asked of some of the queries."""
        return SearchRequest(
            self.query_QD[where],
            self.limit_Q[where],
            None if self.excluded is None else [self.excluded[q] for q in where.tolist()],
            None if self.topic_Q is None else self.topic_Q[where],
            self.log_sums,
        )

    def with_row_exclusions(self, rows: ItemTable) -> "SearchRequest":
        """Return the request with the rows of what it excludes, ascending, in the place of their ids."""
        return self if self.excluded is None else self._replace(excluded=map_distinct(self.excluded, rows.rows_of_ids))

    def exclude_also(self, ids: NDArray[np.int64]) -> "SearchRequest":
        """Return the request with some ids more that must not come back."""
        if len(ids) == 0:
            return self
        if self.excluded is None:
            return self._replace(excluded=[ids] * len(self.limit_Q))
        return self._replace(excluded=map_distinct(self.excluded, lambda own: np.concatenate([own, ids])))


def unfiltered_request(query_QD: NDArray[np.float32], limit: int) -> SearchRequest:
    """Return a request for the best of all items."""
    return SearchRequest(query_QD, np.full(len(query_QD), limit), None, None, log_sums=False)


def check_request(
    query_QD: ArrayLike,
    limit: int | NDArray[np.int64],
    excluded: Sequence[NDArray[np.int64]] | None,
    topic_Q: NDArray[np.int64] | None,
    log_sums: bool,
    *,
    dimension: int,
    items: int,
) -> SearchRequest:
    """Return a request that fits an index of ``items`` vectors of width ``dimension``.

    Raises:
        UsageError: the queries have another width than the index, something has another length than the queries, or
            an exclusion is no row of integers.
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
    return SearchRequest(
        query_QD, np.minimum(np.maximum(limit_Q, 0), items), _check_exclusions(excluded), topics, log_sums
    )


def _check_exclusions(excluded: Sequence[ArrayLike] | None) -> list[NDArray[np.int64]] | None:
    """Return each exclusion as int64; what is int64 already stays the array that it is.

    Raises:
        UsageError: an exclusion is no row of integers: float ids name other items beyond 2^53.
    """
    if excluded is None:
        return None
    return [
        a if isinstance(a, np.ndarray) and a.dtype == np.int64 and a.ndim == 1 else _check_integers(a) for a in excluded
    ]


def map_distinct(arrays: Sequence[NDArray[np.int64]], make: Callable[[NDArray[np.int64]], Made]) -> list[Made]:
    """Return what each array becomes; one that serves several queries becomes one, so that its cost stays shared."""
    distinct = {id(array): array for array in arrays}
    made = {key: make(array) for key, array in distinct.items()}
    return [made[id(array)] for array in arrays]


def identity_runs(values: Sequence[Made]) -> list[tuple[Made, slice]]:
    """Return successive values that are one object, as all that one user excludes is, and where they stand."""
    starts = [q for q in range(len(values)) if q == 0 or values[q] is not values[q - 1]]
    return [(values[a], slice(a, b)) for a, b in pairwise([*starts, len(values)])]


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


def search_by_topic(request: SearchRequest, answer: Callable[[int, SearchRequest], Hits]) -> Hits:
    """Answer a request topic by topic; ``answer`` gets a topic and the queries that it restricts."""
    if len(request.query_QD) == 0:
        return empty_hits(0, request.max_limit, request.log_sums)
    if request.topic_Q is None:
        return answer(ANY_TOPIC, request)
    topic_Q = request.topic_Q
    return search_in_groups(request, [(t, np.flatnonzero(topic_Q == t)) for t in sorted(set(topic_Q.tolist()))], answer)


def search_in_groups(
    request: SearchRequest, parts: Sequence[tuple[Key, NDArray[np.int64]]], answer: Callable[[Key, SearchRequest], Hits]
) -> Hits:
    """Answer a request in parts, each of which has a key and the queries that share it."""
    if len(parts) == 1:
        return answer(parts[0][0], request)
    hits = empty_hits(len(request.query_QD), request.max_limit, request.log_sums)
    for key, where in parts:
        write_hits(hits, where, answer(key, request.select(where)))
    return hits
