"""Inverted lists of FAISS (IVF) with 4-bit product-quantised codes: the engine of the approximate index.

The lists, 40 bytes an item at 64 dimensions, stay in a file that every process maps: all share one copy of it. There
are lists of near items, of which a query probes some, and lists of the items of each topic, of which it probes one.

Measured on one core of a busy machine at 1 M × 64 without clusters, 128 lists probed: 4 bits for each dimension take
0.20 ms a query and 8 bits 0.68; with twice as many proposals, 4 bits find the same. Codes of residuals need fewer
proposals than codes of vectors. 4,096 lists are no faster than 2,048; with 100,000 items, 512 lists take a tenth less
time than 1,024. Twelve unrelated vectors with 17 results each take 4.5 ms and one with 200 takes 1.0, at the same
recall; they probe half of all lists, and a BLAS product with as many rows takes 50 ms.

Legend: Q queries · n items · D dimensions · L lists · P probed lists · M proposals.
"""

from collections.abc import Sequence
from ctypes import c_int64
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray

from multitudes.index.item_table import ItemTable
from multitudes.progress import Progress, silent
from multitudes.seeding import generator

# Files: of centroids, codebooks and the places of lists; and of the lists, of each its codes, and then its rows.
ITEM_LISTS: Final = "inverted.faiss", "lists.bin"
TOPIC_LISTS: Final = "topics.faiss", "topic_lists.bin"
_faiss: Any = faiss  # its types are incomplete
_NO_ROW: Final = -1
_NOT_FOUND = np.float32(-1e38)  # FAISS fills with a smaller score
# FAISS scans the lists either list by list, each once for all queries, or query by query, nearest lists first: an early
# high bound then drops most of the later candidates. Both propose the same. (Searches in 1 M × 64, 228 to 304 lists:
# one query takes 1.2 ms query by query and 1.3 list by list; seven take 5.2 and 4.6, twelve 6.1 and 5.0.)
_LIST_BY_LIST, _QUERY_BY_QUERY = 0, 11  # FAISS's numbers
_TRAINING_POINTS_PER_LIST = 64  # FAISS warns below 39 and gains little above 64
_GRAPH_FROM_LISTS = 8192  # from here on items find their list through a graph: every centroid would cost minutes
_ADD_BATCH = 100_000
_CODES = 16  # of 4 bits
_CODED_SAMPLE = 2**16  # items of topics on which their codes are trained


