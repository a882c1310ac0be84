"""How hard the server has to search, found on queries of users against exact search.

A filter that keeps less than 7 % of the items makes the server compute every score, so its recall is 1; under one that
keeps more, the graph is the weaker the less is kept (measured at 100,000 items of a factor model: 200 candidates find
0.97 of the best 100 of all, 400 find 0.93 of those of a topic of 10 %). Such a topic is searched in a few pieces below
that share, or, where there would be many of them, with more candidates.

Legend: Q queries · D dimensions.
"""

import numpy as np
from numpy.typing import NDArray

from multitudes.errors import UnavailableError
from multitudes.index.milvus.collection import Collection
from multitudes.index.milvus.effort import SHALLOWEST, Effort, TopicEffort
from multitudes.index.milvus.search import search_topic
from multitudes.index.protocol import ANY_TOPIC, Hits
from multitudes.index.request import unfiltered
from multitudes.index.rows import Rows
from multitudes.index.scan import scan
from multitudes.index.tuning import Choice, Level, Promise, Sample, Tuning, sample, tune
from multitudes.progress import Progress

_EFFORTS = [int(16 * 1.25**step) for step in range(33)]  # 16 … 20,194 candidates; the server takes 32,768
_SCANNED = 0.05  # share below which the server computes every score, with room for shares that grow
_MOST_PIECES = 3
_TOPIC_QUERIES = 64


def tuned(
    collection: Collection, rows: Rows, queries: NDArray[np.float32] | None, promise: Promise, progress: Progress
) -> Effort:
    """Return the effort that keeps the promise on half of the queries; its levels say what the other half measured.

    Raises:
        UnavailableError: the graph does not reach the recall, however many candidates it keeps.
    """
    some = sample(queries, rows, 0)

    def ranked(query_QD: NDArray[np.float32], level: Level) -> Hits:
        effort = Effort(_only(level, promise, some), {})
        return search_topic(collection, effort, ANY_TOPIC, unfiltered(query_QD, level.depth))

    tuning = tune(Choice(_EFFORTS, _spared), ranked, rows, some, promise, progress)
    if not tuning.levels:
        where = collection.connection.config.uri
        raise UnavailableError(f"{where}: recall {promise.recall} is not reached; raise links or construction")
    used = tuple(level for level in tuning.levels if level.depth >= min(SHALLOWEST, tuning.levels[-1].depth))
    tuning = tuning._replace(levels=used)
    effort = Effort(tuning, {})
    common = {topic: _of_topic(collection, rows, some, effort, topic, share) for topic, share in _common(rows)}
    return Effort(tuning, {topic: found for topic, found in common.items() if found != effort.of(topic)})


def _spared(depth: int) -> list[int]:
    """Return as many proposals as results: the server ranks by whole vectors."""
    return [depth]


def _of_topic(
    collection: Collection, rows: Rows, some: Sample, effort: Effort, topic: int, share: float
) -> TopicEffort:
    """Return how a common topic is searched: as everything is, if that does; in few pieces; or with more candidates."""
    query_QD = some.tuned_QD[:_TOPIC_QUERIES]
    row_M = rows.postings.rows(topic)
    depth = min(SHALLOWEST, len(row_M))
    truth = scan(query_QD, rows.ids[row_M], rows.vectors_nD[row_M], depth)
    pieces = int(np.ceil(share / _SCANNED))
    for more in (0, *_EFFORTS):
        found = TopicEffort(1, more)
        hits = search_topic(collection, Effort(effort.tuning, {topic: found}), topic, unfiltered(query_QD, depth))
        if _recall(hits, truth) >= effort.tuning.promise.recall:
            return found
        if pieces <= _MOST_PIECES:
            break
    return TopicEffort(pieces, 0)


def _recall(found: Hits, truth: Hits) -> float:
    shared = sum(len(np.intersect1d(found.ids(q), truth.ids(q))) for q in range(len(truth.count_Q)))
    return shared / max(1, int(truth.count_Q.sum()))


def _only(level: Level, promise: Promise, some: Sample) -> Tuning:
    """Return a tuning of one level, for trying it: at any depth, its effort."""
    return Tuning((level._replace(depth=2**62),), promise, some.name, 0, 0)


def _common(rows: Rows) -> list[tuple[int, float]]:
    """Return the topics that are too common for the server to compute every score, with their shares."""
    share_T = np.diff(rows.postings.offset) / len(rows)
    return [(int(rows.postings.topic_T[t]), float(share_T[t])) for t in np.flatnonzero(share_T > _SCANNED)]
