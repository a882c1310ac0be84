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

from multitudes.index import approximate
from multitudes.index.approximate import ApproximateIndex
from multitudes.index.exclusions import faiss_selector
from multitudes.index.item_table import ItemTable, make_item_table
from multitudes.index.protocol import NO_ID, Topics
from multitudes.index.tuning import DEFAULT_TARGET, QueryLevels, RecallTarget
from multitudes.progress import Progress, silent

KIND = "hnsw"
FAISS_FILE = "hnsw.faiss"
_LINKS = 16  # of an item with its neighbours, twice as many at the lowest floor
_BUILD_EFFORT = 100
_ADD_BATCH = 10_000
_faiss: Any = faiss  # its types are incomplete


class HNSWGraph:
    """The graph as an engine: effort is what a walk keeps (ef) beyond the number of proposals."""

    kind, file = KIND, FAISS_FILE

    def __init__(self, graph: Any) -> None:  # noqa: ANN401 (FAISS has no types)
        self.graph = graph

    def efforts(self) -> Sequence[int]:
        """Return efforts, each about a tenth more than the one before; a tenth of the items is as slow as a scan."""
        largest = min(4096, int(self.graph.ntotal) // 10)
        return sorted({0, largest} | {int(10 * 1.1**power) for power in range(64) if 10 * 1.1**power < largest})

    def proposals(self, depth: int) -> Sequence[int]:
        """Return little more than the depth: 8 bits misplace little, and each proposal lengthens the walk."""
        return [int(over * depth) + 8 for over in (1.1, 1.2, 1.5, 2, 3, 4)]

    def propose(
        self,
        query_QD: NDArray[np.float32],
        walk: QueryLevels,
        wanted_Q: NDArray[np.int64],
        among: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.int64]:
        """Return the rows of the best codes that a walk met; it goes through those that it must not return."""
        faiss.omp_set_num_threads(1)  # per thread: a thread that never called it would use every core
        kept_Q = walk.proposals_Q + walk.effort_Q
        row_QM = np.full((len(query_QD), int(wanted_Q.max())), NO_ID)
        for kept, wanted in set(zip(kept_Q.tolist(), wanted_Q.tolist(), strict=True)):  # FAISS has one width a call
            where = (kept_Q == kept) & (wanted_Q == wanted)
            parameters = _faiss.SearchParametersHNSW(efSearch=kept, sel=faiss_selector(among))
            row_QM[where, :wanted] = self.graph.search(query_QD[where], wanted, params=parameters)[1]
        return row_QM

    def describe(self) -> dict[str, Any]:
        """Return how many links an item has."""
        return {"links": _LINKS}

    def write(self, path: Path) -> None:
        """Write the graph with its codes."""
        faiss.write_index(self.graph, str(path))


def build(
    ids: ArrayLike,
    vectors: ArrayLike,
    topics: Topics | None = None,
    *,
    queries: NDArray[np.float32] | None = None,
    promise: RecallTarget = DEFAULT_TARGET,
    seed: int = 0,
    progress: Progress = silent,
) -> ApproximateIndex:
    """Build, and tune the width of the walk; the arguments are those of ``inverted.build``.

    Raises:
        DataError: vectors or queries not finite, or ids repeated.
    """
    rows = make_item_table(ids, vectors, topics)
    engine = HNSWGraph(_build_graph(rows, progress))
    return approximate.build_tuned(rows, engine, queries, promise, seed=seed, progress=progress)


def open_saved(folder: Path, record: dict[str, Any]) -> ApproximateIndex:
    """Open a saved index; see ``tuned.opened``. Codes and links are memory-mapped too."""
    return approximate.open_tuned(
        folder, record, FAISS_FILE, lambda file: HNSWGraph(faiss.read_index(file, faiss.IO_FLAG_MMAP_IFC))
    )


def _build_graph(rows: ItemTable, progress: Progress) -> Any:  # noqa: ANN401 (FAISS has no types)
    faiss.omp_set_num_threads(1)  # the same graph every time
    graph: Any = _faiss.IndexHNSWSQ(rows.dimension, faiss.ScalarQuantizer.QT_8bit, _LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = _BUILD_EFFORT
    graph.train(np.ascontiguousarray(rows.vectors_nD))
    for start in range(0, len(rows), _ADD_BATCH):
        graph.add(np.ascontiguousarray(rows.vectors_nD[start : start + _ADD_BATCH]))
        progress(min(start + _ADD_BATCH, len(rows)), len(rows), "items")
    return graph
