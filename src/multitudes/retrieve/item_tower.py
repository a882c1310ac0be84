"""Vectors of items that a release was not published with: by its item tower, or as the items bring them themselves.

Legend: N items · G topics per item · F features · E width of their own embeddings · D width of the vectors.
"""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.batches.pinnersage import unit
from multitudes.data.features import encoded
from multitudes.errors import ArtefactError
from multitudes.index.protocol import Topics
from multitudes.index.rows import are_sound
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


class Made(NamedTuple):
    """The vectors of N items, and the rows of which there is none: what stands there is not to be used."""

    vectors: ItemVectors
    unmade: dict[int, str]  # why, as a sentence that begins behind the name of the item


def item_vectors(
    items: pl.DataFrame, topics: Topics, how: NewItems, tower: Session | None, progress: Progress = silent
) -> Made:
    """Return the vectors of items from what is known of them.

    Args:
        items: canonical columns and the feature columns.
        topics: their topics by the numbers of the release.
        how: as the manifest of the release says.
        tower: the item tower; None where items bring their vectors.
        progress: told of the items done.

    Raises:
        ArtefactError: the tower does not take or give what this version expects.
    """
    content_NE, unmade = _contents(items, how.content_width)
    if how.vectors == "embedding":
        lacking = dict.fromkeys(
            np.flatnonzero(~content_NE.any(axis=1)).tolist(),
            "it has no 'embedding', and this release recommends by the items' own vectors",
        )
        return Made(ItemVectors(*[unit(content_NE)] * 2), lacking | unmade)
    topic_NG, feature_NF, parts = padded(topics), encoded(items, how.encoding), []
    for start in range(0, items.height, _ITEMS_AT_ONCE):
        progress(start, items.height, "items")
        part = slice(start, start + _ITEMS_AT_ONCE)
        parts.append(run_tower(tower, topic_NG[part], feature_NF[part], content_NE[part]))
    progress(items.height, items.height, "items")
    vectors = ItemVectors(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    overflown = np.flatnonzero(~(are_sound(vectors.input_ND) & are_sound(vectors.vector_ND))).tolist()
    return Made(vectors, dict.fromkeys(overflown, "its numbers are so large that its vector is not finite") | unmade)


def _contents(items: pl.DataFrame, width: int) -> tuple[NDArray[np.float32], dict[int, str]]:
    """Return the items' own embeddings (N, E), zeros where there is none, and by row why one that is cannot be read."""
    content_NE = np.zeros((items.height, width), dtype=np.float32)
    unread: dict[int, str] = {}
    if not width:
        return content_NE, unread
    for row, embedding in enumerate(items["embedding"].to_list()):
        if embedding is None:
            continue
        if len(embedding) != width:
            unread[row] = f"it has an embedding of {len(embedding)} numbers; those of this release have {width}"
            continue
        content_NE[row] = embedding
    for row in np.flatnonzero(~are_sound(content_NE)).tolist():
        unread[row] = "its embedding is longer than 1e19"
        content_NE[row] = 0
    return content_NE, unread


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