class InvertedLists:
    """Proposes candidates; the *effort* of a query is ``nprobe``, the number of lists to search."""

    def __init__(self, inverted: Any) -> None:  # noqa: ANN401 (FAISS has no types)
        self.inverted = inverted
        self._centroid_LD = inverted.quantizer.reconstruct_n(0, inverted.nlist)

    def save(self, folder: Path, names: tuple[str, str] = ITEM_LISTS) -> None:
        """Write the lists into a file of their own, and the rest into FAISS's."""
        inverted, own, places = self.inverted, self.inverted.invlists, _faiss.OnDiskOneListVector()
        with (folder / names[1]).open("wb") as stream:
            for number in range(own.nlist):
                place = _faiss.OnDiskOneList()
                place.size, place.offset = own.list_size(number), stream.tell()
                place.capacity = -(-place.size // inverted.bbs) * inverted.bbs  # FAISS packs codes of so many items
                places.push_back(place)
                if place.size:
                    stream.write(faiss.rev_swig_ptr(own.get_codes(number), place.capacity * inverted.code_size).data)
                    stream.write(np.resize(faiss.rev_swig_ptr(own.get_ids(number), place.size), place.capacity).data)
            in_file = _faiss.OnDiskInvertedLists(own.nlist, inverted.code_size, names[1])
            in_file.lists, in_file.totsize, inverted.own_invlists = places, stream.tell(), False
        try:
            inverted.replace_invlists(in_file)
            faiss.write_index(inverted, str(folder / names[0]))
        finally:
            inverted.replace_invlists(own, True)

    @classmethod
    def open(cls, folder: Path, names: tuple[str, str] = ITEM_LISTS) -> "InvertedLists":
        """Open saved lists, which stay in their file.

        Raises:
            RuntimeError, AttributeError: FAISS cannot read them, or the files hold something else.
        """
        # With this flag FAISS does not map the file, for it looks where the index was saved.
        inverted = _faiss.read_index(str(folder / names[0]), _faiss.IO_FLAG_SKIP_IVF_DATA | _faiss.IO_FLAG_READ_ONLY)
        lists, file = _faiss.downcast_InvertedLists(inverted.invlists), folder / names[1]
        # What would be read beyond the end of the file would end the process.
        at, length = int(lists.lists.data().this), file.stat().st_size
        size_L, capacity_L, offset_L = np.ctypeslib.as_array((c_int64 * 3 * lists.nlist).from_address(at)).T
        fits = (size_L >= 0) & (size_L <= capacity_L) & (capacity_L <= length) & (offset_L >= 0)
        fits &= offset_L <= length - capacity_L * (lists.code_size + 8)
        if not fits.all() or lists.totsize != length or size_L.sum() != inverted.ntotal:
            raise RuntimeError(f"the lists do not fit {file}")
        lists.filename = str(file)
        lists.do_mmap()
        return cls(inverted)

    def efforts(self) -> Sequence[int]:
        """Return the efforts to try when tuning, ascending: numbers of lists, each about a tenth more."""
        lists = int(self.inverted.nlist)
        return sorted({int(1.1**power) for power in range(300) if 1.1**power < lists} | {lists})

    def proposals(self, depth: int) -> Sequence[int]:
        """Return the numbers of proposals to try for ``depth`` results: 4-bit codes misplace many candidates."""
        return [over * depth + 32 for over in (2, 3, 4, 6, 8)]

    def propose(
        self, query_QD: NDArray[np.float32], effort_Q: NDArray[np.int64], count_Q: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Propose the best codes of the lists nearest to each query, whatever the other queries are.

        Args:
            query_QD: the queries.
            effort_Q: number of lists to search, whatever ``count_Q`` is.
            count_Q: number of candidates of each query.

        Returns:
            The rows of the best candidates of each query (Q, M), distinct, in any order; −1 fills the rest.
        """
        # FAISS keeps as many candidates of each query of a call, so those that need less than half are searched apart.
        is_alike_Q = 2 * count_Q >= count_Q.max()
        if not is_alike_Q.all():
            row_QM = np.full((len(query_QD), int(count_Q.max())), _NO_ROW)
            for own_Q in (is_alike_Q, ~is_alike_Q):
                found_QM = self.propose(query_QD[own_Q], effort_Q[own_Q], count_Q[own_Q])
                row_QM[own_Q, : found_QM.shape[1]] = found_QM
            return row_QM
        return self._propose_from(query_QD, *self._nearest_lists(query_QD, effort_Q), count_Q)

    def propose_in(
        self, list_Q: NDArray[np.int64], query_QD: NDArray[np.float32], count_Q: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Propose the best ``count_Q`` codes of one list for each query; see ``propose``."""
        score_Q = np.vecdot(self._centroid_LD[list_Q], query_QD)
        return self._propose_from(query_QD, list_Q[:, None], score_Q[:, None], count_Q)

    def _propose_from(
        self,
        query_QD: NDArray[np.float32],
        list_QP: NDArray[np.int64],
        score_QP: NDArray[np.float32],
        count_Q: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Propose the best codes of some lists, whose centroids have these scores; see ``propose``."""
        faiss.omp_set_num_threads(1)  # per thread: a thread that never called it would use every core
        is_alone = len(query_QD) == 1
        if is_alone:
            order_QP = np.argsort(-score_QP, axis=1, kind="stable")
            list_QP, score_QP = list_QP[:, order_QP[0]], score_QP[:, order_QP[0]]
        # A setting of the index, not of the call; another thread may change it, but both propose the same.
        self.inverted.implem = _QUERY_BY_QUERY if is_alone else _LIST_BY_LIST
        # Search for one more than needed. FAISS keeps an arbitrary one of the candidates that tie with it, and another
        # one in another batch; so all that tie with it are dropped.
        row_QM, code_QM = self._search_lists(query_QD, list_QP, score_QP, int(count_Q.max()) + 1)
        each_Q = np.arange(len(query_QD))
        last_Q = code_QM[each_Q, count_Q]
        np.copyto(row_QM, _NO_ROW, where=code_QM <= last_Q[:, None])
        # If most of the candidates are copies of one item, they are not dropped: such a query is searched alone.
        for q in np.flatnonzero((code_QM[each_Q, count_Q // 2] <= last_Q) & (last_Q > _NOT_FOUND)).tolist():
            only_q, count = slice(q, q + 1), int(count_Q[q])
            row_QM[only_q, :count], _ = self._search_lists(query_QD[only_q], list_QP[only_q], score_QP[only_q], count)
        return row_QM[:, :-1]

    def _search_lists(
        self, query_QD: NDArray[np.float32], list_QP: NDArray[np.int64], score_QP: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the rows of the ``count`` best codes in the lists of each query, best first, and the codes' scores."""
        row_QM, code_QM = np.empty((len(query_QD), count), np.int64), np.empty((len(query_QD), count), np.float32)
        assigned, distances, found, rows = (faiss.swig_ptr(a) for a in (list_QP, score_QP, code_QM, row_QM))
        self.inverted.search_preassigned_c(
            len(query_QD), faiss.swig_ptr(query_QD), count, assigned, distances, found, rows, False,
            _faiss.SearchParametersIVF(nprobe=list_QP.shape[1]),
        )  # fmt: skip
        return row_QM, code_QM

    def _nearest_lists(
        self, query_QD: NDArray[np.float32], effort_Q: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the ``effort_Q`` nearest lists of each query (Q, P), filled with −1, and their centroids' scores."""
        # A separate product for each query, so that it gets the same lists alone and in a batch.
        score_QL = np.matmul(self._centroid_LD, query_QD[:, :, None])[:, :, 0]
        list_QP = np.full((len(query_QD), int(effort_Q.max())), _NO_ROW)
        for effort in set(effort_Q.tolist()):
            where = np.flatnonzero(effort_Q == effort)
            list_QP[where, :effort] = np.argpartition(score_QL[where], -effort, axis=1)[:, -effort:]
        score_QP = score_QL[np.arange(len(list_QP))[:, None], list_QP]
        # FAISS quantises the codes' scores by the range of these scores, so the fill must not widen it.
        np.copyto(score_QP, score_QP[:, :1], where=list_QP < 0)
        return list_QP, score_QP


def train_lists(
    vectors_nD: NDArray[np.float32], lists: int | None = None, seed: int = 0, progress: Progress = silent
) -> InvertedLists:
    """Return inverted lists of vectors; by default the power of two nearest to 2·√n of them."""
    faiss.omp_set_num_threads(1)
    n, dimension = vectors_nD.shape
    lists = lists or min(n, 2 ** round(np.log2(2 * np.sqrt(n))))
    coarse = f"IVF{lists}_HNSW32" if lists >= _GRAPH_FROM_LISTS else f"IVF{lists}"
    inverted: Any = faiss.index_factory(dimension, f"{coarse},PQ{dimension}x4fs", faiss.METRIC_INNER_PRODUCT)
    inverted.by_residual = True
    inverted.cp.min_points_per_centroid = 1  # no warning on stderr for small corpora
    inverted.pq.cp.min_points_per_centroid = 1
    points = min(n, lists * _TRAINING_POINTS_PER_LIST)
    sample = np.sort(generator(seed, "index", "train").choice(n, points, replace=False))
    sample = np.resize(sample, max(points, _CODES))  # fewer vectors than codes are repeated

    progress(0, n, "lists")
    inverted.train(np.ascontiguousarray(vectors_nD[sample]))
    for start in range(0, n, _ADD_BATCH):
        inverted.add(np.ascontiguousarray(vectors_nD[start : start + _ADD_BATCH]))
        progress(min(start + _ADD_BATCH, n), n, "items")
    return InvertedLists(inverted)


def topic_lists(table: ItemTable, scanned: int, seed: int = 0) -> InvertedLists | None:
    """Return a list for each topic, of the residuals to its mean; None if every topic has at most ``scanned`` items.

    The list of a smaller topic is empty.
    """
    postings, dimension = table.postings, table.dimension
    size_T = np.diff(postings.offset)
    topic_M = np.repeat(np.arange(len(size_T)), size_T)
    place_C = np.flatnonzero(size_T[topic_M] > scanned)  # of the items that get a code
    if len(place_C) == 0:
        return None
    centroid_TD = np.zeros((len(size_T), dimension), dtype=np.float32)
    for t in np.flatnonzero(size_T > scanned).tolist():
        centroid_TD[t] = table.vectors_at(postings.rows(int(postings.topic_T[t]))).mean(axis=0)
    quantizer: Any = faiss.IndexFlatIP(dimension)
    quantizer.add(centroid_TD)
    coded: Any = faiss.IndexIVFPQ(quantizer, dimension, len(size_T), dimension, 4, faiss.METRIC_INNER_PRODUCT)
    coded.pq.cp.min_points_per_centroid = 1
    drawn = generator(seed, "index", "topics").choice(place_C, min(len(place_C), _CODED_SAMPLE), replace=False)
    drawn = np.resize(np.sort(drawn), max(len(drawn), _CODES))
    residual_SD = table.vectors_at(postings.row_M[drawn]) - centroid_TD[topic_M[drawn]]
    coded.pq.train(residual_SD)
    coded.is_trained = True
    for start in range(0, len(place_C), _ADD_BATCH):
        some = place_C[start : start + _ADD_BATCH]
        row_n = postings.row_M[some].astype(np.int64)
        vectors_nD, topic_n = table.vectors_at(row_n), topic_M[some]
        coded.add_core(len(some), faiss.swig_ptr(vectors_nD), faiss.swig_ptr(row_n), faiss.swig_ptr(topic_n))
    packed: Any = faiss.IndexIVFPQFastScan(coded)
    quantizer.this.disown()
    coded.own_fields, packed.own_fields = False, True
    return InvertedLists(packed)
