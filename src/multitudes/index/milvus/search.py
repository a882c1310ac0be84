"""Searching a collection: one call for the queries that share topic and exclusion, and more where it falls short.

Legend: Q queries · N results asked for · M results fetched.

One more than asked for is fetched: if the last wanted score equals the next, the smaller ids may be among those that
were not fetched, and the search goes deeper. Scores are the server's float32 inner products, for its graph keeps whole
vectors. A graph search under a filter may come back short; how many there are is counted then, and the collection is
searched piece by piece, each so small a share that the server computes every score.
"""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.index.milvus.collection import MOST_RESULTS, Collection
from multitudes.index.milvus.effort import Effort
from multitudes.index.milvus.expressions import BUCKETS, allowed, both, pieces
from multitudes.index.milvus.length import as_queries
from multitudes.index.protocol import Hits
from multitudes.index.request import Request, put
from multitudes.index.scan import cut, no_hits, sorted_hits

_DEEPER = 4  # times as many results, when equal scores reach beyond those fetched
_NOTHING = np.zeros(0, dtype=np.int64)


def search_topic(collection: Collection, effort: Effort, topic: int, request: Request) -> Hits:
    """Answer the queries of one topic, those with the same exclusion together."""
    hits = no_hits(len(request.query_QD), request.width, request.log_sums)
    if hits.log_sum_Q is not None:
        hits.log_sum_Q[:] = np.nan
    for excluded, where in _by_exclusion(request):
        # Searched equally hard, no query answers otherwise than it would alone.
        ef_Q = effort.candidates(topic, request.limit_Q[where], len(excluded))
        for ef in np.unique(ef_Q).tolist():
            alike = where[ef_Q == ef]
            part = request.of(alike)
            if part.width:
                group = _Group(collection, allowed(topic, excluded), effort.of(topic).pieces, ef, excluded, part)
                put(hits, alike, group.search())
    return hits


def _by_exclusion(request: Request) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return each distinct exclusion with the queries that have it."""
    everyone = np.arange(len(request.query_QD))
    if request.excluded is None:
        return [(_NOTHING, everyone)]
    distinct = {id(array): np.unique(np.asarray(array, dtype=np.int64)) for array in request.excluded}
    where: dict[bytes, list[int]] = defaultdict(list)
    for q, array in enumerate(request.excluded):
        where[distinct[id(array)].tobytes()].append(q)
    return [(np.frombuffer(key, dtype=np.int64), np.array(queries)) for key, queries in where.items()]


class _Group(NamedTuple):
    """Queries that share topic, exclusion and effort."""

    collection: Collection
    expression: str
    pieces: int
    ef: int
    excluded: NDArray[np.int64]
    request: Request

    def search(self) -> Hits:
        """Return what was found; where that is short of what there is, what a scan of every piece finds."""
        hits = self._ranked(self.pieces)
        if (hits.count_Q < self.request.limit_Q).any():
            there = self.collection.count(self.expression)
            if (hits.count_Q < np.minimum(self.request.limit_Q, there)).any():
                hits = self._ranked(BUCKETS)
        return hits

    def _ranked(self, count: int) -> Hits:
        """Return the best of so many pieces, as deep as equal scores make it necessary."""
        filters = [both(self.expression, piece) for piece in pieces(count)] if count > 1 else [self.expression]
        fetched = min(self.request.width + 1, MOST_RESULTS)
        while True:
            found = [self._fetch(expression, fetched) for expression in filters]
            if fetched == MOST_RESULTS or not any(_cut(rows, fetched, self.request.limit_Q) for rows in found):
                return self._merged(found)
            fetched = min(fetched * _DEEPER, MOST_RESULTS)

    def _fetch(self, expression: str, fetched: int) -> "list[_Found]":
        query_QD = self.request.query_QD
        answers = self.collection.connection.ask(
            f"search with {len(query_QD)} vectors",
            lambda client: client.search(
                self.collection.name,
                data=list(as_queries(query_QD)),
                filter=expression,
                limit=fetched,
                anns_field="vector",
                search_params={"metric_type": "IP", "params": {"ef": max(self.ef, fetched)}},
                consistency_level=self.collection.consistency,
            ),
        )
        return [_found([(hit["id"], hit["distance"]) for hit in answer]) for answer in answers]

    def _merged(self, found: "list[list[_Found]]") -> Hits:
        flat = [(q, rows) for part in found for q, rows in enumerate(part)]
        query = np.concatenate([np.full(len(rows.ids), q) for q, rows in flat])
        ids = np.concatenate([rows.ids for _, rows in flat])
        scores = np.concatenate([rows.scores for _, rows in flat])
        kept = ~np.isin(ids, self.excluded)  # the guarantee; the filter only saves work
        order = np.lexsort((ids, query))
        order = order[kept[order]]
        hits = sorted_hits(len(self.request.query_QD), query[order], ids[order], scores[order], self.request.width)
        return cut(hits, self.request.limit_Q)


class _Found(NamedTuple):
    """What one query found, best first."""

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]


def _found(pairs: list[tuple[int, float]]) -> _Found:
    return _Found(np.array([i for i, _ in pairs], dtype=np.int64), np.array([s for _, s in pairs], dtype=np.float32))


def _cut(rows: list[_Found], fetched: int, limit_Q: NDArray[np.int64]) -> bool:
    """Return whether some answer ends amid scores that equal its last wanted one."""
    return any(
        len(row.scores) == fetched and 0 < limit < fetched and row.scores[limit - 1] == row.scores[-1]
        for row, limit in zip(rows, limit_Q.tolist(), strict=True)
    )
