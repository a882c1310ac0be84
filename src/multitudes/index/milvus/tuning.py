"""Tune the search parameters of a collection on queries of users, against exact search.

Under a filter that keeps less than 7 % of the items the server computes every score, so the recall is 1. Under a filter
that keeps more, the graph search is the weaker, the fewer items are kept (measured at 100,000 items of a factor model:
200 candidates find 0.97 of the best 100 of all items, 400 find 0.93 of the best 100 of a topic of 10 %). Such a topic
is searched in a few pieces below that share; if there would be many pieces, with more candidates.

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
_SCANNED_SHARE = 0.05  # share up to which the server computes every score, with room for shares that grow
_MAX_PIECES = 3
_TOPIC_QUERIES = 64


def tune_collection(
    collection: Collection,
    table: ItemTable,
    queries: NDArray[np.float32] | None,
    target: RecallTarget,
    progress: Progress,
) -> SearchParameters:
    """Return the parameters that reach the target on half of the queries; the other half measures their recall.

    Raises:
        UnavailableError: the graph search does not reach the recall with any number of candidates.
    """
    sample = sample_queries(queries, table, 0)

    def search(query_QD: NDArray[np.float32], level: Level) -> Hits:
        parameters = SearchParameters(_single_level(level, target, sample), {})
        return search_topic(collection, parameters, ANY_TOPIC, unfiltered_request(query_QD, level.depth))

    tuning = tune(ParameterGrid(_EFFORTS, _no_overfetch), search, table, sample, target, progress)
    if not tuning.levels:
        uri = collection.connection.config.uri
        raise UnavailableError(f"{uri}: recall {target.recall} is not reached; raise links or construction")
    used = tuple(level for level in tuning.levels if level.depth >= min(MIN_DEPTH, tuning.levels[-1].depth))
    base = SearchParameters(tuning._replace(levels=used), {})
    topics = {
        topic: _tune_topic(collection, table, sample, base, topic, share) for topic, share in _common_topics(table)
    }
    changed = {topic: parameters for topic, parameters in topics.items() if parameters != base.for_topic(topic)}
    return SearchParameters(base.tuning, changed)


def _no_overfetch(depth: int) -> list[int]:
    """Return as many proposals as results: the server ranks by full vectors."""
    return [depth]


def _tune_topic(
    collection: Collection, table: ItemTable, sample: Sample, base: SearchParameters, topic: int, share: float
) -> TopicParameters:
    """Return the parameters of a common topic: the usual ones if they suffice, a few pieces, or more candidates."""
    query_QD = sample.tuning_QD[:_TOPIC_QUERIES]
    row_M = table.postings.rows(topic)
    depth = min(MIN_DEPTH, len(row_M))
    truth = scan(query_QD, table.ids[row_M], table.vectors_nD[row_M], depth)
    pieces = int(np.ceil(share / _SCANNED_SHARE))
    for more in (0, *_EFFORTS):
        trial = TopicParameters(1, more)
        parameters = SearchParameters(base.tuning, {topic: trial})
        hits = search_topic(collection, parameters, topic, unfiltered_request(query_QD, depth))
        if _recall(hits, truth) >= base.tuning.target.recall:
            return trial
        if pieces <= _MAX_PIECES:
            break
    return TopicParameters(pieces, 0)


def _recall(hits: Hits, truth: Hits) -> float:
    shared = sum(len(np.intersect1d(hits.ids(q), truth.ids(q))) for q in range(len(truth.count_Q)))
    return shared / max(1, int(truth.count_Q.sum()))


def _single_level(level: Level, target: RecallTarget, sample: Sample) -> Tuning:
    """Return a tuning that uses one level at every depth."""
    return Tuning((level._replace(depth=2**62),), target, sample.name, 0, 0)


def _common_topics(table: ItemTable) -> list[tuple[int, float]]:
    """Return the topics that are too common for the server to compute every score, with their shares."""
    share_T = np.diff(table.postings.offset) / len(table)
    return [(int(table.postings.topic_T[t]), float(share_T[t])) for t in np.flatnonzero(share_T > _SCANNED_SHARE)]
