"""Requests answered by an engine that proposes candidates, as surely as its tuning says; by a scan where it cannot.

Legend: Q queries · W queries that wait · N results asked for · M proposals · D dimensions · n items.

Every candidate is ranked by its full vector. How far a query is searched is the depth at which its last result stands
among all items, the excluded ones too (``index.depth``): it is guessed, and known when the results are. Where few of
the best are excluded, as a rule, they are sieved out of the ranking, so that the queries of all users are searched
together; where many are, they are left out of the proposals, which are fewer then. What is of another topic is sieved
out. Each way the search counts if it was tuned for the depth it came to, else the query is searched again, deeper. That
holds the recall with filters as without.

The segment that every tuned engine makes: rows, and the engine's own file beside them.

Legend: Q queries · n items · D dimensions.
"""

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from multitudes.errors import ArtefactError
from multitudes.index import files
from multitudes.index.exact import scan_topic
from multitudes.index.exclusions import ExcludedRows, no_exclusions
from multitudes.index.hits import Ranking, empty_hits, sort_keys, top_filtered, top_unfiltered, write_hits
from multitudes.index.item_table import ItemTable, TopicCache, find_rows
from multitudes.index.protocol import ANY_TOPIC, Hits, Topics
from multitudes.index.request import (
    SearchRequest,
    check_request,
    identity_runs,
    map_distinct,
    search_by_topic,
    search_in_groups,
    unfiltered_request,
)
from multitudes.index.scan import pair_keys, paired_inner_products, scan_in_blocks
from multitudes.index.score_distribution import ScoreDistribution
from multitudes.index.search_depth import DEPTH_TOLERANCE, ExcludedScores
from multitudes.index.tuning import (
    Engine,
    Level,
    ParameterGrid,
    QueryLevels,
    RecallTarget,
    TopicLevel,
    Tuning,
    sample_queries,
    tune,
    tuning_from_record,
)
from multitudes.progress import Progress, silent

_MAX_ATTEMPTS = 3  # deeper each time; what is still not found then is scanned for
_GATHER_BYTES = 16 * 2**20  # vectors of candidates held at once


