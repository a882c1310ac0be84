"""The segment for large corpora: FAISS inverted lists (IVF) of 4-bit product-quantised codes.

Legend: Q queries · n items · D dimensions · L lists · P probed lists · M proposals.

Measured on one core of a busy machine at 1 M × 64 without clusters, 128 lists probed: 4 bits for each dimension take
0.20 ms a query and 8 bits 0.68; with twice as many proposals, 4 bits find the same. Codes of residuals need fewer
proposals than codes of vectors. 4,096 lists are no faster than 2,048; with 100,000 items, 512 lists take a tenth less
time than 1,024. Twelve unrelated vectors with 17 results each take 4.5 ms and one with 200 takes 1.0, at the same
recall; they probe half of all lists, and a BLAS product with as many rows takes 50 ms.

The codes are read into memory (32 bytes an item at 64 dimensions); the vectors stay on disk.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.errors import ArtefactError
from multitudes.index import files
from multitudes.index.approximate import ApproximateIndex, open_approximate
from multitudes.index.batch_walk import propose_together
from multitudes.index.engine import DEFAULT_TARGET, QueryLevels, RecallTarget, faiss_selector, geometric_efforts
from multitudes.index.inverted_mixture import MixtureTuning, MixtureWalk, WalkScores
from multitudes.index.item_table import ItemTable, make_item_table
from multitudes.index.list_moments import MOMENT_FILES, ListMoments, Pairs
from multitudes.index.mixture import MixtureQuery, ScoredItems
from multitudes.index.mixture_tuning import UNTUNED, sample_users, tune_mixture
from multitudes.index.protocol import NO_ID, Topics
from multitudes.index.scan import paired_inner_products
from multitudes.index.tuning import build_tuned, sample_queries
from multitudes.progress import Progress, silent
from multitudes.seeding import generator

KIND = "inverted"
FAISS_FILE = "inverted.faiss"
_faiss: Any = faiss  # its types are incomplete
_parameters: Any = faiss.SearchParametersIVF  # typed without the keywords that it takes
_TRAINING_POINTS_PER_LIST = 64  # FAISS warns below 39 and gains little above 64
_GRAPH_FROM_LISTS = 8192  # from here on items find their list through a graph: every centroid would cost minutes
_ADD_BATCH = 100_000
_CODES = 16  # of 4 bits
# FAISS scans the lists either list by list, for all queries at once, or query by query, nearest lists first: an early
# high bound then drops most of the later candidates. Both propose the same. (Seven queries, 142 of 1,024 lists: 0.34 ms
# query by query, 0.41 list by list; with 256 lists, 0.30 to 0.44 depending on the free cache, and 0.33.)
_NOT_FOUND = np.float32(-1e38)  # FAISS fills with a smaller score
_FEW_QUERIES, _LIST_BY_LIST, _QUERY_BY_QUERY = 64, 0, 11  # the last two are FAISS's numbers


class InvertedLists:
    """Inverted lists as an engine; the effort is ``nprobe``, the number of lists to search."""

    kind, file = KIND, FAISS_FILE

    def __init__(self, inverted: Any) -> None:  # noqa: ANN401 (FAISS has no types)
        self.inverted = inverted
        self._centroid_LD = inverted.quantizer.reconstruct_n(0, inverted.nlist)

    def efforts(self) -> Sequence[int]:
        """Return numbers of lists, each about a tenth more than the one before."""
        return geometric_efforts(self.lists)

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
        list_QP, score_QP = self._nearest_lists(query_QD, levels.effort_Q)
        if len(query_QD) <= _FEW_QUERIES:
            list_QP, score_QP = _sort_lists(list_QP, score_QP)
        return self._search_ties(query_QD, list_QP, score_QP, count_Q, allowed)[0]

    def search_pairs(
        self, query_QD: NDArray[np.float32], pairs: Pairs, count: int, allowed: NDArray[np.uint8] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the rows of the best codes in given lists, and the codes' scores; see ``Lists.search_pairs``."""
        query_P, column_P, list_P = pairs
        list_QP = np.full((len(query_QD), int(column_P.max()) + 1), NO_ID)
        list_QP[query_P, column_P] = list_P
        score_P = paired_inner_products(query_QD[query_P], self._centroid_LD[list_P])
        score_QP = np.empty(list_QP.shape, dtype=np.float32)
        score_QP[:] = score_P[column_P == 0][:, None]  # the fill must not widen the range of the scores
        score_QP[query_P, column_P] = score_P
        return self._search_ties(query_QD, list_QP, score_QP, np.full(len(query_QD), count), allowed)

    def _search_ties(
        self,
        query_QD: NDArray[np.float32],
        list_QP: NDArray[np.int64],
        score_QP: NDArray[np.float32],
        count_Q: NDArray[np.int64],
        allowed: NDArray[np.uint8] | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the rows of the ``count_Q`` best codes of each query, filled with −1, and their scores."""
        faiss.omp_set_num_threads(1)  # per thread: a thread that never called it would use every core
        # A setting of the index, not of the call; another thread may change it, but both propose the same.
        self.inverted.implem = _QUERY_BY_QUERY if len(query_QD) <= _FEW_QUERIES else _LIST_BY_LIST
        # Search for one more than needed. FAISS keeps an arbitrary one of the candidates that tie with it, and another
        # one in another batch; so all that tie with it are dropped.
        row_QM, code_QM = self._search_lists(query_QD, list_QP, score_QP, int(count_Q.max()) + 1, allowed)
        each_Q = np.arange(len(query_QD))
        last_Q = code_QM[each_Q, count_Q]
        np.copyto(row_QM, NO_ID, where=code_QM <= last_Q[:, None])
        # If most of the candidates are copies of one item, they are not dropped: such a query is searched alone.
        for q in np.flatnonzero((code_QM[each_Q, count_Q // 2] <= last_Q) & (last_Q > _NOT_FOUND)).tolist():
            only_q, count = slice(q, q + 1), int(count_Q[q])
            row_QM[only_q, :count], code_QM[only_q, :count] = self._search_lists(
                query_QD[only_q], list_QP[only_q], score_QP[only_q], count, allowed
            )
        return row_QM[:, :-1], code_QM[:, :-1]

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

    @property
    def lists(self) -> int:
        """The number of lists."""
        return int(self.inverted.nlist)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """The number of items in each list."""
        return np.array([self.inverted.invlists.list_size(number) for number in range(self.lists)], dtype=np.int64)

    def rows_of(self, number: int) -> NDArray[np.int64]:
        """Return the rows of a list, ascending: the memory of FAISS, which must not be changed."""
        size = int(self.sizes[number])
        if size == 0:
            return np.zeros(0, dtype=np.int64)
        return np.asarray(_faiss.rev_swig_ptr(self.inverted.invlists.get_ids(number), size))

    @cached_property
    def list_of_rows(self) -> NDArray[np.int32]:
        """The list of each row."""
        list_n = np.zeros(int(self.inverted.ntotal), dtype=np.int32)
        for number in range(self.lists):
            list_n[self.rows_of(number)] = number
        return list_n

    def describe(self) -> dict[str, Any]:
        """Return the number of lists."""
        return {"lists": self.lists}

    def shape(self) -> tuple[int, int]:
        """Return the number of codes and the width of the vectors."""
        return int(self.inverted.ntotal), int(self.inverted.d)

    def write(self, path: Path) -> None:
        """Write the lists with their codes."""
        faiss.write_index(self.inverted, str(path))


def _sort_lists(
    list_QP: NDArray[np.int64], score_QP: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Sort the lists of each query by their scores, with the fill at the end."""
    order_QP = np.argsort(np.where(list_QP < 0, np.inf, -score_QP), axis=1, kind="stable")
    return np.take_along_axis(list_QP, order_QP, axis=1), np.take_along_axis(score_QP, order_QP, axis=1)


def build(
    ids: ArrayLike,
    vectors: ArrayLike,
    topics: Topics | None = None,
    *,
    queries: NDArray[np.float32] | None = None,
    users: Sequence[MixtureQuery] | None = None,
    target: RecallTarget = DEFAULT_TARGET,
    lists: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> ApproximateIndex:
    """Build inverted lists, and tune the number of probes and the walk for mixtures.

    Args:
        ids: integers, distinct (n).
        vectors: one row for each id (n, D).
        topics: of the items, in the order of ``ids``.
        queries: held-out user vectors to tune on; see ``tuning.sample_queries``.
        users: the same vectors by user; see ``mixture_tuning.sample_users``.
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
    index = build_tuned(table, engine, queries, target, seed=seed, progress=progress)
    sample = sample_users(users, sample_queries(queries, table, seed), seed)
    moments = ListMoments.compute(table, engine)
    untuned = InvertedIndex(index, moments, UNTUNED)
    tuning = tune_mixture(untuned.walk, sample, target, progress)
    return index if tuning is None else InvertedIndex(index, moments, tuning)


class InvertedIndex(ApproximateIndex):
    """Inverted lists that are searched for mixtures, too; see ``MixtureSegment``."""

    def __init__(self, index: ApproximateIndex, moments: ListMoments, tuning: MixtureTuning) -> None:
        """Add the search for mixtures, as it was tuned, to an index of ``InvertedLists``."""
        super().__init__(*index.parts)
        _, engine, _ = index.parts
        assert isinstance(engine, InvertedLists)
        self.walk = MixtureWalk(self._search, engine, moments, tuning)

    def score_mixtures(self, queries: Sequence[MixtureQuery]) -> Iterator[WalkScores]:
        """Score the lists with the vectors of users; see ``MixtureSegment.score_mixtures``."""
        return self.walk.scores(queries)

    @property
    def users_together(self) -> int:
        """The number of users whose vectors are multiplied with a list at once."""
        return self.walk.users_together

    def propose_together(
        self, scores: Sequence[WalkScores], log_priors: Sequence[NDArray[np.float64]]
    ) -> list[ScoredItems]:
        """Return the best items of each user; see ``MixtureSegment.propose_together``."""
        return propose_together(self.walk, scores, log_priors)

    def without(self, ids: NDArray[np.int64]) -> Self:
        """Return a view whose searches do not find some items; see ``Segment.without``."""
        other = super().without(ids)
        other.walk = MixtureWalk(other._search, self.walk.lists, self.walk.moments, self.walk.tuning)
        return other

    def info(self) -> dict[str, Any]:
        """Describe the index and how it was tuned."""
        return {**super().info(), "mixture": self.walk.tuning.to_record()}

    def save(self, folder: Path) -> None:
        """Write the index and the moments of its lists into ``folder``."""
        self.walk.moments.save(folder)
        super().save(folder)


def open_saved(folder: Path, record: dict[str, Any]) -> ApproximateIndex:
    """Open a saved index; see ``open_approximate``. One without a tuning for mixtures does not offer them."""
    index = open_approximate(folder, record, FAISS_FILE, lambda file: InvertedLists(faiss.read_index(file)))
    if "mixture" not in record:
        return index
    moments = ListMoments.load(folder)
    try:
        tuning = MixtureTuning.from_record(record["mixture"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ArtefactError(f"{folder / files.DESCRIPTION}: 'mixture' is damaged; publish the run again") from None
    lists, width = index.info()["lists"], index.info()["dimension"]
    if [array.shape for array in moments] != [(lists, width), (lists,), (width, width)]:
        raise ArtefactError(f"{folder / MOMENT_FILES[0]}: is not of these lists; publish the run again")
    return InvertedIndex(index, moments, tuning)


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
