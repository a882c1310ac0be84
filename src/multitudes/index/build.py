"""Which index a corpus gets, and how a saved one is opened."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from multitudes.config import Config
from multitudes.errors import ArtefactError
from multitudes.index import embedded, exact, files
from multitudes.index.protocol import Index


class IndexConfig(Config):
    """Section ``[index]``: which index is built and how good it must be."""

    exact_up_to: int = Field(50_000, ge=0, description="Corpora up to this many items are searched exactly.")
    recall: float = Field(0.97, gt=0, le=1, description="Share of the exact answer that a tuned index must find.")
    depth: int = Field(100, ge=1, description="Results per vector that the recall refers to.")


def build(ids: ArrayLike, vectors: ArrayLike, config: IndexConfig, queries: NDArray[np.float32] | None = None) -> Index:
    """Build the index that suits the size of the corpus; ``queries`` are held-out user vectors to tune on.

    Raises:
        DataError: vectors not finite, or ids repeated.
    """
    if len(np.asarray(ids)) <= config.exact_up_to:
        return exact.Exact.build(ids, vectors)
    return embedded.Embedded.build(ids, vectors, queries=queries, recall=config.recall, depth=config.depth)


def load(folder: Path) -> Index:
    """Open an index of any kind.

    Raises:
        ArtefactError: missing, changed, cut, or of a kind or version that is not known.
    """
    kind = files.read_kind(folder)
    if kind == exact.KIND:
        return exact.Exact.load(folder)
    if kind == embedded.KIND:
        return embedded.Embedded.load(folder)
    raise ArtefactError(f"{folder / files.DESCRIPTION}: index of kind '{kind}'; known: {exact.KIND}, {embedded.KIND}")
