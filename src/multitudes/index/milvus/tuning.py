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
from multitudes.index.engine import Level, RecallTarget, Tuning
from multitudes.index.item_table import ItemTable
from multitudes.index.milvus.collection import Collection
from multitudes.index.milvus.search import MIN_DEPTH, SearchParameters, TopicParameters, search_topic
from multitudes.index.protocol import ANY_TOPIC, Hits
from multitudes.index.request import unfiltered_request
from multitudes.index.scan import scan
from multitudes.index.tuning import ParameterGrid, Sample, sample_queries, tune
from multitudes.progress import Progress

_EFFORTS = [int(16 * 1.25**step) for step in range(33)]  # 16 … 20,194 candidates; the server takes 32,768
_SCANNED_SHARE = 0.05  # share below which the server computes every score, with room for shares that grow
_MAX_PIECES = 3
_TOPIC_QUERIES = 64


def tune_collection(
    collection: Collection,
    rows: ItemTable,
    queries: NDArray[np.float32] | None,
    promise: RecallTarget,
    progress: Progress,
) -> SearchParameters:
    """Return the effort that keeps the promise on half of the queries; its levels say what the other half measured.

    Raises:
        UnavailableError: the graph does not reach the recall, however many candidates it keeps.
    """
    some = sample_queries(queries, rows, 0)

    def ranked(query_QD: NDArray[np.float32], level: Level) -> Hits:
        effort = SearchParameters(_single_level(level, promise, some), {})
        return search_topic(collection, effort, ANY_TOPIC, unfiltered_request(query_QD, level.depth))

    tuning = tune(ParameterGrid(_EFFORTS, _no_overfetch), ranked, rows, some, promise, progress)
    if not tuning.levels:
        where = collection.connection.config.uri
        raise UnavailableError(f"{where}: recall {promise.recall} is not reached; raise links or construction")
    used = tuple(level for level in tuning.levels if level.depth >= min(MIN_DEPTH, tuning.levels[-1].depth))
    tuning = tuning._replace(levels=used)
    effort = SearchParameters(tuning, {})
    common = {topic: _tune_topic(collection, rows, some, effort, topic, share) for topic, share in _common_topics(rows)}
    return SearchParameters(
        tuning, {topic: found for topic, found in common.items() if found != effort.for_topic(topic)}
    )


def _no_overfetch(depth: int) -> list[int]:
    """Return as many proposals as results: the server ranks by whole vectors."""
    return [depth]


def _tune_topic(
    collection: Collection, rows: ItemTable, some: Sample, effort: SearchParameters, topic: int, share: float
) -> TopicParameters:
    """Return how a common topic is searched: as everything is, if that does; in few pieces; or with more candidates."""
    query_QD = some.tuning_QD[:_TOPIC_QUERIES]
    row_M = rows.postings.rows(topic)
    depth = min(MIN_DEPTH, len(row_M))
    truth = scan(query_QD, rows.ids[row_M], rows.vectors_nD[row_M], depth)
    pieces = int(np.ceil(share / _SCANNED_SHARE))
    for more in (0, *_EFFORTS):
        found = TopicParameters(1, more)
        hits = search_topic(
            collection, SearchParameters(effort.tuning, {topic: found}), topic, unfiltered_request(query_QD, depth)
        )
        if _recall(hits, truth) >= effort.tuning.target.recall:
            return found
        if pieces <= _MAX_PIECES:
            break
    return TopicParameters(pieces, 0)


def _recall(found: Hits, truth: Hits) -> float:
    shared = sum(len(np.intersect1d(found.ids(q), truth.ids(q))) for q in range(len(truth.count_Q)))
    return shared / max(1, int(truth.count_Q.sum()))


def _single_level(level: Level, promise: RecallTarget, some: Sample) -> Tuning:
    """Return a tuning of one level, for trying it: at any depth, its effort."""
    return Tuning((level._replace(depth=2**62),), promise, some.name, 0, 0)


def _common_topics(rows: ItemTable) -> list[tuple[int, float]]:
    """Return the topics that are too common for the server to compute every score, with their shares."""
    share_T = np.diff(rows.postings.offset) / len(rows)
    return [(int(rows.postings.topic_T[t]), float(share_T[t])) for t in np.flatnonzero(share_T > _SCANNED_SHARE)]
