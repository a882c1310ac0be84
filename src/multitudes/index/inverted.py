"""The segment for large corpora: FAISS inverted lists with 8-bit codes, tuned, then re-ranked exactly.

Legend: Q queries · n items · D dimensions · N results.

The lists to probe are chosen at build time on queries that were not indexed, against exact search, as the least number
that reaches the asked recall. The codes only propose; the answer is ranked by the full float32 vectors. A query that
comes back short (a selector does not widen an IVF search) is answered by the exact scan.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.errors import ArtefactError
from multitudes.index import files
from multitudes.index.exact import scan_topic
from multitudes.index.postings import Copies
from multitudes.index.protocol import ANY_TOPIC, Hits, Topics
from multitudes.index.request import Request, by_topic, checked
from multitudes.index.rows import Rows, as_float32, checked_rows, find_rows
from multitudes.index.scan import cut, scan, sorted_hits
from multitudes.seeding import generator

KIND = "inverted"
_parameters: Any = faiss.SearchParametersIVF  # typed without the keywords that it takes
FAISS_FILE = "inverted.faiss"
_TUNING_QUERIES = 256
_TRAINING_POINTS_PER_LIST = 64  # FAISS warns below 39 and gains little above 64


class Inverted:
    """A segment of inverted lists; see ``Index`` for the promise that it keeps, ``info()`` for its measured recall."""

    def __init__(self, rows: Rows, inverted: Any, tuning: dict[str, Any]) -> None:  # noqa: ANN401 (FAISS has no types)
        self._rows = rows
        self._copies = Copies(rows.vectors_nD)
        self._inverted = inverted
        self._tuning = tuning

    @classmethod
    def build(
        cls,
        ids: ArrayLike,
        vectors: ArrayLike,
        topics: Topics | None = None,
        *,
        queries: NDArray[np.float32] | None = None,
        lists: int | None = None,
        recall: float = 0.97,
        depth: int = 100,
        seed: int = 0,
    ) -> "Inverted":
        """Build, and tune the probes to ``recall`` at ``depth``.

        Args:
            ids: integers, distinct.
            vectors: one row for each id.
            topics: of the items, in the order of ``ids``.
            queries: held-out user vectors to tune on. Without them items with added noise stand in, and ``info`` says
                so: they sit closer to their neighbours than users do, so the recall for users may be lower.
            lists: number of inverted lists; by default the power of two between 2·√n and 4·√n.
            recall: share of the exact answer to be found.
            depth: results per query that the recall refers to.
            seed: of the training sample and the stand-in queries.

        Raises:
            DataError: vectors or queries not finite, or ids repeated.
        """
        rows = checked_rows(ids, vectors, topics)
        lists = lists or min(len(rows), 2 ** int(np.ceil(np.log2(2 * np.sqrt(len(rows))))))
        index = cls(rows, _train(rows, lists, seed), {"probes": 1})
        index._tune(queries, recall, min(depth, len(rows)), seed)
        return index

    def _tune(self, queries: NDArray[np.float32] | None, recall: float, depth: int, seed: int) -> None:
        if queries is not None and len(queries):
            tuned_on = "queries"
            rng = generator(seed, "index", "tuning queries")
            drawn = rng.permutation(len(queries))[:_TUNING_QUERIES]  # the first users are not like the others
            query_QD = as_float32(queries[drawn], "a query")
        else:
            tuned_on = "items with noise"
            query_QD = _noisy_items(self._rows, seed)
        truth = scan(query_QD, self._rows.ids, self._rows.vectors_nD, depth)
        lists, probes = int(self._inverted.nlist), 1
        while True:
            reached = _shared(self._candidates(query_QD, depth, None, probes), truth)
            if reached >= recall or probes >= lists:
                break
            probes = min(lists, max(probes + 1, probes * 5 // 4))
        self._tuning = {
            "lists": lists,
            "probes": probes,
            "recall": round(reached, 4),
            "recall_asked": recall,
            "depth": depth,
            "tuned_on": tuned_on,
            "tuning_queries": len(query_QD),
        }

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int | NDArray[np.int64],
        *,
        excluded: Sequence[NDArray[np.int64]] | None = None,
        topic_Q: NDArray[np.int64] | None = None,
        log_sums: bool = False,
    ) -> Hits:
        """Find the best items of each query; see ``Index.search``. Sums over all items are not known here."""
        request = checked(
            query_QD, limit, excluded, topic_Q, log_sums, dimension=self._rows.dimension, items=len(self._rows)
        )
        return by_topic(request, self._answer)

    def _answer(self, topic: int, request: Request) -> Hits:
        if topic != ANY_TOPIC:
            return scan_topic(self._rows, self._copies, topic, request)
        query_QD, limit_Q, excluded, limit = request.query_QD, request.limit_Q, request.excluded, request.width
        hits = self._candidates(query_QD, limit, excluded, self._tuning["probes"])
        for q in np.flatnonzero(hits.count_Q < limit).tolist():
            without = None if excluded is None else excluded[q : q + 1]
            exact = scan(query_QD[q : q + 1], self._rows.ids, self._rows.vectors_nD, limit, without)
            hits.id_QN[q], hits.score_QN[q], hits.count_Q[q] = exact.id_QN[0], exact.score_QN[0], exact.count_Q[0]
        unknown_Q = np.full(len(query_QD), np.nan, dtype=np.float32) if request.log_sums else None
        return cut(hits, limit_Q)._replace(log_sum_Q=unknown_Q)

    def _candidates(
        self, query_QD: NDArray[np.float32], limit: int, excluded: Sequence[NDArray[np.int64]] | None, probes: int
    ) -> Hits:
        """Search the inverted lists and re-rank; rows may come back short."""
        faiss.omp_set_num_threads(1)  # per thread: a thread that never called it would use every core
        fetched = min(len(self._rows), limit + max(32, limit // 2))  # what 8 bits misplace lies just below the limit
        row_QM = np.full((len(query_QD), fetched), -1, dtype=np.int64)
        for start, stop in _runs(excluded, len(query_QD)):
            without = None if excluded is None else excluded[start]
            row_QM[start:stop] = self._probe(query_QD[start:stop], fetched, without, probes)
        row_QM.sort(axis=1)
        query, place = np.nonzero(row_QM >= 0)
        row = row_QM[query, place]
        scores = np.einsum("rd,rd->r", query_QD[query], self._rows.vectors_nD[row])
        return sorted_hits(len(query_QD), query, self._rows.ids[row], scores, limit)

    def _probe(
        self, query_QD: NDArray[np.float32], fetched: int, excluded: NDArray[np.int64] | None, probes: int
    ) -> NDArray[np.int64]:
        if fetched == 0 or len(query_QD) == 0:
            return np.full((len(query_QD), fetched), -1, dtype=np.int64)
        if excluded is None or len(excluded) == 0:
            parameters = _parameters(nprobe=probes)
            return np.asarray(self._inverted.search(query_QD, fetched, params=parameters)[1])
        row, held = find_rows(self._rows.ids, np.unique(excluded))
        gone_row = row[held]
        # Each selector keeps a name: FAISS holds a bare pointer to what it wraps.
        batch = faiss.IDSelectorBatch(gone_row)
        others = faiss.IDSelectorNot(batch)
        parameters = _parameters(nprobe=probes, sel=others)
        found = np.asarray(self._inverted.search(query_QD, fetched, params=parameters)[1])
        _, gone = find_rows(gone_row, found)
        return np.where(gone, -1, found)  # the guarantee; the selector only saves work

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of ``ids``."""
        return self._rows.vectors(ids)

    def ids(self) -> NDArray[np.int64]:
        """Return every id, ascending."""
        return self._rows.ids

    def items_of(self, topic: int) -> NDArray[np.int64]:
        """Return the ids of a topic, ascending."""
        return self._rows.items_of(topic)

    def topics(self) -> Topics:
        """Return the topics of every item, in the order of ``ids()``."""
        return self._rows.postings.topics(len(self._rows))

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._rows)

    def info(self) -> dict[str, Any]:
        """Describe the index and how it was tuned."""
        return {"kind": KIND, "items": len(self), "dimension": self._rows.dimension, "tuning": dict(self._tuning)}

    def save(self, folder: Path) -> None:
        """Write ids, vectors, the FAISS index and ``index.json`` into ``folder``."""
        files.save_rows(folder, self._rows)
        faiss.write_index(self._inverted, str(folder / FAISS_FILE))
        files.write_description(folder, self.info())

    @classmethod
    def load(cls, folder: Path) -> "Inverted":
        """Open a saved index; vectors and codes are memory-mapped.

        Raises:
            ArtefactError: a file is missing, changed, cut or of another version.
        """
        record = files.read_description(folder)
        try:
            inverted: Any = faiss.read_index(str(folder / FAISS_FILE), faiss.IO_FLAG_MMAP)
            lists: Any = faiss.downcast_InvertedLists(inverted.invlists)
        except RuntimeError as error:
            raise ArtefactError(f"{folder / FAISS_FILE}: this FAISS cannot read it: {error}") from None
        # FAISS would start 32 threads in every search to read ahead, which takes ten times as long as the search.
        lists.prefetch_nthread = 0
        return cls(files.load_rows(folder), inverted, record["tuning"])


