"""Approximate search: an engine proposes candidates, their full vectors rank them; the recall holds under every filter.

How deep a query is searched is decided by the rank of its last result among all items, the excluded ones included. That
depth is estimated before the search (``search_depth``) and known after it. A result counts if the search was tuned for
the depth that it turned out to need; otherwise the query is searched again, deeper, and finally scanned.

* Excluded items are filtered out of the ranking, so the queries of all users share engine calls.
* The codes of a topic lie in a list of their own, which is searched whole. A small topic is scanned.

Legend: Q queries · W queries to search now · N results · M proposals · E excluded rows · D dimensions · n items.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.errors import ArtefactError
from multitudes.index import files
from multitudes.index.hits import Ranking, empty_hits, identity_runs, sort_keys, top_filtered, write_hits
from multitudes.index.inverted import ITEM_LISTS, TOPIC_LISTS, InvertedLists, topic_lists, train_lists
from multitudes.index.item_table import ItemTable, are_among, make_item_table
from multitudes.index.protocol import ANY_TOPIC, Hits, Topics
from multitudes.index.scan import paired_inner_products, scan_topic
from multitudes.index.search_depth import DEPTH_TOLERANCE, ScoreDistribution
from multitudes.index.segment import SearchRequest, Segment, search_by_group, search_by_topic, unfiltered_request
from multitudes.index.tuning import (
    DEFAULT_TARGET,
    Level,
    ParameterGrid,
    QueryLevels,
    RecallTarget,
    Tuning,
    sample_queries,
    tune,
    tuning_from_record,
)
from multitudes.progress import Progress, silent

_MAX_ATTEMPTS = 3  # each deeper than the one before; then a scan
_TOPICS, _TOPIC_QUERIES, _TOPIC_DEPTH = 8, 32, 50  # to measure the recall within large topics

Rank = Callable[[NDArray[np.int64], QueryLevels], Ranking]  # queries of a request, and their levels → their ranking


class ApproximateIndex(Segment):
    """A segment behind inverted lists; see ``protocol`` for its guarantees, and ``info()`` for its measured recall."""

    kind = "inverted"

    def __init__(
        self, table: ItemTable, engine: InvertedLists, tuning: Tuning, of_topics: InvertedLists | None = None
    ) -> None:
        super().__init__(table)
        self._engine, self._tuning, self._of_topics = engine, tuning, of_topics
        self._scores = ScoreDistribution(table)

    def info(self) -> dict[str, Any]:
        """Describe the index and how it was tuned."""
        return {**super().info(), "lists": self._engine.efforts()[-1], "tuning": self._tuning.to_record()}

    def save(self, folder: Path) -> None:
        """Write ids, vectors, topics, the lists with their codes, and ``index.json`` into ``folder``."""
        self._engine.save(folder)
        if self._of_topics:
            self._of_topics.save(folder, TOPIC_LISTS)
        files.save_segment(folder, self._table, self.info())

    def _search(self, request: SearchRequest) -> Hits:
        if request.topic_Q is None:
            return self._search_all(request)
        searches = self._search_topics, self._search_all
        return search_by_group(request, request.topic_Q == ANY_TOPIC, lambda is_all, group: searches[is_all](group))

    def _search_topics(self, request: SearchRequest) -> Hits:
        """Search each query in the codes of its topic; scan the topic if it is small or they bring too few."""
        assert request.topic_Q is not None
        size_Q, excluded_Q = np.zeros((2, len(request.limit_Q)), dtype=np.int64)
        for topic in set(request.topic_Q.tolist()):
            row_M, queries = self._table.postings.rows(topic), np.flatnonzero(request.topic_Q == topic)
            size_Q[queries] = len(row_M)
            if request.excluded is not None:
                row_E = [request.excluded[q] for q in queries.tolist()]
                query_E = np.repeat(queries, list(map(len, row_E)))
                excluded_Q += np.bincount(query_E[are_among(row_M, np.concatenate(row_E))], minlength=len(size_Q))
        count_Q = 2 * (request.limit_Q + excluded_Q) + 32  # the least that tuning tries: all codes are compared
        hits = empty_hits(len(request.limit_Q), request.max_limit)
        coded = np.flatnonzero((size_Q > self._tuning.target.scanned) & (count_Q < size_Q) & (request.limit_Q > 0))
        if self._of_topics and len(coded):
            group = request.select(coded)
            list_Q = self._table.postings.topic_T.searchsorted(request.topic_Q[coded])
            proposed_WM = self._of_topics.propose_in(list_Q, group.query_QD, count_Q[coded])
            row_WM, score_WM = self._with_scores(group.query_QD, proposed_WM)
            key_WM = sort_keys(row_WM, score_WM, _is_excluded(row_WM, group))
            write_hits(hits, coded, top_filtered(key_WM, group.limit_Q, group.max_limit).hits)
        short = np.flatnonzero(hits.count_Q < np.minimum(request.limit_Q, size_Q - excluded_Q))
        if len(short):
            write_hits(hits, short, search_by_topic(request.select(short), self._scan))
        return hits

    def _scan(self, topic: int, request: SearchRequest) -> Hits:
        return scan_topic(self._table, topic, *request[:3])

    def _search_all(self, request: SearchRequest) -> Hits:
        """Search all items."""
        limit_Q, excluded_Q = request.limit_Q, request.excluded
        if excluded_Q is None or not any(len(row_E) for row_E, _ in identity_runs(excluded_Q)):
            return self._search_until_deep_enough(
                request, limit_Q.copy(), lambda queries, levels: self.rank(request.select(queries), levels)
            )
        depth_Q = self._scores.estimate_depth(request.query_QD, limit_Q, excluded_Q, self._tuning.heights())
        return self._search_until_deep_enough(request, depth_Q, partial(self._rank_filtered, request, depth_Q))

    def _search_until_deep_enough(self, request: SearchRequest, depth_Q: NDArray[np.int64], rank: Rank) -> Hits:
        """Search each query at its depth, again at the depth that it needed, and finally by a scan."""
        hits = empty_hits(len(request.limit_Q), request.max_limit)
        pending_W = np.flatnonzero(request.limit_Q)
        for _ in range(_MAX_ATTEMPTS):
            pending_W = self._search_once(hits, request, depth_Q, pending_W, rank)
            if len(pending_W) == 0:
                return hits
        write_hits(hits, pending_W, self._scan(ANY_TOPIC, request.select(pending_W)))
        return hits

    def _search_once(
        self, hits: Hits, request: SearchRequest, depth_Q: NDArray[np.int64], pending_W: NDArray[np.int64], rank: Rank
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

    def rank(self, request: SearchRequest, levels: QueryLevels) -> Ranking:
        """Search all items once; the filters of the request are ignored."""
        proposed_QM = self._engine.propose(request.query_QD, levels.effort_Q, levels.proposals_Q)
        row_QM, score_QM = self._with_scores(request.query_QD, proposed_QM)
        key_QN = sort_keys(row_QM, score_QM)[:, : request.max_limit]
        hits = top_filtered(key_QN, request.limit_Q, request.max_limit).hits
        is_short_Q = hits.count_Q < request.limit_Q
        return Ranking(hits, np.where(is_short_Q, levels.depth_Q + 1, request.limit_Q))

    def _rank_filtered(
        self, request: SearchRequest, depth_Q: NDArray[np.int64], queries: NDArray[np.int64], levels: QueryLevels
    ) -> Ranking:
        """Search all items and filter the excluded rows out of the ranking, which is needed down to about ``depth_Q``.

        Codes misplace candidates around the last result, the more the deeper it is. So the proposals are the mean of
        what ``levels`` propose, less the excluded rows, and of what the levels of the limits propose, and as many as
        rows are excluded. (1 M × 64, the best thousand of a user excluded, recall target 0.97: recall 0.978, and 0.959
        without the mean.)
        """
        group, above_Q = request.select(queries), depth_Q[queries] - request.limit_Q[queries]
        unfiltered = self._tuning.levels_for(group.limit_Q)
        count_Q = (unfiltered.proposals_Q + levels.proposals_Q - (levels.depth_Q - unfiltered.depth_Q) + 1) // 2
        count_Q = np.minimum(levels.proposals_Q, count_Q + above_Q)
        proposed_QM = self._engine.propose(group.query_QD, levels.effort_Q, count_Q)
        row_QM, score_QM = self._with_scores(group.query_QD, proposed_QM)
        tuned_depth_Q = (DEPTH_TOLERANCE * levels.depth_Q).astype(np.int64)
        key_QM = sort_keys(row_QM, score_QM, _is_excluded(row_QM, group))[:, : tuned_depth_Q.max()]
        key_QM |= np.arange(key_QM.shape[1]) >= tuned_depth_Q[:, None]
        hits, needed_Q = top_filtered(key_QM, group.limit_Q, request.max_limit)
        is_short_Q = hits.count_Q < group.limit_Q
        return Ranking(hits, np.where(is_short_Q, levels.depth_Q + 1, needed_Q))

    def _with_scores(
        self, query_QD: NDArray[np.float32], row_QM: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the proposed rows, ascending, and their exact scores."""
        row_QM = np.sort(row_QM, axis=1)  # so that the vectors are read in order
        query_QM = np.repeat(np.arange(len(row_QM)), row_QM.shape[1])
        return row_QM, paired_inner_products(query_QD, self._table.vectors_nD, query_QM, row_QM)


