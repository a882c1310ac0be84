"""Where an index is: embedded, in the folder of its release, or on a server, of which the folder says which."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.index import build as embedded
from multitudes.index import files
from multitudes.index.build import IndexConfig
from multitudes.index.live import Live
from multitudes.index.protocol import Index, Topics
from multitudes.progress import Progress, silent

_MILVUS = "milvus"  # its modules are imported when it is asked for: they need the extra


def build(
    ids: ArrayLike,
    vectors: ArrayLike,
    config: IndexConfig,
    *,
    topics: Topics | None = None,
    queries: NDArray[np.float32] | None = None,
    progress: Progress = silent,
) -> Index:
    """Build an index of any kind; arguments are as in ``multitudes.index.build.build``.

    Raises:
        DataError: vectors not finite, or ids repeated.
        MissingError: an engine that is not installed.
        UnavailableError: a server did not answer in time.
    """
    if config.kind != _MILVUS:
        return embedded.build(ids, vectors, config, topics=topics, queries=queries, progress=progress)
    from multitudes.index.milvus.publish import publish_collection  # noqa: PLC0415

    return publish_collection(
        ids, vectors, config.milvus, topics=topics, queries=queries, recall=config.recall, progress=progress
    )


def load(folder: Path) -> Index:
    """Open an index of any kind.

    Raises:
        ArtefactError: missing, changed, cut, or of a kind or version that is not known.
        MissingError: an engine that is not installed.
        UnavailableError: a server did not answer in time.
    """
    record = files.read_description(folder)
    if record["kind"] != _MILVUS:
        return embedded.opened(folder, record)
    from multitudes.index.milvus.milvus import Milvus  # noqa: PLC0415

    return Milvus.opened(folder, record)


@contextmanager
def released(index: Index) -> Iterator[None]:
    """Make a release of an index within: if that ends well others are told of it, else it is taken away.

    An embedded index needs neither: it appears and vanishes with the folder of its release.
    """
    if isinstance(index, Live):
        yield
        return
    from multitudes.index.milvus.milvus import Milvus  # noqa: PLC0415
    from multitudes.index.milvus.publish import discard  # noqa: PLC0415

    assert isinstance(index, Milvus)
    try:
        yield
    except BaseException:
        discard(index.connection, index.name)
        raise
    serve(index)


def serve(index: Index) -> None:
    """Tell others that this index serves now: on a server, by the alias.

    Raises:
        UnavailableError: the server did not answer in time.
    """
    if isinstance(index, Live):
        return
    from multitudes.index.milvus.milvus import Milvus  # noqa: PLC0415
    from multitudes.index.milvus.publish import activate  # noqa: PLC0415

    assert isinstance(index, Milvus)
    activate(index)
