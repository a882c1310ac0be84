"""How hard the server searches, as it was tuned when the collection was published.

Searching a collection: one call for the queries that share topic and exclusion, and more where it falls short.

Legend: Q queries · N results asked for · M results fetched.

One more than asked for is fetched: if the last wanted score equals the next, the smaller ids may be among those that
were not fetched, and the search goes deeper. Scores are the server's float32 inner products, for its graph keeps whole
vectors. A graph search under a filter may come back short; how many there are is counted then, and the collection is
searched piece by piece, each so small a share that the server computes every score.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.index.engine import Tuning, tuning_from_record
from multitudes.index.hits import empty_hits, rank_candidates, truncate_hits, write_hits
from multitudes.index.milvus.collection import (
    BUCKETS,
    MAX_RESULTS,
    Collection,
    bucket_filters,
    combine_filters,
    pad_queries,
    search_filter,
)
from multitudes.index.protocol import Hits
from multitudes.index.request import SearchRequest

MIN_DEPTH = 100  # fewer results are searched as hard as so many: the vectors of a request go in one call


class TopicParameters(NamedTuple):
    """How the items of a topic are searched that is so common that the graph is weak under its filter."""

    pieces: int  # parts in which the collection is searched, each a scan; 1: by the graph
    more: int  # candidates beyond those of a search without a filter


_DEFAULT_PARAMETERS = TopicParameters(1, 0)


@dataclass(frozen=True)
class SearchParameters:
    """Candidates that the graph search keeps (``ef``), by depth and by topic."""

    tuning: Tuning
    topics: dict[int, TopicParameters]

    def for_topic(self, topic: int) -> TopicParameters:
        """Return how a topic is searched."""
        return self.topics.get(topic, _DEFAULT_PARAMETERS)

    def ef_for(self, topic: int, limit_Q: NDArray[np.int64], excluded: int) -> NDArray[np.int64]:
        """Return the candidates for so many results.

        In the worst case the results begin behind the excluded items, where more is missed than on average: the depth
        is half as much again. Beyond what was tuned each further result takes one candidate more, for the surplus that
        the recall needs does not grow with the depth; and there are never fewer candidates than results before the
        exclusion. (Measured at 100,000 items, 1,000 excluded: 891 candidates find 0.93 of the best 100 behind them.)
        """
        depth_Q = np.maximum(limit_Q, MIN_DEPTH) + excluded + excluded // 2
        levels = self.tuning.levels
        place_Q = np.minimum(self.tuning.level_positions(depth_Q), len(levels) - 1)
        effort_Q = np.array([level.effort for level in levels])[place_Q]
        beyond_Q = np.maximum(0, depth_Q - levels[-1].depth)
        return np.asarray(np.maximum(effort_Q + beyond_Q, depth_Q + 1) + self.for_topic(topic).more)

    def to_record(self) -> dict[str, Any]:
        """Return the same as JSON has it."""
        common = {str(topic): effort._asdict() for topic, effort in self.topics.items()}
        return {**self.tuning.to_record(), "common_topics": common}


def parameters_from_record(record: dict[str, Any]) -> SearchParameters:
    """Return what ``Effort.record`` returned."""
    common = {int(topic): TopicParameters(**effort) for topic, effort in record["common_topics"].items()}
    return SearchParameters(tuning_from_record(record), common)


_DEEPER = 4  # times as many results, when equal scores reach beyond those fetched
_NOTHING = np.zeros(0, dtype=np.int64)


def search_topic(collection: Collection, effort: SearchParameters, topic: int, request: SearchRequest) -> Hits:
    """Answer the queries of one topic, those with the same exclusion together."""
    hits = empty_hits(len(request.query_QD), request.max_limit, request.log_sums)
    if hits.log_sum_Q is not None:
        hits.log_sum_Q[:] = np.nan
    for excluded, where in _group_by_exclusion(request):
        # Searched equally hard, no query answers otherwise than it would alone.
        ef_Q = effort.ef_for(topic, request.limit_Q[where], len(excluded))
        for ef in np.unique(ef_Q).tolist():
            alike = where[ef_Q == ef]
            part = request.select(alike)
            if part.max_limit:
                group = _Group(
                    collection, search_filter(topic, excluded), effort.for_topic(topic).pieces, ef, excluded, part
                )
                write_hits(hits, alike, group.search())
    return hits


def _group_by_exclusion(request: SearchRequest) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
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
    request: SearchRequest

    def search(self) -> Hits:
        """Return what was found; where that is short of what there is, what a scan of every piece finds."""
        hits = self._search_pieces(self.pieces)
        if (hits.count_Q < self.request.limit_Q).any():
            there = self.collection.count(self.expression)
            if (hits.count_Q < np.minimum(self.request.limit_Q, there)).any():
                hits = self._search_pieces(BUCKETS)
        return hits

    def _search_pieces(self, count: int) -> Hits:
        """Return the best of so many pieces, as deep as equal scores make it necessary."""
        filters = (
            [combine_filters(self.expression, piece) for piece in bucket_filters(count)]
            if count > 1
            else [self.expression]
        )
        fetched = min(self.request.max_limit + 1, MAX_RESULTS)
        while True:
            found = [self._fetch(expression, fetched) for expression in filters]
            if fetched == MAX_RESULTS or not any(_ends_in_tie(rows, fetched, self.request.limit_Q) for rows in found):
                return self._merge(found)
            fetched = min(fetched * _DEEPER, MAX_RESULTS)

    def _fetch(self, expression: str, fetched: int) -> "list[_QueryHits]":
        query_QD = self.request.query_QD
        answers = self.collection.connection.call(
            f"search with {len(query_QD)} vectors",
            lambda client: client.search(
                self.collection.name,
                data=list(pad_queries(query_QD)),
                filter=expression,
                limit=fetched,
                anns_field="vector",
                search_params={"metric_type": "IP", "params": {"ef": max(self.ef, fetched)}},
                consistency_level=self.collection.consistency,
            ),
        )
        return [_query_hits([(hit["id"], hit["distance"]) for hit in answer]) for answer in answers]

    def _merge(self, found: "list[list[_QueryHits]]") -> Hits:
        flat = [(q, rows) for part in found for q, rows in enumerate(part)]
        query = np.concatenate([np.full(len(rows.ids), q) for q, rows in flat])
        ids = np.concatenate([rows.ids for _, rows in flat])
        scores = np.concatenate([rows.scores for _, rows in flat])
        kept = ~np.isin(ids, self.excluded)  # the guarantee; the filter only saves work
        order = np.lexsort((ids, query))
        order = order[kept[order]]
        hits = rank_candidates(
            len(self.request.query_QD), query[order], ids[order], scores[order], self.request.max_limit
        )
        return truncate_hits(hits, self.request.limit_Q)


class _QueryHits(NamedTuple):
    """What one query found, best first."""

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]


def _query_hits(pairs: list[tuple[int, float]]) -> _QueryHits:
    return _QueryHits(
        np.array([i for i, _ in pairs], dtype=np.int64), np.array([s for _, s in pairs], dtype=np.float32)
    )


def _ends_in_tie(rows: list[_QueryHits], fetched: int, limit_Q: NDArray[np.int64]) -> bool:
    """Return whether some answer ends amid scores that equal its last wanted one."""
    return any(
        len(row.scores) == fetched and 0 < limit < fetched and row.scores[limit - 1] == row.scores[-1]
        for row, limit in zip(rows, limit_Q.tolist(), strict=True)
    )
