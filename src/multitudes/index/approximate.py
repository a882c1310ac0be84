"""Approximate search: an engine proposes candidates, their full vectors rank them; the recall holds under every filter.

How deep a query is searched is decided by the rank of its last result among all items, the excluded ones included. That
depth is estimated before the search (``search_depth``) and known after it. A result counts if the search was tuned for
the depth that it turned out to need; otherwise the query is searched again, deeper, and finally scanned.

* Few of the best items are excluded (the usual case): they are filtered out of the ranking (post-filter), so the
  queries of all users share engine calls.
* Many of the best are excluded: the engine does not propose them (pre-filter), so it proposes fewer candidates.
* A large topic: items of other topics are filtered out of the ranking. A small topic is scanned.

Legend: Q queries · W queries to search now · N results · M proposals · E excluded rows · D dimensions · n items.
"""

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.errors import ArtefactError
from multitudes.index import files
from multitudes.index.engine import (
    ExcludedRows,
    QueryLevels,
    StoredEngine,
    Tuning,
    tuning_from_record,
)
from multitudes.index.item_table import ItemTable, TableSegment, cache_by_topic
from multitudes.index.protocol import (
    ANY_TOPIC,
    Hits,
    Ranking,
    empty_hits,
    find_rows,
    identity_runs,
    sort_keys,
    top_filtered,
    top_unfiltered,
    write_hits,
)
from multitudes.index.request import (
    SearchRequest,
    check_request,
    map_distinct,
    scan_topic,
    search_by_topic,
    search_in_groups,
)
from multitudes.index.scan import pair_keys, paired_inner_products
from multitudes.index.search_depth import DEPTH_TOLERANCE, ExcludedScores, ScoreDistribution

_MAX_ATTEMPTS = 3  # each deeper than the one before; then a scan

Rank = Callable[[NDArray[np.int64], QueryLevels], Ranking]  # queries of a request, and their levels → their ranking


