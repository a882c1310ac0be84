"""Requests answered by an engine that proposes candidates, as surely as its tuning says; by a scan where it cannot.

Legend: Q queries · W queries that wait · N results asked for · M proposals · D dimensions · n items.

Every candidate is ranked by its full vector. What is excluded or of another topic is sieved out of the ranking, not out
of the engine's walk, so it is known how deep in the ranking the last result stands: the search counts if it was tuned
for that depth, else the query is searched again, deeper. That holds the recall with filters as without. How deep it
will be is guessed before (``index.depth``), so that one search is nearly always enough. (FAISS's selectors double the
time of a search in 4-bit lists, and do not widen it.)
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from multitudes.index.depth import SLACK, Depths, guessed, plain
from multitudes.index.exact import scan_topic
from multitudes.index.order import Ranking, in_order, kept
from multitudes.index.postings import Kept
from multitudes.index.protocol import ANY_TOPIC, Hits
from multitudes.index.request import Request, by_topic, each_once, put, unfiltered
from multitudes.index.rows import Rows, find_rows
from multitudes.index.scan import no_hits, pair_products
from multitudes.index.spread import Spread
from multitudes.index.tuning import Engine, Level, Promise, TopicLevel, Tuning, sample, tune
from multitudes.progress import Progress, silent

_TURNS = 3  # deeper each time; what is still not found then is scanned for
_TOPIC_QUERIES, _TOPIC_DEPTH = 64, 50  # on which a large topic is checked
_GATHER_BYTES = 16 * 2**20  # vectors of candidates held at once


class Approximate:
    """Rows, an engine that proposes some of them, and how hard it has to try."""

    def __init__(self, rows: Rows, engine: Engine, tuning: Tuning) -> None:
        self.rows, self.engine, self.tuning = rows, engine, tuning
        self._vectors, self._masks = Kept(rows.vectors_of), Kept(rows.mask_of)
        self._spread = Spread(rows)

    def search(self, request: Request) -> Hits:
        """Answer a request. Sums are known for topics that were scanned."""
        return by_topic(request, self._answer)

    def _answer(self, topic: int, request: Request) -> Hits:
        size = len(self.rows) if topic == ANY_TOPIC else len(self.rows.postings.rows(topic))
        if topic != ANY_TOPIC and self.tuning.scans(topic, size):
            return scan_topic(self.rows, self._vectors, topic, request)
        hits = no_hits(len(request.limit_Q), request.width, request.log_sums)
        if hits.log_sum_Q is not None:
            hits.log_sum_Q.fill(np.nan)
        sieved = request._replace(excluded=self._rows_of(request.excluded))
        depths = self._depths(sieved, size)
        waiting_W = np.flatnonzero(request.limit_Q)
        for _ in range(_TURNS):
            if len(waiting_W) == 0:
                return hits
            waiting_W = self._search(topic, sieved, depths, waiting_W, hits)
        if len(waiting_W):
            put(hits, waiting_W, scan_topic(self.rows, self._vectors, topic, request.of(waiting_W)))
        return hits

    def _rows_of(self, excluded: Sequence[NDArray[np.int64]] | None) -> list[NDArray[np.int64]] | None:
        """Return the rows of the excluded ids that are held, ascending; the vectors of one user share an array."""
        return None if excluded is None else each_once(excluded, self._found)

    def _found(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        row, held = find_rows(self.rows.ids, ids)
        row = np.sort(row[held], kind="stable")  # nothing to do where they ascend, as what has gone does
        return row[np.diff(row, prepend=-1) > 0]

    def _depths(self, request: Request, size: int) -> Depths:
        """Guess how deep each query will have to be searched."""
        limit_Q = request.limit_Q
        if size < len(self.rows):  # as dense in the ranking as in the corpus, until a search shows otherwise
            return plain(np.ceil((limit_Q + 2 * np.sqrt(limit_Q)) * len(self.rows) / size).astype(np.int64))
        if request.excluded is None:
            return plain(limit_Q)
        depths = plain(limit_Q)
        for start, stop, row in _runs(request.excluded):
            part = slice(start, stop)
            of = (request.query_QD[part], limit_Q[part], row)
            found = guessed(self.rows, self._spread, self.tuning.levels, *of)
            depths.depth_Q[part], depths.place_Q[part] = found
        return depths

    def _search(
        self, topic: int, request: Request, depths: Depths, waiting_W: NDArray[np.int64], hits: Hits
    ) -> NDArray[np.int64]:
        """Search each waiting query at its depth; return those for which that was not deep enough, and deepen them."""
        still = []
        for level, where in depths.levels(self.tuning.levels, waiting_W):
            if level is None:
                still.append(where)
                continue
            ranking = self.rank(topic, request.of(where), level)
            full = ranking.hits.count_Q >= request.limit_Q[where]
            enough = full & (ranking.depth_Q <= SLACK * level.depth)
            put(hits, where[enough], ranking.hits.rows(np.flatnonzero(enough)))
            depths.depth_Q[where] = depths.place_Q[where] = ranking.depth_Q
            still.append(where[~enough])
        return np.concatenate(still)

    def rank(self, topic: int, request: Request, level: Level) -> Ranking:
        """Search once, at a level; what the request excludes are rows."""
        query_QD, limit_Q = request.query_QD, request.limit_Q
        row_QM = self.engine.propose(query_QD, level.effort, level.proposals)
        row_QM.sort(axis=1)  # read from the front to the back
        out_QM = self._sieve(topic, request, row_QM)
        nothing = np.zeros(row_QM.shape, dtype=np.bool_) if out_QM is None else out_QM
        key_QM = in_order(row_QM, self._scores(query_QD, row_QM), nothing)
        hits, depth_Q = kept(key_QM[:, : request.width] if out_QM is None else key_QM, limit_Q, request.width)
        found_QN = hits.id_QN >= 0  # row numbers so far
        hits.id_QN[found_QN] = self.rows.ids[hits.id_QN[found_QN]]
        short_Q = hits.count_Q < limit_Q
        if short_Q.any():
            depth_Q = np.where(short_Q, _guess(topic, request, level, row_QM, hits.count_Q), depth_Q)
        return Ranking(hits, depth_Q)

    def _scores(self, query_QD: NDArray[np.float32], row_QM: NDArray[np.int64]) -> NDArray[np.float32]:
        score_QM = np.empty(row_QM.shape, dtype=np.float32)
        step = max(1, _GATHER_BYTES // max(1, row_QM.shape[1] * query_QD.shape[1] * 4))
        for start in range(0, len(row_QM), step):
            part = slice(start, start + step)
            score_QM[part] = pair_products(query_QD[part, None], self.rows.vectors_nD[row_QM[part]])
        score_QM[row_QM < 0] = -np.inf
        return score_QM

    def _sieve(self, topic: int, request: Request, row_QM: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Say which proposals the filters take out; None: nothing is filtered."""
        if request.excluded is None and topic == ANY_TOPIC:
            return None
        out_QM = np.zeros(row_QM.shape, dtype=np.bool_) if topic == ANY_TOPIC else ~self._masks.of(topic)[row_QM]
        for start, stop, row in _runs(request.excluded or ()):
            out_QM[start:stop] |= find_rows(row, row_QM[start:stop])[1]
        return out_QM


