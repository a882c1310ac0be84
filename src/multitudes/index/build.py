"""Which index a corpus gets, and how a saved one is opened."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from multitudes.config import Config
from multitudes.errors import ArtefactError
from multitudes.index import exact, files, inverted
from multitudes.index.exact import Exact
from multitudes.index.inverted import Inverted
from multitudes.index.layers import Segment
from multitudes.index.live import Live
from multitudes.index.protocol import Topics


class IndexConfig(Config):
    """Section ``[index]``: which index is built and how good it must be."""

    exact_up_to: int = Field(50_000, ge=0, description="Corpora up to this many items are searched exactly.")
    recall: float = Field(0.97, gt=0, le=1, description="Share of the exact answer that a tuned index must find.")
    depth: int = Field(100, ge=1, description="Results per vector that the recall refers to.")


def build(
    ids: ArrayLike,
    vectors: ArrayLike,
    config: IndexConfig,
    *,
    topics: Topics | None = None,
    queries: NDArray[np.float32] | None = None,
) -> Live:
    """Build the index that suits the size of the corpus.

    Args:
        ids: integers, distinct.
        vectors: one row for each id.
        config: which index, and how good.
        topics: of the items, in the order of ``ids``.
        queries: held-out user vectors to tune on.

    Raises:
        DataError: vectors not finite, or ids repeated.
    """
    if len(np.asarray(ids)) <= config.exact_up_to:
        return Live(Exact.build(ids, vectors, topics))
    return Live(Inverted.build(ids, vectors, topics, queries=queries, recall=config.recall, depth=config.depth))


def load(folder: Path) -> Live:
    """Open an index of any kind, with the changes that were saved with it.

    Raises:
        ArtefactError: missing, changed, cut, or of a kind or version that is not known.
    """
    return Live.load(_segment(folder), folder)


def _segment(folder: Path) -> Segment:
    kind = files.read_kind(folder)
    if kind == exact.KIND:
        return Exact.load(folder)
    if kind == inverted.KIND:
        return Inverted.load(folder)
    raise ArtefactError(f"{folder / files.DESCRIPTION}: index of kind '{kind}'; known: {exact.KIND}, {inverted.KIND}")
