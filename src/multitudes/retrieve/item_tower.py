"""Vectors of items that a release was not published with: by its item tower, or as the items bring them themselves.

Legend: N items · G topics per item · F features · E width of their own embeddings · D width of the vectors.
"""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.batches.pinnersage import unit
from multitudes.data.features import encoded
from multitudes.errors import ArtefactError, DataError
from multitudes.index.protocol import Topics
from multitudes.progress import Progress, silent
from multitudes.release.manifest import NewItems
from multitudes.release.towers import Session

# The names that the exported tower has for what it takes and gives, in its order.
INPUTS = ("topic_NG", "feature_NF", "content_NE")
OUTPUTS = ("input_ND", "vector_ND")
_ITEMS_AT_ONCE = 4_096


class ItemVectors(NamedTuple):
    """What a release keeps of N items."""

    input_ND: NDArray[np.float32]  # what the user tower sees of them in a history
    vector_ND: NDArray[np.float32]  # what the index holds of them


def item_vectors(
    items: pl.DataFrame, topics: Topics, how: NewItems, tower: Session | None, progress: Progress = silent
) -> ItemVectors:
    """Return the vectors of items from what is known of them.

    Args:
        items: canonical columns and the feature columns.
        topics: their topics by the numbers of the release.
        how: as the manifest of the release says.
        tower: the item tower; None where items bring their vectors.
        progress: told of the items done.

    Raises:
        DataError: an item lacks its vector, or embeddings are of another width than those of the release.
        ArtefactError: the tower does not take or give what this version expects.
    """
    content_NE = contents(items, how.content_width)
    if how.vectors == "embedding":
        lacking = items["item_id"].filter(pl.Series(~content_NE.any(axis=1)))
        if len(lacking):
            raise DataError(
                f"{len(lacking):,} items, such as {lacking[0]!r}, have no 'embedding'; this release recommends by the"
                " items' own vectors. Give one for each item, or leave those out"
            )
        return ItemVectors(*[unit(content_NE)] * 2)
    topic_NG, feature_NF, parts = padded(topics), encoded(items, how.encoding), []
    for start in range(0, items.height, _ITEMS_AT_ONCE):
        progress(start, items.height, "items")
        part = slice(start, start + _ITEMS_AT_ONCE)
        parts.append(run_tower(tower, topic_NG[part], feature_NF[part], content_NE[part]))
    progress(items.height, items.height, "items")
    return ItemVectors(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def contents(items: pl.DataFrame, width: int) -> NDArray[np.float32]:
    """Return the items' own embeddings (N, E); zeros where an item has none.

    Raises:
        DataError: an item has an embedding of another width.
    """
    content_NE = np.zeros((items.height, width), dtype=np.float32)
    if not width:
        return content_NE
    for row, embedding in enumerate(items["embedding"].to_list()):
        if embedding is None:
            continue
        if len(embedding) != width:
            raise DataError(
                f"item {items['item_id'][row]!r} has an embedding of {len(embedding)} numbers; those of this release"
                f" have {width}"
            )
        content_NE[row] = embedding
    return content_NE


def padded(topics: Topics) -> NDArray[np.int64]:
    """Return topics as a matrix (N, G), zeros at the end; at least one column wide."""
    length_N = np.diff(topics.offset)
    topic_NG = np.zeros((len(length_N), max(1, int(length_N.max(initial=0)))), dtype=np.int64)
    topic_NG[np.arange(topic_NG.shape[1]) < length_N[:, None]] = topics.topic
    return topic_NG


def run_tower(
    tower: Session, topic_NG: NDArray[np.int64], feature_NF: NDArray[np.float32], content_NE: NDArray[np.float32]
) -> ItemVectors:
    """Return what the item tower makes of descriptions.

    Raises:
        ArtefactError: it does not take or give what this version expects.
    """
    offered = dict(zip(INPUTS, (topic_NG, feature_NF, content_NE), strict=True))
    wanted = [entry.name for entry in tower.get_inputs()]  # a tower without features has no such input
    try:
        return ItemVectors(*tower.run(OUTPUTS, {name: offered[name] for name in wanted}))
    except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
        reason = str(error).splitlines()[0]
        raise ArtefactError(f"item_tower.onnx: does not take these items ({reason}); publish again") from error
