"""Build and open an index of any kind.

The kinds ``exact`` and ``inverted`` are embedded: the index is in the folder of its release. Other kinds are plugins of
the group ``indexes``, such as ``milvus`` of the add-on multitudes-milvus: the folder says where their index is.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from multitudes.config import PluggableConfig
from multitudes.errors import ArtefactError, missing_add_on
from multitudes.index import approximate, files
from multitudes.index.approximate import ApproximateIndex
from multitudes.index.exact import ExactIndex
from multitudes.index.inverted import ITEM_LISTS
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Index, IndexKind, Topics
from multitudes.index.segment import Segment
from multitudes.index.tuning import DEFAULT_TARGET
from multitudes.plugins import load_plugin, plugins
from multitudes.progress import Progress, silent

# Kind of segment → how it is opened from its verified folder and its description, and the files of its engine.
_SEGMENTS: Final[dict[str, tuple[Callable[[Path, dict[str, Any]], Segment], tuple[str, ...]]]] = {
    ExactIndex.kind: (lambda folder, _: ExactIndex(files.load_item_table(folder)), ()),
    ApproximateIndex.kind: (approximate.open_saved, ITEM_LISTS),
}
EXACT_UP_TO: Final = 50_000  # items of a corpus that is searched exactly, unless [index] kind says otherwise


class IndexConfig(PluggableConfig):
    """Section ``[index]``: which index is built and how good it must be."""

    section = "index"
    group = "indexes"
    built_in = ("auto", "exact", "inverted")
    add_ons = ("milvus", "pgvector")

    kind: str = Field(
        "auto",
        description="exact: every item is scored; inverted: FAISS inverted lists of 4-bit codes; auto: exact up to"
        f" {EXACT_UP_TO:,} items, inverted above; milvus, pgvector: on a server, with the add-on multitudes-NAME.",
    )
    recall: float = Field(0.97, gt=0, le=1, description="Share of the exact answer that a tuned index must find.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Settings of a kind that an add-on brings, such as the address of a server."
    )


def build_index(
    ids: ArrayLike,
    vectors: ArrayLike,
    config: IndexConfig,
    *,
    topics: Topics | None = None,
    names: pl.DataFrame | None = None,
    queries: NDArray[np.float32] | None = None,
    progress: Progress = silent,
) -> Index:
    """Build an index of the kind and with the recall of ``config``; see ``IndexKind.build`` for the other arguments.

    Raises:
        DataError: a vector is not finite, or ids are repeated.
        MissingError: the engine is not installed.
        UnavailableError: a server did not answer in time.
    """
    if config.kind not in config.built_in:
        kind: IndexKind = config.plugin()
        given: dict[str, Any] = {"topics": topics, "names": names, "queries": queries, "progress": progress}
        return kind.build(ids, vectors, config.parse_options(), recall=config.recall, **given)
    is_small = config.kind == "auto" and np.size(ids) <= EXACT_UP_TO
    if is_small or config.kind == ExactIndex.kind:
        return LiveIndex(ExactIndex.build(ids, vectors, topics))
    target = DEFAULT_TARGET._replace(recall=config.recall)
    return LiveIndex(approximate.build(ids, vectors, topics, queries=queries, target=target, progress=progress))


def load_index(folder: Path) -> Index:
    """Open an index of any kind.

    Raises:
        ArtefactError: the index is missing, damaged, or of an unknown kind or version.
        MissingError: the engine is not installed.
        UnavailableError: a server did not answer in time.
    """
    record = files.read_description(folder)
    kind = record["kind"]
    if kind in _SEGMENTS:
        open_segment, engine_files = _SEGMENTS[kind]
        files.verify_all(folder, record["files"], (*files.ITEM_TABLE_FILES, *engine_files), files.DESCRIPTION)
        return LiveIndex(open_segment(folder, record))
    if kind in plugins("indexes"):
        plugin: IndexKind = load_plugin("indexes", kind)
        return plugin.open(folder, record)
    if kind in IndexConfig.add_ons:
        raise missing_add_on(f"{folder}: an index of kind '{kind}'", kind)
    raise ArtefactError(f"{folder / files.DESCRIPTION}: index of kind '{kind}'; known: {', '.join(_SEGMENTS)}")
