"""Searching a collection: one call for the queries that share topic and exclusion, and more where it falls short.

Legend: Q queries · N results asked for · M results fetched.

One more than asked for is fetched: if the last wanted score equals the next, the smaller ids may be among those that
were not fetched, and the search goes deeper. Scores are the server's float32 inner products, for its graph keeps whole
vectors. A graph search under a filter may come back short; how many there are is counted then, and
the collection is searched piece by piece, each so small a share that the server computes every score.
"""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.index.milvus.collection import MOST_RESULTS, Collection
from multitudes.index.milvus.expressions import BUCKETS, allowed, both, pieces
from multitudes.index.protocol import Hits
from multitudes.index.request import Request, put
from multitudes.index.scan import cut, no_hits, sorted_hits

_DEEPER = 4  # times as many results, when equal scores reach beyond those fetched
_NOTHING = np.zeros(0, dtype=np.int64)


class TopicEffort(NamedTuple):
    """How the items of one topic are searched."""

    pieces: int  # parts in which the collection is searched, each a scan; 1: by the graph
    ef: int


class Effort(NamedTuple):
    """How hard the server searches, tuned when the collection was published."""

    ef: int  # candidates that the graph search keeps
    depth: int  # results for which that is enough
    topics: dict[int, TopicEffort]  # those so common that the graph is weak under their filter

    def pieces(self, topic: int) -> int:
        """Return the parts in which a topic is searched."""
        return self.topics[topic].pieces if topic in self.topics else 1

    def candidates(self, topic: int, excluded: int) -> int:
        """Return the candidates for results up to the depth, when so many ids are excluded.

        In the worst case they are the best, and the results begin behind them. (Measured: what is added to the depth
        has to be added to the candidates, not more.)
        """
        return (self.topics[topic].ef if topic in self.topics else self.ef) + excluded


def search_topic(collection: Collection, effort: Effort, topic: int, request: Request) -> Hits:
    """Answer the queries of one topic, those with the same exclusion together."""
    hits = no_hits(len(request.query_QD), request.width, request.log_sums)
    if hits.log_sum_Q is not None:
        hits.log_sum_Q[:] = np.nan
    for excluded, where in _by_exclusion(request):
        for alike in _by_effort(where, request.limit_Q[where], effort.depth):
            part = request.of(alike)
            if part.width:
                put(hits, alike, _Group(collection, effort, topic, excluded, part).search())
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


def _by_effort(where: NDArray[np.int64], limit_Q: NDArray[np.int64], depth: int) -> list[NDArray[np.int64]]:
    """Return the queries that are searched equally hard, so that none answers otherwise than it would alone."""
    beyond_Q = np.maximum(limit_Q, depth)
    return [where[beyond_Q == limit] for limit in np.unique(beyond_Q)]


class _Group(NamedTuple):
    """Queries that share topic, exclusion and effort."""

    collection: Collection
    effort: Effort
    topic: int
    excluded: NDArray[np.int64]
    request: Request

    def search(self) -> Hits:
        everything = allowed(self.topic, self.excluded)
        parts = self.effort.pieces(self.topic)
        hits = self._ranked([both(everything, piece) for piece in pieces(parts)] if parts > 1 else [everything])
        if (hits.count_Q < self.request.limit_Q).any():
            there = self.collection.count(everything)
            if (hits.count_Q < np.minimum(self.request.limit_Q, there)).any():
                hits = self._ranked([both(everything, piece) for piece in pieces(BUCKETS)])
        return hits

    def _ranked(self, filters: list[str]) -> Hits:
        """Return the best of what passes any of ``filters``, as deep as equal scores make it necessary."""
        fetched = min(self.request.width + 1, MOST_RESULTS)
        while True:
            found = [self._fetch(expression, fetched) for expression in filters]
            if fetched == MOST_RESULTS or not any(_cut(rows, fetched, self.request.limit_Q) for rows in found):
                return self._merged(found)
            fetched = min(fetched * _DEEPER, MOST_RESULTS)

    def _fetch(self, expression: str, fetched: int) -> "list[_Found]":
        query_QD = self.request.query_QD
        ef = self.effort.candidates(self.topic, len(self.excluded)) + max(0, self.request.width - self.effort.depth)
        answers = self.collection.connection.ask(
            f"search with {len(query_QD)} vectors",
            lambda client: client.search(
                self.collection.name,
                data=list(query_QD),
                filter=expression,
                limit=fetched,
                anns_field="vector",
                search_params={"metric_type": "IP", "params": {"ef": max(ef, fetched)}},
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
