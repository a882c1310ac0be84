"""Inverted lists of FAISS (IVF) with 4-bit product-quantised codes: the engine, and the index of a large corpus on it.

The codes are read into memory (32 bytes an item at 64 dimensions); the vectors stay on disk.

Measured on one core of a busy machine at 1 M × 64 without clusters, 128 lists probed: 4 bits for each dimension take
0.20 ms a query and 8 bits 0.68; with twice as many proposals, 4 bits find the same. Codes of residuals need fewer
proposals than codes of vectors. 4,096 lists are no faster than 2,048; with 100,000 items, 512 lists take a tenth less
time than 1,024. Twelve unrelated vectors with 17 results each take 4.5 ms and one with 200 takes 1.0, at the same
recall; they probe half of all lists, and a BLAS product with as many rows takes 50 ms.

Legend: Q queries · D dimensions · L lists · P probed lists · M proposals.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.index.approximate import ApproximateIndex, open_approximate
from multitudes.index.engine import (
    DEFAULT_TARGET,
    Level,
    QueryLevels,
    RecallTarget,
    StoredEngine,
    TopicLevel,
    Tuning,
    faiss_selector,
)
from multitudes.index.item_table import ItemTable, make_item_table
from multitudes.index.protocol import NO_ID, Hits, Topics
from multitudes.index.request import unfiltered_request
from multitudes.index.scan import scan_in_blocks
from multitudes.index.tuning import ParameterGrid, sample_queries, tune
from multitudes.progress import Progress, silent
from multitudes.seeding import generator

KIND = "inverted"
FAISS_FILE = "inverted.faiss"
_parameters: Any = faiss.SearchParametersIVF  # typed without the keywords that it takes
_NOT_FOUND = np.float32(-1e38)  # FAISS fills with a smaller score
# FAISS scans the lists either list by list, each once for all queries, or query by query, nearest lists first: an early
# high bound then drops most of the later candidates. Both propose the same. (Searches in 1 M × 64, 228 to 304 lists:
# one query takes 1.2 ms query by query and 1.3 list by list; seven take 5.2 and 4.6, twelve 6.1 and 5.0.)
_LIST_BY_LIST, _QUERY_BY_QUERY = 0, 11  # FAISS's numbers
_TRAINING_POINTS_PER_LIST = 64  # FAISS warns below 39 and gains little above 64
_GRAPH_FROM_LISTS = 8192  # from here on items find their list through a graph: every centroid would cost minutes
_ADD_BATCH = 100_000
_CODES = 16  # of 4 bits
_TOPIC_QUERIES, _TOPIC_DEPTH = 64, 50  # to measure the recall within a large topic


class InvertedLists:
    """Inverted lists as an engine; the effort is ``nprobe``, the number of lists to search."""

    kind, file = KIND, FAISS_FILE

    def __init__(self, inverted: Any) -> None:  # noqa: ANN401 (FAISS has no types)
        self.inverted = inverted
        self._centroid_LD = inverted.quantizer.reconstruct_n(0, inverted.nlist)

    def efforts(self) -> Sequence[int]:
        """Return numbers of lists, each about a tenth more than the one before."""
        lists = int(self.inverted.nlist)
        return sorted({int(1.1**power) for power in range(300) if 1.1**power < lists} | {lists})

    def proposals(self, depth: int) -> Sequence[int]:
        """Return twice the depth and more: 4-bit codes misplace many candidates."""
        return [over * depth + 32 for over in (2, 3, 4, 6, 8)]

    def propose(
        self,
        query_QD: NDArray[np.float32],
        levels: QueryLevels,
        count_Q: NDArray[np.int64],
        allowed: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.int64]:
        """Propose the best codes of the lists nearest to each query; see ``Engine.propose``."""
        faiss.omp_set_num_threads(1)  # per thread: a thread that never called it would use every core
        list_QP, score_QP = self._nearest_lists(query_QD, levels.effort_Q)
        is_alone = len(query_QD) == 1
        if is_alone:
            list_QP, score_QP = _sort_lists(list_QP, score_QP)
        # A setting of the index, not of the call; another thread may change it, but both propose the same.
        self.inverted.implem = _QUERY_BY_QUERY if is_alone else _LIST_BY_LIST
        # Search for one more than needed. FAISS keeps an arbitrary one of the candidates that tie with it, and another
        # one in another batch; so all that tie with it are dropped.
        row_QM, code_QM = self._search_lists(query_QD, list_QP, score_QP, int(count_Q.max()) + 1, allowed)
        each_Q = np.arange(len(query_QD))
        last_Q = code_QM[each_Q, count_Q]
        np.copyto(row_QM, NO_ID, where=code_QM <= last_Q[:, None])
        # If most of the candidates are copies of one item, they are not dropped: such a query is searched alone.
        for q in np.flatnonzero((code_QM[each_Q, count_Q // 2] <= last_Q) & (last_Q > _NOT_FOUND)).tolist():
            only_q, count = slice(q, q + 1), int(count_Q[q])
            row_QM[only_q, :count], _ = self._search_lists(
                query_QD[only_q], list_QP[only_q], score_QP[only_q], count, allowed
            )
        return row_QM[:, :-1]

    def _search_lists(
        self,
        query_QD: NDArray[np.float32],
        list_QP: NDArray[np.int64],
        score_QP: NDArray[np.float32],
        count: int,
        allowed: NDArray[np.uint8] | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the rows of the ``count`` best codes in the lists of each query, best first, and the codes' scores."""
        row_QM, code_QM = np.empty((len(query_QD), count), np.int64), np.empty((len(query_QD), count), np.float32)
        assigned, distances, found, rows = (faiss.swig_ptr(a) for a in (list_QP, score_QP, code_QM, row_QM))
        self.inverted.search_preassigned_c(
            len(query_QD), faiss.swig_ptr(query_QD), count, assigned, distances, found, rows, False,
            _parameters(nprobe=list_QP.shape[1], sel=faiss_selector(allowed)),
        )  # fmt: skip
        return row_QM, code_QM

    def _nearest_lists(
        self, query_QD: NDArray[np.float32], effort_Q: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the ``effort_Q`` nearest lists of each query (Q, P), filled with −1, and their centroids' scores."""
        # A separate product for each query, so that it gets the same lists alone and in a batch.
        score_QL = np.matmul(self._centroid_LD, query_QD[:, :, None])[:, :, 0]
        list_QP = np.full((len(query_QD), int(effort_Q.max())), NO_ID)
        for effort in set(effort_Q.tolist()):
            where = np.flatnonzero(effort_Q == effort)
            list_QP[where, :effort] = np.argpartition(score_QL[where], -effort, axis=1)[:, -effort:]
        score_QP = score_QL[np.arange(len(list_QP))[:, None], list_QP]
        # FAISS quantises the codes' scores by the range of these scores, so the fill must not widen it.
        np.copyto(score_QP, score_QP[:, :1], where=list_QP < 0)
        return list_QP, score_QP

    def describe(self) -> dict[str, Any]:
        """Return the number of lists."""
        return {"lists": int(self.inverted.nlist)}

    def shape(self) -> tuple[int, int]:
        """Return the number of codes and the width of the vectors."""
        return int(self.inverted.ntotal), int(self.inverted.d)

    def write(self, path: Path) -> None:
        """Write the lists with their codes."""
        faiss.write_index(self.inverted, str(path))


def _sort_lists(
    list_QP: NDArray[np.int64], score_QP: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Sort the lists of each query by their scores, best first."""
    order_QP = np.argsort(-score_QP, axis=1, kind="stable")
    return np.take_along_axis(list_QP, order_QP, axis=1), np.take_along_axis(score_QP, order_QP, axis=1)


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
    untuned = ApproximateIndex(table, engine, Tuning((), target, sample.name, 0, 0))

    def search(query_QD: NDArray[np.float32], level: Level) -> Hits:
        levels = QueryLevels.from_levels([level] * len(query_QD))
        return untuned.rank(unfiltered_request(query_QD, level.depth), levels).hits

    tuning = tune(ParameterGrid(engine.efforts(), engine.proposals), search, table, sample, target, progress)
    tuned = ApproximateIndex(table, engine, tuning)
    large_topics = table.postings.longer_than(target.scanned)
    topics = tuple(_measure_topic(tuned, topic, sample.validation_QD, target) for topic in large_topics)
    return ApproximateIndex(table, engine, tuning._replace(topics=topics))


def _measure_topic(
    index: ApproximateIndex, topic: int, query_QD: NDArray[np.float32], target: RecallTarget
) -> TopicLevel:
    """Measure the recall within a topic that is too large to be scanned; if it is too low, the topic is scanned."""
    query_QD, limit = query_QD[:_TOPIC_QUERIES], min(_TOPIC_DEPTH, target.deepest)
    ids = index.items_of(topic)
    hits = index.search(query_QD, limit, topic_Q=np.full(len(query_QD), topic))
    truth = scan_in_blocks(query_QD, ids, index.vectors(ids), limit)
    recalls = [np.isin(truth.ids(q), hits.ids(q)).mean() for q in range(len(truth.count_Q))]
    recall = round(float(np.mean(recalls)), 4)
    return TopicLevel(topic, len(ids), recall, recall < target.recall)