class ApproximateSearch:
    """Rows, an engine that proposes some of them, and how hard it has to try."""

    def __init__(self, rows: ItemTable, engine: Engine, tuning: Tuning) -> None:
        self.rows, self.engine, self.tuning = rows, engine, tuning
        self._vectors, self._masks = TopicCache(rows.topic_vectors), TopicCache(rows.topic_mask)
        self._score_distribution = ScoreDistribution(rows)
        self._tombstones = no_exclusions(len(rows))

    def without(self, ids: NDArray[np.int64]) -> "ApproximateSearch":
        """Return the same for searches that find none of some items."""
        other = copy(self)
        other._tombstones = self._tombstones.with_rows(self.rows.rows_of_ids(ids))
        return other

    def search(self, request: SearchRequest) -> Hits:
        """Answer a request. Sums are known for topics that were scanned."""
        return search_by_topic(request.with_row_exclusions(self.rows), self._search_topic)

    def _search_topic(self, topic: int, request: SearchRequest) -> Hits:
        size = len(self.rows) if topic == ANY_TOPIC else len(self.rows.postings.rows(topic))
        if topic != ANY_TOPIC and self.tuning.scans_topic(topic, size):
            return self._scan_topic(topic, request)
        out_Q = self._exclusions(request)
        if topic == ANY_TOPIC:
            hits = self._search_all(out_Q, request)
        else:
            hits = search_in_groups(request, _group_by_exclusion(out_Q), partial(self._search_within_topic, topic))
        return hits._replace(log_sum_Q=np.full(len(request.limit_Q), np.nan, np.float32)) if request.log_sums else hits

    def _scan_topic(self, topic: int, request: SearchRequest) -> Hits:
        excluded = [out.row_E for out in self._exclusions(request)]
        return scan_topic(self.rows, self._vectors, topic, request._replace(excluded=excluded))

    def _search_all(self, out_Q: Sequence[ExcludedRows], request: SearchRequest) -> Hits:
        """Answer queries for all items but some."""
        if not any(len(out.row_E) for out, _ in identity_runs(out_Q)):
            return self._search_until_deep_enough(
                ANY_TOPIC, request, request.limit_Q.copy(), partial(self._rank_all, request)
            )
        excluded = ExcludedScores.compute(self.rows, request.query_QD, [out.row_E for out in out_Q])
        depth_Q = excluded.estimate_depth(
            self._score_distribution, self.tuning.levels, request.query_QD, request.limit_Q
        )
        hits = empty_hits(len(depth_Q), request.max_limit)
        # Sieved, those of the next level are fewer than twice as many proposals.
        near_Q = self.tuning.level_positions(depth_Q) <= self.tuning.level_positions(request.limit_Q) + 1
        sieve = partial(self._rank_postfiltered, request, out_Q, depth_Q - request.limit_Q)
        still = self._search_once(hits, request, depth_Q, np.flatnonzero(near_Q & (request.limit_Q > 0)), sieve)
        waiting_W = np.sort(np.concatenate([still, np.flatnonzero(~near_Q)]))
        for out, some in identity_runs([out_Q[q] for q in waiting_W.tolist()]):
            where = waiting_W[some]
            asked = request.select(where)
            rank = partial(self._rank_prefiltered, asked, excluded.select(where), out)
            write_hits(hits, where, self._search_until_deep_enough(ANY_TOPIC, asked, depth_Q[where], rank))
        return hits

    def _search_within_topic(self, topic: int, out: ExcludedRows, request: SearchRequest) -> Hits:
        """Answer queries for the items of a large topic but some."""
        depth_Q = self._depth_within_topic(request.limit_Q, len(self.rows.postings.rows(topic)))
        return self._search_until_deep_enough(
            topic, request, depth_Q, partial(self._rank_within_topic, topic, request, out)
        )

    def _search_until_deep_enough(
        self,
        topic: int,
        request: SearchRequest,
        depth_Q: NDArray[np.int64],
        rank: Callable[[NDArray[np.int64], QueryLevels], Ranking],
    ) -> Hits:
        """Search each query at its depth, and deeper while that was not deep enough; in the end by a scan."""
        hits = empty_hits(len(request.limit_Q), request.max_limit)
        waiting_W = np.flatnonzero(request.limit_Q)
        for _ in range(_MAX_ATTEMPTS):
            waiting_W = self._search_once(hits, request, depth_Q, waiting_W, rank)
            if len(waiting_W) == 0:
                return hits
        write_hits(hits, waiting_W, self._scan_topic(topic, request.select(waiting_W)))
        return hits

    def _search_once(
        self,
        hits: Hits,
        request: SearchRequest,
        depth_Q: NDArray[np.int64],
        waiting_W: NDArray[np.int64],
        rank: Callable[[NDArray[np.int64], QueryLevels], Ranking],
    ) -> NDArray[np.int64]:
        """Search each query that waits at its depth, once; return those for which that was not deep enough.

        What the others found is written into ``hits``, and how deep each was into ``depth_Q``.
        """
        tie_W = ~request.query_QD[waiting_W].any(axis=1)  # all items: an engine proposes any of them
        still = [waiting_W[tie_W]]
        for walk, where in self.tuning.group_queries(depth_Q, waiting_W[~tie_W]):
            if walk is None:
                still.append(where)
                continue
            found, depth_Q[where] = rank(where, walk)
            enough = (found.count_Q >= request.limit_Q[where]) & (depth_Q[where] <= DEPTH_TOLERANCE * walk.depth_Q)
            write_hits(hits, where[enough], found.select(np.flatnonzero(enough)))
            still.append(where[~enough])
        return np.concatenate(still)

    def _exclusions(self, request: SearchRequest) -> list[ExcludedRows]:
        """Return what each query excludes, with what has gone; the vectors of one user share it."""
        if request.excluded is None:
            return [self._tombstones] * len(request.limit_Q)
        return map_distinct(request.excluded, self._tombstones.with_rows)

    def _depth_within_topic(self, limit_Q: NDArray[np.int64], size: int) -> NDArray[np.int64]:
        """Return depths as if a topic of so many items were as dense in the ranking as it is in the corpus."""
        return np.asarray(np.ceil((limit_Q + 2 * np.sqrt(limit_Q)) * len(self.rows) / size), dtype=np.int64)

    def rank(
        self,
        request: SearchRequest,
        walk: QueryLevels,
        wanted_Q: NDArray[np.int64] | None = None,
        among: NDArray[np.uint8] | None = None,
    ) -> Ranking:
        """Search all items, or those among some, once; what the request itself filters is ignored."""
        row_QM, score_QM = self._propose(request.query_QD, walk, wanted_Q, among)
        hits = top_unfiltered(sort_keys(row_QM, score_QM, row_QM < 0), request.limit_Q, request.max_limit)
        short_Q = hits.count_Q < request.limit_Q
        return self._with_ids(Ranking(hits, np.where(short_Q, walk.depth_Q + 1, request.limit_Q)))

    def _rank_all(self, request: SearchRequest, where: NDArray[np.int64], walk: QueryLevels) -> Ranking:
        """Search where nothing is filtered."""
        return self.rank(request.select(where), walk)

    def _rank_postfiltered(
        self,
        request: SearchRequest,
        out_Q: Sequence[ExcludedRows],
        above_Q: NDArray[np.int64],
        where: NDArray[np.int64],
        walk: QueryLevels,
    ) -> Ranking:
        """Search all items once, and sieve out what each query leaves out: so many of its best, it is thought."""
        asked = request.select(where)
        wanted_Q = np.minimum(
            walk.proposals_Q, _candidate_counts(walk, self._unfiltered_levels(asked)) + above_Q[where]
        )
        row_QM, score_QM = self._propose(asked.query_QD, walk, wanted_Q)
        deep_Q = (DEPTH_TOLERANCE * walk.depth_Q).astype(np.int64)  # what stands deeper was not tuned for
        out_QM = _is_excluded(row_QM, [out_Q[q] for q in where.tolist()])
        key_QM = sort_keys(row_QM, score_QM, out_QM)[:, : deep_Q.max()]
        key_QM |= np.arange(key_QM.shape[1]) >= deep_Q[:, None]
        hits, depth_Q = top_filtered(key_QM, asked.limit_Q, request.max_limit)
        return self._with_ids(Ranking(hits, np.where(hits.count_Q < asked.limit_Q, walk.depth_Q + 1, depth_Q)))

    def _rank_prefiltered(
        self,
        request: SearchRequest,
        excluded: ExcludedScores,
        out: ExcludedRows,
        where: NDArray[np.int64],
        walk: QueryLevels,
    ) -> Ranking:
        """Search as far as a walk goes, for no more than what is left without the excluded."""
        asked = request.select(where)
        hits = self.rank(asked, walk, _candidate_counts(walk, self._unfiltered_levels(asked)), out.allowed_bits).hits
        depth_W = excluded.select(where).search_depth(hits.score_QN, asked.limit_Q)
        short_W = hits.count_Q < asked.limit_Q
        return Ranking(hits, np.where(short_W, np.maximum(depth_W, walk.depth_Q + 1), depth_W))

    def _unfiltered_levels(self, request: SearchRequest) -> QueryLevels:
        """Return how the queries would be searched if nothing were excluded."""
        return QueryLevels.from_levels(
            [self.tuning.levels[at] for at in self.tuning.level_positions(request.limit_Q).tolist()]
        )

    def _rank_within_topic(
        self, topic: int, request: SearchRequest, out: ExcludedRows, where: NDArray[np.int64], walk: QueryLevels
    ) -> Ranking:
        """Search all items once for those of a topic but some."""
        asked = request.select(where)
        row_QM, score_QM = self._propose(asked.query_QD, walk)
        out_QM = ~self._masks.get(topic)[row_QM]
        out_QM |= find_rows(out.row_E, row_QM)[1]
        hits, depth_Q = top_filtered(sort_keys(row_QM, score_QM, out_QM), asked.limit_Q, request.max_limit)
        short_Q = hits.count_Q < asked.limit_Q
        # Where too few were kept, what is missing lies as thin below as above.
        thin_Q = (row_QM >= 0).sum(axis=1) * (asked.limit_Q + 1) // (hits.count_Q + 1)
        return self._with_ids(Ranking(hits, np.where(short_Q, np.maximum(thin_Q, walk.depth_Q + 1), depth_Q)))

    def _propose(
        self,
        query_QD: NDArray[np.float32],
        walk: QueryLevels,
        wanted_Q: NDArray[np.int64] | None = None,
        among: NDArray[np.uint8] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the rows that the engine proposes, as many as the walk does if not said, and their exact scores."""
        row_QM = self.engine.propose(query_QD, walk, walk.proposals_Q if wanted_Q is None else wanted_Q, among)
        row_QM.sort(axis=1)  # read from the front to the back
        return row_QM, self._rescore(query_QD, row_QM)

    def _with_ids(self, ranking: Ranking) -> Ranking:
        """Put the ids in the place of the rows."""
        return ranking._replace(hits=self.rows.rows_to_ids(ranking.hits))

    def _rescore(self, query_QD: NDArray[np.float32], row_QM: NDArray[np.int64]) -> NDArray[np.float32]:
        score_QM = np.empty(row_QM.shape, dtype=np.float32)
        step = max(1, _GATHER_BYTES // max(1, row_QM.shape[1] * query_QD.shape[1] * 4))
        for start in range(0, len(row_QM), step):
            part = slice(start, start + step)
            score_QM[part] = paired_inner_products(query_QD[part, None], self.rows.vectors_at(row_QM[part]))
        score_QM[row_QM < 0] = -np.inf
        return score_QM


def _candidate_counts(walk: QueryLevels, own: QueryLevels) -> NDArray[np.int64]:
    """Return the proposals for results that are tuned at ``own`` and stand as deep as those of ``walk``.

    What the codes misplace lies around the last result, the more the deeper it stands. (1 M × 64, the best thousand of
    a user excluded, at a promise of 0.97: recall 0.978, and 0.959 with the proposals of ``own``.)
    """
    return (own.proposals_Q + walk.proposals_Q - (walk.depth_Q - own.depth_Q) + 1) // 2


def _is_excluded(row_QM: NDArray[np.int64], out_Q: Sequence[ExcludedRows]) -> NDArray[np.bool_]:
    """Say of each row that queries propose, ascending, whether the query leaves it out; looked up for all at once."""
    each = identity_runs(out_Q)
    user_Q = np.repeat(np.arange(len(each)), [some.stop - some.start for _, some in each])
    user_E = np.repeat(np.arange(len(each)), [len(out.row_E) for out, _ in each])
    row_E = np.concatenate([out.row_E for out, _ in each])
    return find_rows(pair_keys(user_E, row_E), pair_keys(user_Q[:, None], row_QM))[1]


def _group_by_exclusion(out_Q: Sequence[ExcludedRows]) -> list[tuple[ExcludedRows, NDArray[np.int64]]]:
    """Return what queries leave out, and those that leave out the same, which the vectors of one user share."""
    return [(out, np.arange(some.start, some.stop)) for out, some in identity_runs(out_Q)]


_TOPIC_QUERIES, _TOPIC_DEPTH = 64, 50  # on which a large topic is checked


class StoredEngine(Engine, Protocol):
    """An engine that lies in a file of its own."""

    kind: str
    file: str

    def describe(self) -> dict[str, Any]:
        """Return what ``info()`` says of this engine beyond what it says of all."""
        ...

    def write(self, path: Path) -> None:
        """Write the engine's file."""
        ...


class ApproximateIndex:
    """A segment behind an engine; see ``Index`` for the promise that it keeps, ``info()`` for its measured recall."""

    def __init__(self, rows: ItemTable, engine: StoredEngine, tuning: Tuning) -> None:
        self._rows, self._engine = rows, engine
        self._search = ApproximateSearch(rows, engine, tuning)

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int | NDArray[np.int64],
        *,
        excluded: Sequence[NDArray[np.int64]] | None = None,
        topic_Q: NDArray[np.int64] | None = None,
        log_sums: bool = False,
    ) -> Hits:
        """Find the best items of each query; see ``Index.search``. Sums over all items are not known here."""
        return self._search.search(
            check_request(query_QD, limit, excluded, topic_Q, log_sums, dimension=self._rows.dimension, items=len(self))
        )

    def without(self, ids: NDArray[np.int64]) -> "ApproximateIndex":
        """Return the segment for searches that find none of some items; see ``Segment.without``."""
        other = copy(self)
        other._search = self._search.without(ids)
        return other

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of ``ids``."""
        return self._rows.vectors(ids)

    def ids(self) -> NDArray[np.int64]:
        """Return every id, ascending."""
        return self._rows.ids

    def items_of(self, topic: int) -> NDArray[np.int64]:
        """Return the ids of a topic, ascending."""
        return self._rows.items_of(topic)

    def topics(self) -> Topics:
        """Return the topics of every item, in the order of ``ids()``."""
        return self._rows.postings.topics(len(self._rows))

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._rows)

    def info(self) -> dict[str, Any]:
        """Describe the index and how it was tuned."""
        about = {"kind": self._engine.kind, "items": len(self), "dimension": self._rows.dimension}
        return {**about, **self._engine.describe(), "tuning": self._search.tuning.to_record()}

    def save(self, folder: Path) -> None:
        """Write ids, vectors, topics, the engine's file and ``index.json`` into ``folder``."""
        files.save_item_table(folder, self._rows)
        self._engine.write(folder / self._engine.file)
        files.write_description(folder, self.info())


