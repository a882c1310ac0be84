"""Which embedded index a corpus gets, and how a saved one is opened; ``place.py`` knows those on a server too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from multitudes.config import Config
from multitudes.errors import ArtefactError
from multitudes.index import exact, files, hnsw, inverted, layer_files
from multitudes.index.exact import Exact
from multitudes.index.layers import Segment
from multitudes.index.live import Live
from multitudes.index.milvus.config import MilvusConfig
from multitudes.index.protocol import Topics
from multitudes.index.tuning import Promise
from multitudes.progress import Progress, silent

# A verified folder and its description → what lies there.
_KINDS: dict[str, Callable[[Path, dict[str, Any]], Segment]] = {
    exact.KIND: lambda folder, _: Exact(files.load_rows(folder)),
    inverted.KIND: inverted.opened,
    hnsw.KIND: hnsw.opened,
}


class IndexConfig(Config):
    """Section ``[index]``: which index is built and how good it must be."""

    kind: Literal["auto", "exact", "inverted", "hnsw", "milvus"] = Field(
        "auto",
        description="exact: every item is scored; inverted: FAISS inverted lists of 4-bit codes; hnsw: a FAISS graph;"
        " milvus: a collection on a server; auto: exact up to exact_up_to items, inverted above.",
    )
    exact_up_to: int = Field(50_000, ge=0, description="Corpora up to this many items are searched exactly.")
    topics_exact_up_to: int = Field(100_000, ge=0, description="Topics up to this many items are searched exactly.")
    recall: float = Field(0.97, gt=0, le=1, description="Share of the exact answer that a tuned index must find.")
    depth: int = Field(
        10_000,
        ge=1,
        description="Results per vector, filtered ones included, up to which the index is tuned; deeper searches are"
        " exact.",
    )
    milvus: MilvusConfig = Field(MilvusConfig(), description='The server, where kind = "milvus".')


def build(
    ids: ArrayLike,
    vectors: ArrayLike,
    config: IndexConfig,
    *,
    topics: Topics | None = None,
    queries: NDArray[np.float32] | None = None,
    progress: Progress = silent,
) -> Live:
    """Build the index that suits the size of the corpus.

    Args:
        ids: integers, distinct.
        vectors: one row for each id.
        config: which index, and how good.
        topics: of the items, in the order of ``ids``.
        queries: held-out user vectors to tune on.
        progress: told while it works.

    Raises:
        DataError: vectors not finite, or ids repeated.
    """
    assert config.kind != "milvus", "built by place.build"
    kind = config.kind
    if kind == "auto":
        kind = "exact" if np.size(ids) <= config.exact_up_to else "inverted"
    if kind == "exact":
        return Live(Exact.build(ids, vectors, topics))
    promise = Promise(config.recall, config.depth, config.topics_exact_up_to)
    if kind == "hnsw":
        return Live(hnsw.build(ids, vectors, topics, queries=queries, promise=promise, progress=progress))
    return Live(inverted.build(ids, vectors, topics, queries=queries, promise=promise, progress=progress))


def load(folder: Path) -> Live:
    """Open an index of any kind, with the changes that were saved with it.

    Raises:
        ArtefactError: missing, changed, cut, or of a kind or version that is not known.
    """
    return opened(folder, files.read_description(folder))


def opened(folder: Path, record: dict[str, Any]) -> Live:
    """Open the index that ``record``, read from its folder, describes; every file is verified before.

    Raises:
        ArtefactError: of a kind that is not known, or a file is missing, changed or cut.
    """
    kind = record["kind"]
    if kind not in _KINDS:
        raise ArtefactError(f"{folder / files.DESCRIPTION}: index of kind '{kind}'; known: {', '.join(_KINDS)}")
    files.verify_all(folder, record)
    return Live.of(layer_files.load(folder, _KINDS[kind](folder, record), record["files"]))
