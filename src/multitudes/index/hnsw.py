"""The segment for corpora that stay: a FAISS graph (HNSW) of 8-bit codes, tuned, and ranked by the full vectors.

Legend: Q queries · n items · D dimensions · M proposals.

At 1 M × 64 without clusters it was measured to take the time of inverted lists of 8 bits, three times that of the 4
bits that ``inverted`` has, and to be built in ten times theirs: an option for a recall near one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.errors import ArtefactError
from multitudes.index import files
from multitudes.index.approximate import Approximate, tuned
from multitudes.index.protocol import Hits, Topics
from multitudes.index.request import checked
from multitudes.index.rows import Rows, checked_rows
from multitudes.index.tuning import PROMISE, Promise, from_record
from multitudes.progress import Progress, silent

KIND = "hnsw"
FAISS_FILE = "hnsw.faiss"
_LINKS = 16  # of an item with its neighbours, twice as many at the lowest floor
_BUILD_EFFORT = 100
_ADDED_AT_ONCE = 10_000
_faiss: Any = faiss  # its types are incomplete


class Graph:
    """The graph as an engine: effort is what a walk keeps (ef) beyond the number of proposals."""

    def __init__(self, graph: Any) -> None:  # noqa: ANN401 (FAISS has no types)
        self.graph = graph

    def efforts(self) -> Sequence[int]:
        """Return efforts, each about a tenth more than the one before; a tenth of the items is as slow as a scan."""
        largest = min(4096, int(self.graph.ntotal) // 10)
        return sorted({0, largest} | {int(10 * 1.1**power) for power in range(64) if 10 * 1.1**power < largest})

    def propose(self, query_QD: NDArray[np.float32], effort: int, proposals: int) -> NDArray[np.int64]:
        """Return the rows of the best codes that the walk met."""
        faiss.omp_set_num_threads(1)  # per thread: a thread that never called it would use every core
        parameters = _faiss.SearchParametersHNSW(efSearch=proposals + effort)
        return np.asarray(self.graph.search(query_QD, proposals, params=parameters)[1])


class Hnsw:
    """A segment behind a graph; see ``Index`` for the promise that it keeps, ``info()`` for its measured recall."""

    def __init__(self, approximate: Approximate, graph: Graph) -> None:
        self._approximate, self._graph = approximate, graph
        self._rows = approximate.rows

    @classmethod
    def build(
        cls,
        ids: ArrayLike,
        vectors: ArrayLike,
        topics: Topics | None = None,
        *,
        queries: NDArray[np.float32] | None = None,
        promise: Promise = PROMISE,
        seed: int = 0,
        progress: Progress = silent,
    ) -> "Hnsw":
        """Build, and tune the width of the walk; the arguments are those of ``Inverted.build``.

        Raises:
            DataError: vectors or queries not finite, or ids repeated.
        """
        rows = checked_rows(ids, vectors, topics)
        engine = Graph(_linked(rows, progress))
        return cls(tuned(rows, engine, queries, promise, seed=seed, progress=progress), engine)

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
        return self._approximate.search(
            checked(query_QD, limit, excluded, topic_Q, log_sums, dimension=self._rows.dimension, items=len(self))
        )

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
        about = {"kind": KIND, "items": len(self), "dimension": self._rows.dimension}
        return {**about, "links": _LINKS, "tuning": self._approximate.tuning.record()}

    def save(self, folder: Path) -> None:
        """Write ids, vectors, topics, the graph and ``index.json`` into ``folder``."""
        files.save_rows(folder, self._rows)
        faiss.write_index(self._graph.graph, str(folder / FAISS_FILE))
        files.write_description(folder, self.info())

    @classmethod
    def load(cls, folder: Path) -> "Hnsw":
        """Open a saved index; vectors, codes and links are memory-mapped.

        Raises:
            ArtefactError: a file is missing, changed, cut or of another version.
        """
        record = files.read_description(folder)
        try:
            engine = Graph(faiss.read_index(str(folder / FAISS_FILE), faiss.IO_FLAG_MMAP_IFC))
        except RuntimeError as error:
            raise ArtefactError(f"{folder / FAISS_FILE}: this FAISS cannot read it: {error}") from None
        return cls(Approximate(files.load_rows(folder), engine, from_record(record["tuning"])), engine)


def _linked(rows: Rows, progress: Progress) -> Any:  # noqa: ANN401 (FAISS has no types)
    faiss.omp_set_num_threads(1)  # the same graph every time
    graph: Any = _faiss.IndexHNSWSQ(rows.dimension, faiss.ScalarQuantizer.QT_8bit, _LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = _BUILD_EFFORT
    graph.train(np.ascontiguousarray(rows.vectors_nD))
    for start in range(0, len(rows), _ADDED_AT_ONCE):
        graph.add(np.ascontiguousarray(rows.vectors_nD[start : start + _ADDED_AT_ONCE]))
        progress(min(start + _ADDED_AT_ONCE, len(rows)), len(rows), "items")
    return graph
