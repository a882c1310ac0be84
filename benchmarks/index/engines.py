"""The indexes that are measured, and beside each the bare engine call that a program without this library would make.

Legend: K vectors of a request · D dimensions · M results · n items.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.index import remote
from benchmarks.index.corpus import Vectors
from benchmarks.index.truth import Ids
from multitudes.index import inverted
from multitudes.index.approximate import ApproximateIndex
from multitudes.index.engine import Level, StoredEngine, tuning_from_record
from multitudes.index.factory import IndexConfig, build_index, load_index
from multitudes.index.files import load_item_table, read_description
from multitudes.index.inverted import InvertedLists
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Index, Topics
from multitudes.progress import Progress, silent

ENGINES = ("exact", "inverted")
# Vectors (K, D), effort, results of each, excluded ids → ids (K, M), filled with −1.
Bare = Callable[[Vectors, int, int, Ids | None], Ids]
_faiss: Any = faiss  # its types are incomplete


def build_engine(
    engine: str,
    ids: Ids,
    item_nD: Vectors,
    topics: Topics | None,
    queries: Vectors,
    progress: Progress = silent,
) -> Index:
    """Build an index of a kind, whatever the size, by the usual settings."""
    return build_index(ids, item_nD, IndexConfig(kind=engine), topics=topics, queries=queries, progress=progress)


def level(info: dict[str, Any], depth: int) -> dict[str, int]:
    """Return the effort and the proposals with which an index searches for ``depth`` results; see ``info()``.

    An exact index makes no effort, and proposes what is asked for; so does one that scans, because no level is as deep.
    """
    levels: list[dict[str, int]] = info.get("tuning", {}).get("levels", [])
    found = next((each for each in levels if each["depth"] >= depth), {"effort": 1, "proposals": depth})
    if info["kind"] == remote.ENGINE:  # the server has whole vectors: nothing is to spare
        return {**found, "proposals": depth}
    return found


def load_engine(engine: str, folder: Path) -> Index:
    """Open an index of any kind."""
    index: Index = remote.collection(folder) if engine == remote.ENGINE else load_index(folder)
    return index


def at_level(folder: Path) -> Callable[[Level], LiveIndex]:
    """Return how a saved index becomes one that knows a single level, and searches every request at it."""
    rows, tuning = load_item_table(folder), tuning_from_record(read_description(folder)["tuning"])
    stored: StoredEngine = InvertedLists(faiss.read_index(str(folder / InvertedLists.file)))
    return lambda level: LiveIndex(ApproximateIndex(rows, stored, tuning._replace(levels=(level,))))


def bare(engine: str, folder: Path, item_nD: Vectors) -> Bare:
    """Return FAISS's own search of the same file; of an exact index, that of a flat one over the same items.

    Of a collection on a server, the client library's.
    """
    if engine == remote.ENGINE:
        return remote.Client(read_description(folder)).search
    if engine == "exact":
        flat: Any = _faiss.IndexFlatIP(item_nD.shape[1])
        flat.add(np.ascontiguousarray(item_nD))
        return bare_search(flat, engine)
    return bare_search(faiss.read_index(str(folder / inverted.FAISS_FILE)), engine)


def bare_search(index: Any, engine: str) -> Bare:  # noqa: ANN401 (FAISS has no types)
    """Return a call of a FAISS index whose rows are ids − 1."""
    faiss.omp_set_num_threads(1)
    parameters = _PARAMETERS[engine]

    def search(query_KD: Vectors, effort: int, depth: int, excluded: Ids | None) -> Ids:
        if excluded is None:
            return _ids(index.search(query_KD, depth, params=parameters(effort, None))[1])
        batch = _faiss.IDSelectorBatch(excluded - 1)  # FAISS holds a bare pointer to what it wraps: each keeps a name
        others = _faiss.IDSelectorNot(batch)
        return _ids(index.search(query_KD, depth, params=parameters(effort, others))[1])

    return search


def _ids(row_KM: NDArray[np.int64]) -> Ids:
    return np.asarray(np.where(row_KM < 0, -1, row_KM + 1))


_PARAMETERS: dict[str, Callable[[int, Any], Any]] = {
    "exact": lambda _, selector: _faiss.SearchParameters(sel=selector),
    "inverted": lambda effort, selector: _faiss.SearchParametersIVF(nprobe=effort, sel=selector),
}
