"""The segment for large corpora: FAISS inverted lists of 4-bit codes, tuned, and ranked by the full vectors.

Legend: Q queries · n items · D dimensions · L lists · P probed lists · M proposals.

Measured on one core of a busy machine at 1 M × 64 without clusters, 128 lists probed: 4 bits for each dimension take
0.20 ms a query and 8 bits 0.68, and with twice as many proposals they find the same. Codes of residuals need fewer
proposals than codes of vectors. 4,096 lists are no faster than 2,048, and of 100,000 items 512 take a tenth less than
1,024. Twelve unrelated vectors of 17 results take 4.5 ms and one of 200 takes 1.0, tuned alike; they probe half of all
lists, and a BLAS product with as many rows takes 50.
The codes are read into memory (32 bytes an item at 64 dimensions); the vectors stay on disk.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.index import approximate
from multitudes.index.approximate import ApproximateIndex
from multitudes.index.exclusions import faiss_selector
from multitudes.index.item_table import ItemTable, make_item_table
from multitudes.index.protocol import NO_ID, Topics
from multitudes.index.tuning import DEFAULT_TARGET, QueryLevels, RecallTarget
from multitudes.progress import Progress, silent
from multitudes.seeding import generator

KIND = "inverted"
FAISS_FILE = "inverted.faiss"
_parameters: Any = faiss.SearchParametersIVF  # typed without the keywords that it takes
_TRAINING_POINTS_PER_LIST = 64  # FAISS warns below 39 and gains little above 64
_GRAPH_FROM_LISTS = 8192  # from here on items find their list through a graph: every centroid would cost minutes
_ADD_BATCH = 100_000
_CODES = 16  # of 4 bits
# Many queries walk together through each list; few walk one after the other through their own, the nearest first: a
# bound that is high early drops most of what follows. Both propose the same. (Seven queries, 142 of 1,024 lists: 0.34
# ms in place of 0.41 together; of 256, seven take 0.33 together, and 0.30 to 0.44 by how much of the cache is theirs.)
_FEW, _TOGETHER, _ONE_BY_ONE = 64, 0, 11  # the last two are FAISS's numbers


class InvertedLists:
    """The inverted lists as an engine: effort is the number of lists that are probed."""

    kind, file = KIND, FAISS_FILE

    def __init__(self, inverted: Any) -> None:  # noqa: ANN401 (FAISS has no types)
        self.inverted = inverted
        self._centroid_LD = inverted.quantizer.reconstruct_n(0, inverted.nlist)

    def efforts(self) -> Sequence[int]:
        """Return numbers of lists, each a tenth more than the one before."""
        steps = {int(1.1**power) for power in range(300) if 1.1**power < self.inverted.nlist}
        return sorted(steps | {int(self.inverted.nlist)})

    def proposals(self, depth: int) -> Sequence[int]:
        """Return twice the depth and more: 4 bits misplace much."""
        return [over * depth + 32 for over in (2, 3, 4, 6, 8)]

    def propose(
        self,
        query_QD: NDArray[np.float32],
        walk: QueryLevels,
        wanted_Q: NDArray[np.int64],
        among: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.int64]:
        """Return the rows of the best codes in as many lists nearest to each query as its effort is."""
        faiss.omp_set_num_threads(1)  # per thread: a thread that never called it would use every core
        list_QP, score_QP = self._nearest_lists(query_QD, walk.effort_Q)
        few = len(query_QD) <= _FEW
        if few:
            list_QP, score_QP = _sort_lists(list_QP, score_QP)
        # Of the index and not of the call, but whichever another thread asks for proposes the same.
        self.inverted.implem = _ONE_BY_ONE if few else _TOGETHER
        # One more than wanted: of those that tie with it FAISS keeps any, and others in another batch.
        row_QM, code_QM = self._search_lists(query_QD, list_QP, score_QP, int(wanted_Q.max()) + 1, among)
        each_Q = np.arange(len(query_QD))
        last_Q = code_QM[each_Q, wanted_Q]
        np.copyto(row_QM, NO_ID, where=code_QM <= last_Q[:, None])
        # Where copies of one item are most of what is proposed they are not left out: each is found alone.
        for q in np.flatnonzero(code_QM[each_Q, wanted_Q // 2] <= last_Q).tolist():
            only_q, wanted = slice(q, q + 1), int(wanted_Q[q])
            row_QM[only_q, :wanted], _ = self._search_lists(
                query_QD[only_q], list_QP[only_q], score_QP[only_q], wanted, among
            )
        return row_QM[:, :-1]

    def _search_lists(
        self,
        query_QD: NDArray[np.float32],
        list_QP: NDArray[np.int64],
        score_QP: NDArray[np.float32],
        most: int,
        among: NDArray[np.uint8] | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the rows of so many best codes of each query in its lists, best first, and what the codes score."""
        row_QM, code_QM = np.empty((len(query_QD), most), np.int64), np.empty((len(query_QD), most), np.float32)
        assigned, distances, found, rows = (faiss.swig_ptr(a) for a in (list_QP, score_QP, code_QM, row_QM))
        self.inverted.search_preassigned_c(
            len(query_QD), faiss.swig_ptr(query_QD), most, assigned, distances, found, rows, False,
            _parameters(nprobe=list_QP.shape[1], sel=faiss_selector(among)),
        )  # fmt: skip
        return row_QM, code_QM

    def _nearest_lists(
        self, query_QD: NDArray[np.float32], effort_Q: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return as many lists (Q, P) as each query's effort, filled with −1, and the scores of their centroids."""
        # A product of its own for each query, so that it gets the same lists alone and in a batch.
        score_QL = np.matmul(self._centroid_LD, query_QD[:, :, None])[:, :, 0]
        list_QP = np.full((len(query_QD), int(effort_Q.max())), NO_ID)
        for effort in set(effort_Q.tolist()):
            where = np.flatnonzero(effort_Q == effort)
            list_QP[where, :effort] = np.argpartition(score_QL[where], -effort, axis=1)[:, -effort:]
        score_QP = score_QL[np.arange(len(list_QP))[:, None], list_QP]
        # Codes are scored in steps that depend on the span of these: the fill stays within it.
        np.copyto(score_QP, score_QP[:, :1], where=list_QP < 0)
        return list_QP, score_QP

    def describe(self) -> dict[str, Any]:
        """Return how many lists there are."""
        return {"lists": int(self.inverted.nlist)}

    def write(self, path: Path) -> None:
        """Write the lists with their codes."""
        faiss.write_index(self.inverted, str(path))


def _sort_lists(
    list_QP: NDArray[np.int64], score_QP: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the lists of each query by their scores, and the fill behind them."""
    order_QP = np.argsort(np.where(list_QP < 0, np.inf, -score_QP), axis=1, kind="stable")
    return np.take_along_axis(list_QP, order_QP, axis=1), np.take_along_axis(score_QP, order_QP, axis=1)


def build(
    ids: ArrayLike,
    vectors: ArrayLike,
    topics: Topics | None = None,
    *,
    queries: NDArray[np.float32] | None = None,
    promise: RecallTarget = DEFAULT_TARGET,
    lists: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> ApproximateIndex:
    """Build, and tune the probes.

    Args:
        ids: integers, distinct.
        vectors: one row for each id.
        topics: of the items, in the order of ``ids``.
        queries: held-out user vectors to tune on; see ``tuning.sample``.
        promise: the recall to be reached, and how far down.
        lists: number of inverted lists; by default the power of two nearest to 2·√n.
        seed: of the training sample and the draw of queries.
        progress: told while it works.

    Raises:
        DataError: vectors or queries not finite, or ids repeated.
    """
    rows = make_item_table(ids, vectors, topics)
    lists = lists or min(len(rows), 2 ** round(np.log2(2 * np.sqrt(len(rows)))))
    engine = InvertedLists(_train(rows, lists, seed, progress))
    return approximate.build_tuned(rows, engine, queries, promise, seed=seed, progress=progress)


def open_saved(folder: Path, record: dict[str, Any]) -> ApproximateIndex:
    """Open a saved index; see ``tuned.opened``."""
    return approximate.open_tuned(folder, record, FAISS_FILE, lambda file: InvertedLists(faiss.read_index(file)))


def _train(rows: ItemTable, lists: int, seed: int, progress: Progress) -> Any:  # noqa: ANN401 (FAISS has no types)
    faiss.omp_set_num_threads(1)
    coarse = f"IVF{lists}_HNSW32" if lists >= _GRAPH_FROM_LISTS else f"IVF{lists}"
    inverted: Any = faiss.index_factory(rows.dimension, f"{coarse},PQ{rows.dimension}x4fs", faiss.METRIC_INNER_PRODUCT)
    inverted.by_residual = True
    inverted.cp.min_points_per_centroid = 1  # small corpora are built too, without a warning on stderr
    inverted.pq.cp.min_points_per_centroid = 1
    wanted = min(len(rows), lists * _TRAINING_POINTS_PER_LIST)
    sample = np.sort(generator(seed, "index", "train").choice(len(rows), wanted, replace=False))
    sample = np.resize(sample, max(wanted, _CODES))  # fewer vectors than codes: again and again
    progress(0, len(rows), "lists")
    inverted.train(np.ascontiguousarray(rows.vectors_nD[sample]))
    for start in range(0, len(rows), _ADD_BATCH):
        inverted.add(np.ascontiguousarray(rows.vectors_nD[start : start + _ADD_BATCH]))
        progress(min(start + _ADD_BATCH, len(rows)), len(rows), "items")
    return inverted