class ApproximateIndex(TableSegment):
    """A segment behind an engine; see ``protocol`` for its guarantees, and ``info()`` for its measured recall."""

    def __init__(self, table: ItemTable, engine: StoredEngine, tuning: Tuning) -> None:
        super().__init__(table)
        self._engine, self._tuning = engine, tuning
        self._topic_vectors, self._topic_mask = cache_by_topic(table.topic_vectors), cache_by_topic(table.topic_mask)
        self._score_distribution = ScoreDistribution(table)
        self._tombstones = ExcludedRows(table.ids[:0], len(table))

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int | NDArray[np.int64],
        *,
        excluded: Sequence[NDArray[np.int64]] | None = None,
        topic_Q: NDArray[np.int64] | None = None,
    ) -> Hits:
        """Find the best items of each query; see ``Searchable.search``."""
        request = check_request(query_QD, limit, excluded, topic_Q, dimension=self._table.dimension, items=len(self))
        return search_by_topic(request.with_row_exclusions(self._table), self._search_topic)

    def without(self, ids: NDArray[np.int64]) -> "ApproximateIndex":
        """Return a view whose searches do not find some items; see ``Segment.without``."""
        other = copy(self)
        other._tombstones = self._tombstones.with_rows(self._table.rows_of_ids(ids))
        return other

    def info(self) -> dict[str, Any]:
        """Describe the index and how it was tuned."""
        summary = {"kind": self._engine.kind, "items": len(self), "dimension": self._table.dimension}
        return {**summary, **self._engine.describe(), "tuning": self._tuning.to_record()}

    def save(self, folder: Path) -> None:
        """Write ids, vectors, topics, the engine's file and ``index.json`` into ``folder``."""
        files.save_item_table(folder, self._table)
        self._engine.write(folder / self._engine.file)
        files.write_description(folder, self.info())

    def _search_topic(self, topic: int, request: SearchRequest) -> Hits:
        if topic == ANY_TOPIC:
            return self._search_all(request)
        if self._tuning.is_scanned(topic, len(self._table.postings.rows(topic))):
            return self._scan_topic(topic, request)
        groups = [
            (rows, np.arange(queries.start, queries.stop))
            for rows, queries in identity_runs(self._excluded_rows(request))
        ]
        return search_in_groups(request, groups, partial(self._search_large_topic, topic))

    def _scan_topic(self, topic: int, request: SearchRequest) -> Hits:
        excluded = [rows.row_E for rows in self._excluded_rows(request)]
        return scan_topic(self._table, self._topic_vectors, topic, request._replace(excluded=excluded))

    def _search_large_topic(self, topic: int, excluded: ExcludedRows, request: SearchRequest) -> Hits:
        """Search a topic that is not scanned, for queries with the same exclusion."""
        depth_Q = self._depth_in_topic(request.limit_Q, len(self._table.postings.rows(topic)))
        rank = partial(self._rank_within_topic, topic, request, excluded)
        return self._search_until_deep_enough(topic, request, depth_Q, rank)

    def _search_all(self, request: SearchRequest) -> Hits:
        """Search all items."""
        excluded_Q = self._excluded_rows(request)
        if not any(len(rows.row_E) for rows, _ in identity_runs(excluded_Q)):
            rank = partial(self._rank_unfiltered, request)
            return self._search_until_deep_enough(ANY_TOPIC, request, request.limit_Q.copy(), rank)
        scores = ExcludedScores.compute(self._table, request.query_QD, [rows.row_E for rows in excluded_Q])
        depth_Q = scores.estimate_depth(
            self._score_distribution, self._tuning.levels, request.query_QD, request.limit_Q
        )
        hits = empty_hits(len(depth_Q), request.max_limit)
        # At most one level deeper, post-filtering takes less than twice as many proposals.
        near_Q = self._tuning.level_positions(depth_Q) <= self._tuning.level_positions(request.limit_Q) + 1
        postfilter = partial(self._rank_postfiltered, request, excluded_Q, depth_Q - request.limit_Q)
        near = np.flatnonzero(near_Q & (request.limit_Q > 0))
        too_shallow = self._search_once(hits, request, depth_Q, near, postfilter)
        pending_W = np.sort(np.concatenate([too_shallow, np.flatnonzero(~near_Q)]))
        for rows, run in identity_runs([excluded_Q[q] for q in pending_W.tolist()]):
            queries = pending_W[run]
            group = request.select(queries)
            prefilter = partial(self._rank_prefiltered, group, scores.select(queries), rows)
            write_hits(hits, queries, self._search_until_deep_enough(ANY_TOPIC, group, depth_Q[queries], prefilter))
        return hits

    def _search_until_deep_enough(
        self, topic: int, request: SearchRequest, depth_Q: NDArray[np.int64], rank: Rank
    ) -> Hits:
        """Search each query at its depth, again at the depth that it needed, and finally by a scan."""
        hits = empty_hits(len(request.limit_Q), request.max_limit)
        pending_W = np.flatnonzero(request.limit_Q)
        for _ in range(_MAX_ATTEMPTS):
            pending_W = self._search_once(hits, request, depth_Q, pending_W, rank)
            if len(pending_W) == 0:
                return hits
        write_hits(hits, pending_W, self._scan_topic(topic, request.select(pending_W)))
        return hits

    def _search_once(
        self,
        hits: Hits,
        request: SearchRequest,
        depth_Q: NDArray[np.int64],
        pending_W: NDArray[np.int64],
        rank: Rank,
    ) -> NDArray[np.int64]:
        """Search each pending query once, at its depth; return the queries for which that was too shallow.

        Writes the results of the others into ``hits``, and the depth that each query needed into ``depth_Q``.
        """
        is_zero_W = ~request.query_QD[pending_W].any(axis=1)  # all items tie: the engine would propose any of them
        too_shallow = [pending_W[is_zero_W]]
        for levels, queries in self._tuning.group_queries(depth_Q, pending_W[~is_zero_W]):
            if levels is None:
                too_shallow.append(queries)
                continue
            found, depth_Q[queries] = rank(queries, levels)
            is_complete = found.count_Q >= request.limit_Q[queries]
            is_complete &= depth_Q[queries] <= DEPTH_TOLERANCE * levels.depth_Q
            write_hits(hits, queries[is_complete], found.select(np.flatnonzero(is_complete)))
            too_shallow.append(queries[~is_complete])
        return np.concatenate(too_shallow)

    def _excluded_rows(self, request: SearchRequest) -> list[ExcludedRows]:
        """Return the excluded rows of each query, with the tombstones; the vectors of one user share an object."""
        if request.excluded is None:
            return [self._tombstones] * len(request.limit_Q)
        return map_distinct(request.excluded, self._tombstones.with_rows)

    def _depth_in_topic(self, limit_Q: NDArray[np.int64], size: int) -> NDArray[np.int64]:
        """Return the depths at which a topic of ``size`` items, spread evenly over the ranking, has the results."""
        return np.asarray(np.ceil((limit_Q + 2 * np.sqrt(limit_Q)) * len(self._table) / size), dtype=np.int64)

    def rank(
        self,
        request: SearchRequest,
        levels: QueryLevels,
        count_Q: NDArray[np.int64] | None = None,
        allowed: NDArray[np.uint8] | None = None,
    ) -> Ranking:
        """Search all items, or the allowed ones, once; the filters of the request are ignored."""
        row_QM, score_QM = self._propose(request.query_QD, levels, count_Q, allowed)
        hits = top_unfiltered(sort_keys(row_QM, score_QM, row_QM < 0), request.limit_Q, request.max_limit)
        is_short_Q = hits.count_Q < request.limit_Q
        return self._with_ids(Ranking(hits, np.where(is_short_Q, levels.depth_Q + 1, request.limit_Q)))

    def _rank_unfiltered(self, request: SearchRequest, queries: NDArray[np.int64], levels: QueryLevels) -> Ranking:
        return self.rank(request.select(queries), levels)

    def _rank_postfiltered(
        self,
        request: SearchRequest,
        excluded_Q: Sequence[ExcludedRows],
        above_Q: NDArray[np.int64],
        queries: NDArray[np.int64],
        levels: QueryLevels,
    ) -> Ranking:
        """Search all items and filter the excluded rows out of the ranking; about ``above_Q`` of them are expected."""
        group = request.select(queries)
        count_Q = _proposal_counts(levels, self._tuning.levels_for(group.limit_Q)) + above_Q[queries]
        row_QM, score_QM = self._propose(group.query_QD, levels, np.minimum(levels.proposals_Q, count_Q))
        tuned_depth_Q = (DEPTH_TOLERANCE * levels.depth_Q).astype(np.int64)
        is_excluded_QM = _is_excluded(row_QM, [excluded_Q[q] for q in queries.tolist()])
        key_QM = sort_keys(row_QM, score_QM, is_excluded_QM)[:, : tuned_depth_Q.max()]
        key_QM |= np.arange(key_QM.shape[1]) >= tuned_depth_Q[:, None]
        hits, depth_Q = top_filtered(key_QM, group.limit_Q, request.max_limit)
        is_short_Q = hits.count_Q < group.limit_Q
        return self._with_ids(Ranking(hits, np.where(is_short_Q, levels.depth_Q + 1, depth_Q)))

    def _rank_prefiltered(
        self,
        request: SearchRequest,
        scores: ExcludedScores,
        excluded: ExcludedRows,
        queries: NDArray[np.int64],
        levels: QueryLevels,
    ) -> Ranking:
        """Search as much of the corpus as without the exclusion, but only for rows that are not excluded."""
        group = request.select(queries)
        count_Q = _proposal_counts(levels, self._tuning.levels_for(group.limit_Q))
        hits = self.rank(group, levels, count_Q, excluded.allowed_bits).hits
        depth_Q = scores.select(queries).search_depth(hits.score_QN, group.limit_Q)
        is_short_Q = hits.count_Q < group.limit_Q
        return Ranking(hits, np.where(is_short_Q, np.maximum(depth_Q, levels.depth_Q + 1), depth_Q))

    def _rank_within_topic(
        self,
        topic: int,
        request: SearchRequest,
        excluded: ExcludedRows,
        queries: NDArray[np.int64],
        levels: QueryLevels,
    ) -> Ranking:
        """Search all items and filter other topics and the excluded rows out of the ranking."""
        group = request.select(queries)
        row_QM, score_QM = self._propose(group.query_QD, levels)
        is_removed_QM = ~self._topic_mask(topic)[row_QM]
        is_removed_QM |= find_rows(excluded.row_E, row_QM)[1]
        hits, depth_Q = top_filtered(sort_keys(row_QM, score_QM, is_removed_QM), group.limit_Q, request.max_limit)
        is_short_Q = hits.count_Q < group.limit_Q
        # The missing results are taken to be as sparse below the proposals as the results are among them.
        sparse_depth_Q = (row_QM >= 0).sum(axis=1) * (group.limit_Q + 1) // (hits.count_Q + 1)
        needed_Q = np.where(is_short_Q, np.maximum(sparse_depth_Q, levels.depth_Q + 1), depth_Q)
        return self._with_ids(Ranking(hits, needed_Q))

    def _propose(
        self,
        query_QD: NDArray[np.float32],
        levels: QueryLevels,
        count_Q: NDArray[np.int64] | None = None,
        allowed: NDArray[np.uint8] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the rows that the engine proposes and their exact scores; ``count_Q`` defaults to the levels'."""
        row_QM = self._engine.propose(query_QD, levels, levels.proposals_Q if count_Q is None else count_Q, allowed)
        row_QM.sort(axis=1)  # so that the vectors are read in order
        return row_QM, self._rescore(query_QD, row_QM)

    def _rescore(self, query_QD: NDArray[np.float32], row_QM: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the exact scores of rows that ascend; the fill, which comes first, scores minus infinity."""
        score_QM = np.full(row_QM.shape, -np.inf, dtype=np.float32)
        for query_D, row_M, score_M in zip(query_QD, row_QM, score_QM, strict=True):
            first = int(row_M.searchsorted(0))
            score_M[first:] = paired_inner_products(query_D, self._table.vectors_at(row_M[first:]))
        return score_QM

    def _with_ids(self, ranking: Ranking) -> Ranking:
        """Replace the rows by their ids."""
        return ranking._replace(hits=self._table.rows_to_ids(ranking.hits))


def open_approximate(
    folder: Path, record: dict[str, Any], file: str, read: Callable[[str], StoredEngine]
) -> ApproximateIndex:
    """Open the index that ``record`` describes in a verified folder; ``read`` opens the engine's file.

    Raises:
        ArtefactError: the file was written by another version of the engine, or does not fit the other files.
    """
    table = files.load_item_table(folder)
    try:
        engine = read(str(folder / file))
        items, width = engine.shape()
    except (RuntimeError, AttributeError) as error:  # it may hold another kind of index
        raise ArtefactError(f"{folder / file}: this FAISS cannot read it: {str(error).splitlines()[0]}") from None
    if (items, width) != (len(table), table.dimension):
        found = f"{items:,} codes of {width} dimensions; expected {len(table):,} of {table.dimension}"
        raise ArtefactError(f"{folder / file}: holds {found}; publish the run again")
    try:
        tuning = tuning_from_record(record["tuning"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ArtefactError(f"{folder / files.DESCRIPTION}: 'tuning' is damaged; publish the run again") from None
    if any(level.effort > engine.efforts()[-1] for level in tuning.levels):
        raise ArtefactError(f"{folder / files.DESCRIPTION}: 'tuning' is not of this engine; publish the run again")
    return ApproximateIndex(table, engine, tuning)


def _proposal_counts(levels: QueryLevels, unfiltered: QueryLevels) -> NDArray[np.int64]:
    """Return the number of proposals needed if the excluded rows take no place among them.

    Codes misplace candidates around the last result, the more the deeper it is. So this is the mean of what ``levels``
    propose, less the excluded rows, and of what the ``unfiltered`` levels of the limits propose. (1 M × 64, the best
    thousand of a user excluded, recall target 0.97: recall 0.978, and 0.959 with the ``unfiltered`` proposals.)
    """
    return (unfiltered.proposals_Q + levels.proposals_Q - (levels.depth_Q - unfiltered.depth_Q) + 1) // 2


def _is_excluded(row_QM: NDArray[np.int64], excluded_Q: Sequence[ExcludedRows]) -> NDArray[np.bool_]:
    """Return for each proposed row, ascending, whether its query excludes it; one look-up for all queries."""
    runs = identity_runs(excluded_Q)
    user_Q = np.repeat(np.arange(len(runs)), [queries.stop - queries.start for _, queries in runs])
    user_E = np.repeat(np.arange(len(runs)), [len(rows.row_E) for rows, _ in runs])
    row_E = np.concatenate([rows.row_E for rows, _ in runs])
    return find_rows(pair_keys(user_E, row_E), pair_keys(user_Q[:, None], row_QM))[1]