def _guess(
    topic: int, request: Request, level: Level, row_QM: NDArray[np.int64], count_Q: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the depth to try where too few were kept: what is missing lies as thin below as above."""
    depth_Q = (row_QM >= 0).sum(axis=1) * (request.limit_Q + 1) // (count_Q + 1)
    if topic == ANY_TOPIC and request.excluded is not None:
        depth_Q = np.minimum(depth_Q, 2 * (request.limit_Q + [len(array) for array in request.excluded]))
    return np.asarray(np.maximum(depth_Q, level.depth + 1), dtype=np.int64)


def _runs(excluded: Sequence[NDArray[np.int64]]) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Yield the consecutive queries that exclude the same array: the vectors of one user share it."""
    start = 0
    for stop in range(1, len(excluded) + 1):
        if stop == len(excluded) or excluded[stop] is not excluded[start]:
            yield start, stop, excluded[start]
            start = stop


def tuned(
    rows: Rows,
    engine: Engine,
    queries: NDArray[np.float32] | None,
    promise: Promise,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Approximate:
    """Return the rows with an engine that was tuned on user vectors to keep a promise; see ``tuning.tune``."""
    some = sample(queries, rows, seed)
    untuned = Approximate(rows, engine, Tuning((), promise, some.name, 0, 0))

    def ranked(query_QD: NDArray[np.float32], level: Level) -> Hits:
        return untuned.rank(ANY_TOPIC, unfiltered(query_QD, level.depth), level).hits

    levels = Approximate(rows, engine, tune(engine.efforts(), ranked, rows, some, promise, progress))
    checked = [_checked(levels, topic, some.checked_QD) for topic in rows.postings.longer_than(promise.scanned)]
    return Approximate(rows, engine, levels.tuning._replace(topics=tuple(checked)))


def _checked(index: Approximate, topic: int, query_QD: NDArray[np.float32]) -> TopicLevel:
    """Measure the recall of a topic too large to be scanned each time; it is scanned after all if that falls short."""
    request = unfiltered(query_QD[:_TOPIC_QUERIES], min(_TOPIC_DEPTH, index.tuning.promise.deepest))
    request = request._replace(topic_Q=np.full(len(request.limit_Q), topic))
    found, truth = index.search(request), scan_topic(index.rows, Kept(index.rows.vectors_of, 0), topic, request)
    shares = [np.isin(truth.ids(q), found.ids(q)).mean() for q in range(len(truth.count_Q))]
    recall = round(float(np.mean(shares)), 4)
    return TopicLevel(topic, len(index.rows.postings.rows(topic)), recall, recall < index.tuning.promise.recall)
