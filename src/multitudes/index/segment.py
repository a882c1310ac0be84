"""An index that never changes, and the arguments of its searches, validated once on entry.

Legend: Q queries · N results · D dimensions · n items.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.errors import UsageError
from multitudes.index.hits import empty_hits, write_hits
from multitudes.index.item_table import ItemTable, as_float32, check_ids, find_rows, select_topics
from multitudes.index.protocol import ANY_TOPIC, Hits, Topics


class SearchRequest(NamedTuple):
    """Q queries with their arguments; see ``Index.search``."""

    query_QD: NDArray[np.float32]
    limit_Q: NDArray[np.int64]
    excluded: Sequence[NDArray[np.int64]] | None  # ids; in a segment rows, which ascend and are distinct
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


def unfiltered_request(query_QD: NDArray[np.float32], limit: int) -> SearchRequest:
    """Return a request for the best of all items."""
    return SearchRequest(query_QD, np.full(len(query_QD), limit), None, None)


def check_request(
    query_QD: ArrayLike,
    limit: int | NDArray[np.int64],
    excluded: Sequence[ArrayLike] | None,
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
    limit_Q = np.minimum(np.maximum(_one_per_query(limit, n, "limits"), 0), items)
    ids = None if excluded is None else [_check_exclusion(each) for each in excluded]
    return SearchRequest(query_QD, limit_Q, ids, None if topic_Q is None else _one_per_query(topic_Q, n, "topics"))


def _check_exclusion(ids: ArrayLike) -> NDArray[np.int64]:
    """Return an exclusion as int64; an int64 array stays the same object. Beyond 2^53, float ids mean other items."""
    if isinstance(ids, np.ndarray) and ids.dtype == np.int64 and ids.ndim == 1:
        return ids
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


def search_by_topic(request: SearchRequest, search: Callable[[int, SearchRequest], Hits]) -> Hits:
    """Search topic by topic; ``search`` gets a topic and the request of its queries."""
    if request.topic_Q is None or len(request.query_QD) == 0:
        return search(ANY_TOPIC, request)
    return search_by_group(request, request.topic_Q, search)


def search_by_group(
    request: SearchRequest,
    group_Q: NDArray[np.int64] | NDArray[np.bool_],
    search: Callable[[int, SearchRequest], Hits],
) -> Hits:
    """Search the queries group by group; ``search`` gets a group and the request of its queries."""
    groups = sorted(set(group_Q.tolist()))
    if len(groups) == 1:
        return search(groups[0], request)
    hits = empty_hits(len(request.query_QD), request.max_limit)
    for group in groups:
        queries = np.flatnonzero(group_Q == group)
        write_hits(hits, queries, search(group, request.select(queries)))
    return hits


class Segment(ABC):
    """An index of a table of items. It never changes; a view of it has *tombstones* of items that were removed since.

    Searches work on the rows of the table, which are in the order of the ids; ``search`` turns rows into ids.
    """

    kind: str

    def __init__(self, table: ItemTable) -> None:
        self._table = table
        self._tombstones: NDArray[np.int64] = np.zeros(0, dtype=np.int64)  # rows, ascending

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int | NDArray[np.int64],
        *,
        excluded: Sequence[NDArray[np.int64]] | None = None,
        topic_Q: NDArray[np.int64] | None = None,
    ) -> Hits:
        """Find the best items of each query; see ``Index.search``."""
        table = self._table
        request = check_request(query_QD, limit, excluded, topic_Q, dimension=table.dimension, items=len(table))
        return table.rows_to_ids(self._search(request._replace(excluded=self._excluded_rows(request))))

    @abstractmethod
    def _search(self, request: SearchRequest) -> Hits:
        """Return the best rows of each query; the request excludes rows, the tombstones among them."""

    def _excluded_rows(self, request: SearchRequest) -> list[NDArray[np.int64]] | None:
        """Return the rows that each query must not find; the queries of one user share an array, once looked up."""
        if request.excluded is None:
            return [self._tombstones] * len(request.limit_Q) if len(self._tombstones) else None
        distinct = {id(ids): ids for ids in request.excluded}
        rows = {key: self._with_tombstones(self._table.rows_of_ids(ids)) for key, ids in distinct.items()}
        return [rows[id(ids)] for ids in request.excluded]

    def _with_tombstones(self, row_E: NDArray[np.int64]) -> NDArray[np.int64]:
        if len(row_E) == 0 or len(self._tombstones) == 0:
            return row_E if len(row_E) else self._tombstones
        both = np.sort(np.concatenate([self._tombstones, row_E]), kind="stable")  # merges the two sorted runs
        return both[np.diff(both, prepend=-1) > 0]

    def without(self, ids: NDArray[np.int64]) -> Self:
        """Return a view without some items; ids that the segment does not hold are ignored."""
        view = copy(self)
        view._tombstones = self._with_tombstones(self._table.rows_of_ids(ids))
        return view

    def removed_ids(self) -> NDArray[np.int64]:
        """Return the ids of the tombstones, ascending."""
        return self._table.ids[self._tombstones]

    def holds(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each id whether the segment holds it."""
        return self._find(ids)[1]

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the float32 vectors of ``ids``, one row each; see ``Index.vectors``."""
        id_n = check_ids(ids)
        row, is_held = self._find(id_n)
        if not is_held.all():
            raise UsageError(f"id {id_n[~is_held][0]} is not in the index of {len(self)} items")
        return self._table.vectors_at(row)

    def _find(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the row of each id, and whether the segment holds it."""
        row, is_held = find_rows(self._table.ids, ids)
        return row, is_held & ~find_rows(self._tombstones, row)[1] if len(self._tombstones) else is_held

    def ids(self) -> NDArray[np.int64]:
        """Return every id, ascending."""
        return np.delete(self._table.ids, self._tombstones) if len(self._tombstones) else self._table.ids

    def items_of(self, topic: int) -> NDArray[np.int64]:
        """Return the ids of a topic, ascending; empty for an unknown topic."""
        row_M = self._table.postings.rows(topic)
        return self._table.ids[row_M[~find_rows(self._tombstones, row_M)[1]]]

    def topics(self) -> Topics:
        """Return the topics of every item, in the order of ``ids()``."""
        topics, n = self._table.postings.topics(len(self._table)), len(self._table)
        return select_topics(*topics, np.delete(np.arange(n), self._tombstones))

    @property
    def dimension(self) -> int:
        """Width of the vectors."""
        return self._table.dimension

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._table) - len(self._tombstones)

    def info(self) -> dict[str, Any]:
        """Describe the index for people and manifests."""
        return {"kind": self.kind, "items": len(self), "dimension": self.dimension}

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the segment into ``folder``; see ``Index.save``."""
