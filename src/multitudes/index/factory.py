"""Which embedded index a corpus gets, and how a saved one is opened; ``place.py`` knows those on a server too.

Where an index is: embedded, in the folder of its release, or on a server, of which the folder says which.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from multitudes.config import Config
from multitudes.errors import ArtefactError
from multitudes.index import exact, files, hnsw, inverted, live
from multitudes.index.exact import ExactIndex
from multitudes.index.live import LiveIndex
from multitudes.index.milvus.config import MilvusConfig
from multitudes.index.protocol import Index, Segment, Topics
from multitudes.index.tuning import RecallTarget
from multitudes.progress import Progress, silent

# A verified folder and its description → what lies there.
_SEGMENT_OPENERS: dict[str, Callable[[Path, dict[str, Any]], Segment]] = {
    exact.KIND: lambda folder, _: ExactIndex(files.load_item_table(folder)),
    inverted.KIND: inverted.open_saved,
    hnsw.KIND: hnsw.open_saved,
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


def build_embedded(
    ids: ArrayLike,
    vectors: ArrayLike,
    config: IndexConfig,
    *,
    topics: Topics | None = None,
    queries: NDArray[np.float32] | None = None,
    progress: Progress = silent,
) -> LiveIndex:
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
        return LiveIndex(ExactIndex.build(ids, vectors, topics))
    promise = RecallTarget(config.recall, config.depth, config.topics_exact_up_to)
    if kind == "hnsw":
        return LiveIndex(hnsw.build(ids, vectors, topics, queries=queries, promise=promise, progress=progress))
    return LiveIndex(inverted.build(ids, vectors, topics, queries=queries, promise=promise, progress=progress))


def load_embedded(folder: Path) -> LiveIndex:
    """Open an index of any kind, with the changes that were saved with it.

    Raises:
        ArtefactError: missing, changed, cut, or of a kind or version that is not known.
    """
    return open_embedded(folder, files.read_description(folder))


def open_embedded(folder: Path, record: dict[str, Any]) -> LiveIndex:
    """Open the index that ``record``, read from its folder, describes; every file is verified before.

    Raises:
        ArtefactError: of a kind that is not known, or a file is missing, changed or cut.
    """
    kind = record["kind"]
    if kind not in _SEGMENT_OPENERS:
        raise ArtefactError(
            f"{folder / files.DESCRIPTION}: index of kind '{kind}'; known: {', '.join(_SEGMENT_OPENERS)}"
        )
    files.verify_all(folder, record)
    return LiveIndex.from_layers(live.load_layers(folder, _SEGMENT_OPENERS[kind](folder, record), record["files"]))


_MILVUS = "milvus"  # its modules are imported when it is asked for: they need the extra


def build_index(
    ids: ArrayLike,
    vectors: ArrayLike,
    config: IndexConfig,
    *,
    topics: Topics | None = None,
    queries: NDArray[np.float32] | None = None,
    progress: Progress = silent,
) -> Index:
    """Build an index of any kind; arguments are as in ``multitudes.index.factory.build``.

    Raises:
        DataError: vectors not finite, or ids repeated.
        MissingError: an engine that is not installed.
        UnavailableError: a server did not answer in time.
    """
    if config.kind != _MILVUS:
        return build_embedded(ids, vectors, config, topics=topics, queries=queries, progress=progress)
    from multitudes.index.milvus.publishing import publish_collection  # noqa: PLC0415

    return publish_collection(
        ids, vectors, config.milvus, topics=topics, queries=queries, recall=config.recall, progress=progress
    )


def load_index(folder: Path) -> Index:
    """Open an index of any kind.

    Raises:
        ArtefactError: missing, changed, cut, or of a kind or version that is not known.
        MissingError: an engine that is not installed.
        UnavailableError: a server did not answer in time.
    """
    record = files.read_description(folder)
    if record["kind"] != _MILVUS:
        return open_embedded(folder, record)
    from multitudes.index.milvus.index import MilvusIndex  # noqa: PLC0415

    return MilvusIndex.open(folder, record)


@contextmanager
def activate_on_success(index: Index) -> Iterator[None]:
    """Make a release of an index within: if that ends well others are told of it, else it is taken away.

    An embedded index needs neither: it appears and vanishes with the folder of its release.
    """
    if isinstance(index, LiveIndex):
        yield
        return
    from multitudes.index.milvus.index import MilvusIndex  # noqa: PLC0415
    from multitudes.index.milvus.publishing import discard  # noqa: PLC0415

    assert isinstance(index, MilvusIndex)
    try:
        yield
    except BaseException:
        discard(index.connection, index.name)
        raise
    activate_index(index)


def activate_index(index: Index) -> None:
    """Tell others that this index serves now: on a server, by the alias.

    Raises:
        UnavailableError: the server did not answer in time.
    """
    if isinstance(index, LiveIndex):
        return
    from multitudes.index.milvus.index import MilvusIndex  # noqa: PLC0415
    from multitudes.index.milvus.publishing import activate  # noqa: PLC0415

    assert isinstance(index, MilvusIndex)
    activate(index)