def _is_excluded(row_QM: NDArray[np.int64], request: SearchRequest) -> NDArray[np.bool_]:
    """Return for each proposed row whether its query excludes it."""
    is_excluded_QM = np.zeros(row_QM.shape, dtype=np.bool_)
    for row_E, queries in identity_runs(request.excluded or ()):
        is_excluded_QM[queries] = are_among(row_E, row_QM[queries])
    return is_excluded_QM


def build(
    ids: ArrayLike,
    vectors: ArrayLike,
    topics: Topics | None = None,
    *,
    queries: NDArray[np.float32] | None = None,
    target: RecallTarget = DEFAULT_TARGET,
    lists: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> ApproximateIndex:
    """Build inverted lists, and tune the number of probes.

    Ids, vectors, topics and queries are those of ``factory.build_index``. Without a number of lists, ``train_lists``
    chooses one. The seed is that of the training sample and of the draw of queries.

    Raises:
        DataError: a vector or a query is not finite, or ids are repeated.
    """
    table = make_item_table(ids, vectors, topics)
    engine = train_lists(table.vectors_nD, lists, seed, progress)
    return build_tuned(table, engine, queries, target, seed=seed, progress=progress)


def build_tuned(
    table: ItemTable,
    engine: InvertedLists,
    queries: NDArray[np.float32] | None,
    target: RecallTarget,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> ApproximateIndex:
    """Return an index of an engine tuned on user vectors; see ``sample_queries`` and ``tune``."""
    sample = sample_queries(queries, table, seed)
    untuned = ApproximateIndex(table, engine, Tuning((), target, sample.name, 0, 0))

    def search(query_QD: NDArray[np.float32], level: Level) -> Hits:
        levels = QueryLevels.from_levels([level] * len(query_QD))
        return table.rows_to_ids(untuned.rank(unfiltered_request(query_QD, level.depth), levels).hits)

    tuning = tune(ParameterGrid(engine.efforts(), engine.proposals), search, table, sample, target, progress)
    of_topics = topic_lists(table, target.scanned, seed)
    index = ApproximateIndex(table, engine, tuning, of_topics)
    recall = _topic_recall(index, sample.validation_QD[:_TOPIC_QUERIES]) if of_topics else 0.0
    if recall < target.recall:
        return ApproximateIndex(table, engine, tuning)
    return ApproximateIndex(table, engine, tuning._replace(topic_recall=recall), of_topics)


def _topic_recall(index: ApproximateIndex, query_QD: NDArray[np.float32]) -> float:
    """Return the recall in the largest topics."""
    postings, recalls = index._table.postings, []
    for t in np.argsort(-np.diff(postings.offset), kind="stable")[:_TOPICS]:
        topic_Q = np.full(len(query_QD), postings.topic_T[t])
        request = unfiltered_request(query_QD, _TOPIC_DEPTH)._replace(topic_Q=topic_Q)
        found, truth = index._search_topics(request), index._scan(int(topic_Q[0]), request)
        recalls += [np.isin(truth.ids(q), found.ids(q)).mean() for q in range(len(query_QD))]
    return round(float(np.mean(recalls)), 4)


def open_saved(folder: Path, record: dict[str, Any]) -> ApproximateIndex:
    """Open the index that ``record`` describes in a verified folder.

    Raises:
        ArtefactError: the lists were written by another version of FAISS, or do not fit the other files.
    """
    table = files.load_item_table(folder)
    engine = _open_lists(folder, ITEM_LISTS, (len(table), table.dimension))
    try:
        tuning = tuning_from_record(record["tuning"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ArtefactError(f"{folder / files.DESCRIPTION}: 'tuning' is damaged; publish the run again") from None
    most = engine.efforts()[-1], engine.proposals(len(table))[-1]
    if any(level.effort > most[0] or level.proposals > most[1] for level in tuning.levels):
        raise ArtefactError(f"{folder / files.DESCRIPTION}: 'tuning' is not of this engine; publish the run again")
    if tuning.topic_recall is None:
        return ApproximateIndex(table, engine, tuning)
    for name in set(TOPIC_LISTS) - record["files"].keys():
        raise ArtefactError(f"{folder / files.DESCRIPTION}: has no checksum of {name}; publish the run again")
    size_T = np.diff(table.postings.offset)
    of_topics = _open_lists(folder, TOPIC_LISTS, (int(size_T[size_T > tuning.target.scanned].sum()), table.dimension))
    if of_topics.inverted.nlist != len(size_T):
        raise ArtefactError(f"{folder / TOPIC_LISTS[0]}: is of other topics; publish the run again")
    return ApproximateIndex(table, engine, tuning, of_topics)


def _open_lists(folder: Path, names: tuple[str, str], expected: tuple[int, int]) -> InvertedLists:
    """Open lists that must have so many codes and dimensions."""
    try:
        engine = InvertedLists.open(folder, names)
        found = int(engine.inverted.ntotal), int(engine.inverted.d)
    except (RuntimeError, AttributeError) as error:  # it may hold another kind of index
        raise ArtefactError(f"{folder / names[0]}: this FAISS cannot read it: {str(error).splitlines()[0]}") from None
    if found != expected:
        message = f"holds {found[0]:,} codes of {found[1]} dimensions; expected {expected[0]:,} of {expected[1]}"
        raise ArtefactError(f"{folder / names[0]}: {message}; publish the run again")
    return engine
