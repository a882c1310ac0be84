"""The segment for large corpora: inverted lists of codes.

The codes are read into memory (32 bytes an item at 64 dimensions); the vectors stay on disk.
"""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.index.approximate import ApproximateIndex, ApproximateSearch, open_approximate
from multitudes.index.engine import DEFAULT_TARGET, Level, QueryLevels, RecallTarget, StoredEngine, TopicLevel, Tuning
from multitudes.index.inverted_lists import FAISS_FILE, InvertedLists
from multitudes.index.item_table import ItemTable, make_item_table
from multitudes.index.protocol import Hits, Topics
from multitudes.index.request import unfiltered_request
from multitudes.index.scan import scan_in_blocks
from multitudes.index.tuning import ParameterGrid, sample_queries, tune
from multitudes.progress import Progress, silent
from multitudes.seeding import generator

_TRAINING_POINTS_PER_LIST = 64  # FAISS warns below 39 and gains little above 64
_GRAPH_FROM_LISTS = 8192  # from here on items find their list through a graph: every centroid would cost minutes
_ADD_BATCH = 100_000
_CODES = 16  # of 4 bits

_TOPIC_QUERIES, _TOPIC_DEPTH = 64, 50  # to measure the recall within a large topic


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

    Args:
        ids: integers, distinct (n).
        vectors: one row for each id (n, D).
        topics: of the items, in the order of ``ids``.
        queries: held-out user vectors to tune on; see ``tuning.sample_queries``.
        target: the recall to reach, and down to which depth.
        lists: number of inverted lists; by default the power of two nearest to 2·√n.
        seed: of the training sample and of the draw of queries.
        progress: called during the build.

    Raises:
        DataError: a vector or a query is not finite, or ids are repeated.
    """
    table = make_item_table(ids, vectors, topics)
    lists = lists or min(len(table), 2 ** round(np.log2(2 * np.sqrt(len(table)))))
    engine = InvertedLists(_train(table, lists, seed, progress))
    return build_tuned(table, engine, queries, target, seed=seed, progress=progress)


def open_saved(folder: Path, record: dict[str, Any]) -> ApproximateIndex:
    """Open a saved index; see ``open_approximate``."""
    return open_approximate(folder, record, FAISS_FILE, lambda file: InvertedLists(faiss.read_index(file)))


def _train(table: ItemTable, lists: int, seed: int, progress: Progress) -> Any:  # noqa: ANN401 (FAISS has no types)
    faiss.omp_set_num_threads(1)
    coarse = f"IVF{lists}_HNSW32" if lists >= _GRAPH_FROM_LISTS else f"IVF{lists}"
    inverted: Any = faiss.index_factory(
        table.dimension, f"{coarse},PQ{table.dimension}x4fs", faiss.METRIC_INNER_PRODUCT
    )
    inverted.by_residual = True
    inverted.cp.min_points_per_centroid = 1  # no warning on stderr for small corpora
    inverted.pq.cp.min_points_per_centroid = 1
    points = min(len(table), lists * _TRAINING_POINTS_PER_LIST)
    sample = np.sort(generator(seed, "index", "train").choice(len(table), points, replace=False))
    sample = np.resize(sample, max(points, _CODES))  # fewer vectors than codes are repeated

    progress(0, len(table), "lists")
    inverted.train(np.ascontiguousarray(table.vectors_nD[sample]))
    for start in range(0, len(table), _ADD_BATCH):
        inverted.add(np.ascontiguousarray(table.vectors_nD[start : start + _ADD_BATCH]))
        progress(min(start + _ADD_BATCH, len(table)), len(table), "items")
    return inverted


def build_tuned(
    table: ItemTable,
    engine: StoredEngine,
    queries: NDArray[np.float32] | None,
    target: RecallTarget,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> ApproximateIndex:
    """Return an index of an engine tuned on user vectors; see ``sample_queries`` and ``tune``."""
    sample = sample_queries(queries, table, seed)
    untuned = ApproximateSearch(table, engine, Tuning((), target, sample.name, 0, 0))

    def search(query_QD: NDArray[np.float32], level: Level) -> Hits:
        levels = QueryLevels.from_levels([level] * len(query_QD))
        return untuned.rank(unfiltered_request(query_QD, level.depth), levels).hits

    tuning = tune(ParameterGrid(engine.efforts(), engine.proposals), search, table, sample, target, progress)
    tuned = ApproximateSearch(table, engine, tuning)
    large_topics = table.postings.longer_than(target.scanned)
    topics = tuple(_measure_topic(tuned, topic, sample.validation_QD) for topic in large_topics)
    return ApproximateIndex(table, engine, tuning._replace(topics=topics))


def _measure_topic(search: ApproximateSearch, topic: int, query_QD: NDArray[np.float32]) -> TopicLevel:
    """Measure the recall within a topic that is too large to be scanned; if it is too low, the topic is scanned."""
    table, target = search.table, search.tuning.target
    request = unfiltered_request(query_QD[:_TOPIC_QUERIES], min(_TOPIC_DEPTH, target.deepest))
    request = request._replace(topic_Q=np.full(len(request.limit_Q), topic))
    hits = search.search(request)
    truth = scan_in_blocks(request.query_QD, table.items_of(topic), table.topic_vectors(topic), request.max_limit)
    recalls = [np.isin(truth.ids(q), hits.ids(q)).mean() for q in range(len(truth.count_Q))]
    recall = round(float(np.mean(recalls)), 4)
    return TopicLevel(topic, len(table.postings.rows(topic)), recall, recall < target.recall)
