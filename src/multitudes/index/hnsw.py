"""The segment for corpora that rarely change: a FAISS graph (HNSW) of 8-bit codes.

Legend: Q queries · n items · D dimensions · M proposals.

Measured at 1 M × 64 without clusters: it takes the time of inverted lists of 8-bit codes, three times that of the 4-bit
codes of ``inverted``, and ten times their build time. It is an option for a recall near one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.index.approximate import ApproximateIndex, open_approximate
from multitudes.index.engine import DEFAULT_TARGET, QueryLevels, RecallTarget, faiss_selector
from multitudes.index.item_table import ItemTable, make_item_table
from multitudes.index.protocol import NO_ID, Topics
from multitudes.index.tuning import build_tuned
from multitudes.progress import Progress, silent

KIND = "hnsw"
FAISS_FILE = "hnsw.faiss"
_LINKS = 16  # M: neighbours of an item, twice as many in the lowest layer
_EF_CONSTRUCTION = 100
_ADD_BATCH = 10_000
_faiss: Any = faiss  # its types are incomplete


class HNSWGraph:
    """A graph as an engine; the effort is what ``efSearch`` exceeds the number of proposals by."""

    kind, file = KIND, FAISS_FILE

    def __init__(self, graph: Any) -> None:  # noqa: ANN401 (FAISS has no types)
        self.graph = graph

    def efforts(self) -> Sequence[int]:
        """Return efforts, each about a tenth more than the one before; with a tenth of the items a scan is as fast."""
        largest = min(4096, int(self.graph.ntotal) // 10)
        return sorted({0, largest} | {int(10 * 1.1**power) for power in range(64) if 10 * 1.1**power < largest})

    def proposals(self, depth: int) -> Sequence[int]:
        """Return little more than the depth: 8-bit codes misplace few candidates, and each proposal costs time."""
        return [int(over * depth) + 8 for over in (1.1, 1.2, 1.5, 2, 3, 4)]

    def propose(
        self,
        query_QD: NDArray[np.float32],
        levels: QueryLevels,
        count_Q: NDArray[np.int64],
        allowed: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.int64]:
        """Propose the best codes met on the way through the graph, which includes rows that are not allowed."""
        faiss.omp_set_num_threads(1)  # per thread: a thread that never called it would use every core
        ef_Q = levels.proposals_Q + levels.effort_Q
        row_QM = np.full((len(query_QD), int(count_Q.max())), NO_ID)
        for ef, count in set(zip(ef_Q.tolist(), count_Q.tolist(), strict=True)):  # a call of FAISS has one of each
            group = (ef_Q == ef) & (count_Q == count)
            parameters = _faiss.SearchParametersHNSW(efSearch=ef, sel=faiss_selector(allowed))
            row_QM[group, :count] = self.graph.search(query_QD[group], count, params=parameters)[1]
        return row_QM

    def describe(self) -> dict[str, Any]:
        """Return the number of links of an item."""
        return {"links": _LINKS}

    def shape(self) -> tuple[int, int]:
        """Return the number of codes and the width of the vectors."""
        return int(self.graph.ntotal), int(self.graph.d)

    def write(self, path: Path) -> None:
        """Write the graph with its codes."""
        faiss.write_index(self.graph, str(path))


def build(
    ids: ArrayLike,
    vectors: ArrayLike,
    topics: Topics | None = None,
    *,
    queries: NDArray[np.float32] | None = None,
    target: RecallTarget = DEFAULT_TARGET,
    seed: int = 0,
    progress: Progress = silent,
) -> ApproximateIndex:
    """Build a graph, and tune ``efSearch``; the arguments are those of ``inverted.build``.

    Raises:
        DataError: a vector or a query is not finite, or ids are repeated.
    """
    table = make_item_table(ids, vectors, topics)
    engine = HNSWGraph(_build_graph(table, progress))
    return build_tuned(table, engine, queries, target, seed=seed, progress=progress)


def open_saved(folder: Path, record: dict[str, Any]) -> ApproximateIndex:
    """Open a saved index; see ``open_approximate``. Codes and links are memory-mapped too."""
    return open_approximate(
        folder, record, FAISS_FILE, lambda file: HNSWGraph(faiss.read_index(file, faiss.IO_FLAG_MMAP_IFC))
    )


def _build_graph(table: ItemTable, progress: Progress) -> Any:  # noqa: ANN401 (FAISS has no types)
    faiss.omp_set_num_threads(1)  # the same graph every time
    graph: Any = _faiss.IndexHNSWSQ(table.dimension, faiss.ScalarQuantizer.QT_8bit, _LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = _EF_CONSTRUCTION

    graph.train(np.ascontiguousarray(table.vectors_nD))
    for start in range(0, len(table), _ADD_BATCH):
        graph.add(np.ascontiguousarray(table.vectors_nD[start : start + _ADD_BATCH]))
        progress(min(start + _ADD_BATCH, len(table)), len(table), "items")
    return graph
