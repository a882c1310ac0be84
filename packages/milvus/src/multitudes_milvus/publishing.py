"""Publish vectors as a collection: build it under a unique name, verify and tune it, then point the alias to it.

A publish that fails leaves the alias unchanged and drops its unfinished collection. One that is killed leaves that
collection behind, and ``expire`` of a later publish drops it.

Search parameters are tuned on queries of users, against exact search. Under a filter that keeps less than 7 % of the
items the server computes every score, so the recall is 1. Under a filter that keeps more, the graph search is the
weaker, the fewer items are kept (measured at 100,000 items of a factor model: 200 candidates find 0.97 of the best 100
of all items, 400 find 0.93 of the best 100 of a topic of 10 %). Such a topic is searched in a few pieces below that
share; if there would be many pieces, with more candidates.

Legend: Q queries · n items · D dimensions.
"""

import time
from datetime import UTC, datetime
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from pymilvus import MilvusClient

from multitudes.errors import UnavailableError
from multitudes.index.item_table import ItemTable, make_item_table
from multitudes.index.protocol import ANY_TOPIC, Hits, Topics
from multitudes.index.scan import scan
from multitudes.index.segment import unfiltered_request
from multitudes.index.tuning import Level, ParameterGrid, RecallTarget, Sample, Tuning, sample_queries, tune
from multitudes.progress import Progress, silent
from multitudes_milvus.collection import Collection, create_collection, insert_batches, make_identity
from multitudes_milvus.config import MilvusConfig
from multitudes_milvus.connection import Connection, deadline
from multitudes_milvus.index import MilvusIndex
from multitudes_milvus.search import MIN_DEPTH, SearchParameters, TopicParameters, search_topic

_POLL_S = 0.2
_RECALL_MARGIN = 0.02  # between the recall on the queries used for tuning, and on others
_NAME = "{alias}_{time:%Y%m%dT%H%M%S%f}_{digest:.8}"


def publish_collection(
    ids: ArrayLike,
    vectors: ArrayLike,
    config: MilvusConfig,
    *,
    topics: Topics | None = None,
    names: pl.DataFrame | None = None,
    queries: NDArray[np.float32] | None = None,
    recall: float = 0.97,
    progress: Progress = silent,
) -> MilvusIndex:
    """Build a collection, load it and tune its search to ``recall``; the alias is not changed.

    ``queries`` are held-out user vectors for tuning and validation (Q, D). See ``IndexKind.build``.

    Raises:
        DataError: a vector is not finite, ids are repeated, or an item has too many topics.
        UnavailableError: the server did not answer, or it took longer than ``publish_timeout_s``.
    """
    del names  # a collection has numbers alone
    table = make_item_table(ids, vectors, topics)
    identity = make_identity(table)
    name = _NAME.format(alias=config.alias, time=datetime.now(UTC), digest=identity.digest)
    building = Connection(config, config.publish_timeout_s)
    try:
        with deadline(config.publish_timeout_s):
            building.call(
                "make a collection", lambda client: create_collection(client, name, config, identity), retry=False
            )
            _insert_items(building, name, table, identity.length, progress)
            _build_graph(building, name, config)
            parameters = _verify_and_tune(Collection(building, name), table, queries, recall, progress)
    except BaseException:
        Collection(Connection(config), name).discard()
        raise
    finally:
        building.close()
    return MilvusIndex(Connection(config), name, identity, parameters)


def _insert_items(connection: Connection, name: str, table: ItemTable, length: float, progress: Progress) -> None:
    sent = 0
    for batch in insert_batches(table, length):
        progress(sent, len(table), "sent to the server")
        # No retry: if the server did receive the first message, every row would be there twice.
        connection.call("insert items", partial(MilvusClient.insert, collection_name=name, data=batch), retry=False)
        sent += len(batch)
    connection.call("flush", lambda client: client.flush(name))
    progress(sent, len(table), "indexing")


def _build_graph(connection: Connection, name: str, config: MilvusConfig) -> None:
    params = MilvusClient.prepare_index_params()
    graph = {"M": config.links, "efConstruction": config.construction}
    params.add_index("vector", index_type="HNSW", index_name="vector", metric_type="IP", params=graph)
    connection.call("index", lambda client: client.create_index(name, params, sync=False))
    while not connection.call("ask for the index", lambda client: _is_indexed(client, name)):
        time.sleep(_POLL_S)
    connection.call("load", lambda client: client.load_collection(name, replica_number=config.replicas))


def _is_indexed(client: MilvusClient, name: str) -> bool:
    """Return whether every row is in the index: "Finished" is reported early, while rows are still being compacted."""
    status = client.describe_index(name, "vector")
    return bool(status["state"] == "Finished" and status["pending_index_rows"] == 0)


def _verify_and_tune(
    collection: Collection, table: ItemTable, queries: NDArray[np.float32] | None, recall: float, progress: Progress
) -> SearchParameters:
    """Check that a collection has every item, tune its search, and check the recall; the collection is warm then."""
    items, uri = collection.count(), collection.connection.config.uri
    if items != len(table):
        raise UnavailableError(f"{uri}: {items} of {len(table)} items have arrived; see the log of the server")
    target = RecallTarget(recall, collection.connection.config.depth, scanned=0)
    parameters = tune_collection(collection, table, queries, target, progress)
    lowest = min(level.checked for level in parameters.tuning.levels)
    if lowest < recall - _RECALL_MARGIN:
        raise UnavailableError(f"{uri}: the recall is {lowest}; expected {recall}; raise construction")
    return parameters


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
        at_every_depth = Tuning((level._replace(depth=2**62),), target, sample.name, 0, 0)
        parameters = SearchParameters(at_every_depth, {})
        return search_topic(collection, parameters, ANY_TOPIC, unfiltered_request(query_QD, level.depth))

    # As many proposals as results: the server ranks by full vectors.
    tuning = tune(ParameterGrid(_EFFORTS, lambda depth: [depth]), search, table, sample, target, progress)
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


def _tune_topic(
    collection: Collection, table: ItemTable, sample: Sample, base: SearchParameters, topic: int, share: float
) -> TopicParameters:
    """Return the parameters of a common topic: the usual ones if they suffice, a few pieces, or more candidates."""
    query_QD = sample.tuning_QD[:_TOPIC_QUERIES]
    row_M = table.postings.rows(topic)
    depth = min(MIN_DEPTH, len(row_M))
    truth = table.rows_to_ids(scan(query_QD, row_M.astype(np.int64), table.vectors_nD[row_M], depth))
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


def _common_topics(table: ItemTable) -> list[tuple[int, float]]:
    """Return the topics that are too common for the server to compute every score, with their shares."""
    share_T = np.diff(table.postings.offset) / len(table)
    return [(int(table.postings.topic_T[t]), float(share_T[t])) for t in np.flatnonzero(share_T > _SCANNED_SHARE)]