def _train(rows: Rows, lists: int, seed: int) -> Any:  # noqa: ANN401 (FAISS has no types)
    faiss.omp_set_num_threads(1)
    inverted: Any = faiss.index_factory(rows.dimension, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    inverted.cp.min_points_per_centroid = 1  # small corpora are built too, without a warning on stderr
    wanted = min(len(rows), lists * _TRAINING_POINTS_PER_LIST)
    sample = np.sort(generator(seed, "index", "train").choice(len(rows), wanted, replace=False))
    inverted.train(np.ascontiguousarray(rows.vectors_nD[sample]))
    inverted.add(np.ascontiguousarray(rows.vectors_nD))
    return inverted


def _noisy_items(rows: Rows, seed: int) -> NDArray[np.float32]:
    """Return stand-in queries: items, each moved by noise as long as itself."""
    rng = generator(seed, "index", "tune")
    base_QD = rows.vectors_nD[rng.choice(len(rows), min(len(rows), _TUNING_QUERIES), replace=False)]
    noise_QD = rng.standard_normal(base_QD.shape, dtype=np.float32)
    length_Q1 = np.linalg.norm(base_QD, axis=1, keepdims=True) / np.sqrt(rows.dimension)
    return np.asarray(base_QD + noise_QD * length_Q1, dtype=np.float32)


def _shared(found: Hits, truth: Hits) -> float:
    """Return the share of the true ids that were found."""
    hit = sum(len(np.intersect1d(found.ids(q), truth.ids(q))) for q in range(len(truth.count_Q)))
    return hit / max(1, int(truth.count_Q.sum()))


def _runs(excluded: Sequence[NDArray[np.int64]] | None, n_queries: int) -> list[tuple[int, int]]:
    """Return ranges of consecutive queries that share one exclusion: a user's vectors go to FAISS in one call."""
    if excluded is None:
        return [(0, n_queries)]
    starts = [q for q in range(n_queries) if q == 0 or excluded[q] is not excluded[q - 1]]
    return list(zip(starts, [*starts[1:], n_queries], strict=True))