def build_tuned(
    rows: ItemTable,
    engine: StoredEngine,
    queries: NDArray[np.float32] | None,
    promise: RecallTarget,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> ApproximateIndex:
    """Return the rows with an engine that was tuned on user vectors to keep a promise; see ``tuning.tune``."""
    some = sample_queries(queries, rows, seed)
    untuned = ApproximateSearch(rows, engine, Tuning((), promise, some.name, 0, 0))

    def ranked(query_QD: NDArray[np.float32], level: Level) -> Hits:
        return untuned.rank(
            unfiltered_request(query_QD, level.depth), QueryLevels.from_levels([level] * len(query_QD))
        ).hits

    levels = tune(ParameterGrid(engine.efforts(), engine.proposals), ranked, rows, some, promise, progress)
    index = ApproximateSearch(rows, engine, levels)
    checked = [_check_topic(index, topic, some.validation_QD) for topic in rows.postings.longer_than(promise.scanned)]
    return ApproximateIndex(rows, engine, levels._replace(topics=tuple(checked)))


def _check_topic(index: ApproximateSearch, topic: int, query_QD: NDArray[np.float32]) -> TopicLevel:
    """Measure the recall of a topic too large to be scanned each time; it is scanned after all if that falls short."""
    request = unfiltered_request(query_QD[:_TOPIC_QUERIES], min(_TOPIC_DEPTH, index.tuning.promise.deepest))
    request = request._replace(topic_Q=np.full(len(request.limit_Q), topic))
    rows, found = index.rows, index.search(request)
    truth = scan_in_blocks(request.query_QD, rows.items_of(topic), rows.topic_vectors(topic), request.max_limit)
    shares = [np.isin(truth.ids(q), found.ids(q)).mean() for q in range(len(truth.count_Q))]
    recall = round(float(np.mean(shares)), 4)
    return TopicLevel(topic, len(rows.postings.rows(topic)), recall, recall < index.tuning.promise.recall)


def open_tuned(
    folder: Path, record: dict[str, Any], file: str, read: Callable[[str], StoredEngine]
) -> ApproximateIndex:
    """Open the index that ``record`` describes in a verified folder; ``read`` opens the engine's file.

    Raises:
        ArtefactError: the file is of another version of the engine.
    """
    try:
        engine = read(str(folder / file))
    except RuntimeError as error:
        raise ArtefactError(f"{folder / file}: this FAISS cannot read it: {error}") from None
    return ApproximateIndex(files.load_item_table(folder), engine, tuning_from_record(record["tuning"]))
