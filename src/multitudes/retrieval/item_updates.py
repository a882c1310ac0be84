"""Vectors of items that a release was not published with: by its item tower, or as the items bring them themselves.

Legend: N items · G topics per item · F features · E width of their own embeddings · D width of the vectors.

Items come to a release, and leave it, without a new release: what ``multitudes items`` does.
"""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.data.features import apply_encoding, unreadable_columns
from multitudes.data.items_file import read_item_ids, read_items
from multitudes.errors import ArtefactError, DataError, UsageError
from multitudes.index.item_table import are_valid_vectors, find_rows
from multitudes.index.protocol import Topics
from multitudes.pinnersage.clustering import l2_normalize
from multitudes.progress import Progress, silent
from multitudes.release import delta_log
from multitudes.release.delta_log import Delta
from multitudes.release.manifest import NewItems
from multitudes.release.onnx_session import Session, open_tower
from multitudes.release.overlay import has_features, topic_numbers
from multitudes.release.release import ITEM_TOWER, Release
from multitudes.release.store import ReleaseStore

# The names that the exported tower has for what it takes and gives, in its order.
ITEM_TOWER_INPUTS = ("topic_NG", "feature_NF", "content_NE")
ITEM_TOWER_OUTPUTS = ("input_ND", "vector_ND")
_ITEMS_PER_CHUNK = 4_096


class ItemVectors(NamedTuple):
    """What a release keeps of N items."""

    input_ND: NDArray[np.float32]  # what the user tower sees of them in a history
    vector_ND: NDArray[np.float32]  # what the index holds of them


class ItemVectorResult(NamedTuple):
    """The vectors of N items, and the rows of which there is none: what stands there is not to be used."""

    vectors: ItemVectors
    problems: dict[int, str]  # why, as a sentence that begins behind the name of the item


def item_vectors(
    items: pl.DataFrame, topics: Topics, settings: NewItems, tower: Session | None, progress: Progress = silent
) -> ItemVectorResult:
    """Return the vectors of items from what is known of them.

    Args:
        items: canonical columns and the feature columns.
        topics: their topics by the numbers of the release.
        settings: as the manifest of the release says.
        tower: the item tower; None where items bring their vectors.
        progress: told of the items done.

    Raises:
        ArtefactError: the tower does not take or give what this version expects.
    """
    content_NE, unmade = _read_embeddings(items, settings.content_width)
    if settings.vectors == "embedding":
        lacking = dict.fromkeys(
            np.flatnonzero(~content_NE.any(axis=1)).tolist(),
            "it has no 'embedding', and this release recommends by the items' own vectors",
        )
        return ItemVectorResult(ItemVectors(*[l2_normalize(content_NE)] * 2), lacking | unmade)
    topic_NG, feature_NF, parts = pad_topics(topics), apply_encoding(items, settings.encoding), []
    for start in range(0, items.height, _ITEMS_PER_CHUNK):
        progress(start, items.height, "items")
        part = slice(start, start + _ITEMS_PER_CHUNK)
        parts.append(run_item_tower(tower, topic_NG[part], feature_NF[part], content_NE[part]))
    progress(items.height, items.height, "items")
    vectors = ItemVectors(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    overflown = np.flatnonzero(~(are_valid_vectors(vectors.input_ND) & are_valid_vectors(vectors.vector_ND))).tolist()
    return ItemVectorResult(
        vectors, dict.fromkeys(overflown, "its numbers are so large that its vector is not finite") | unmade
    )


def _read_embeddings(items: pl.DataFrame, width: int) -> tuple[NDArray[np.float32], dict[int, str]]:
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
    for row in np.flatnonzero(~are_valid_vectors(content_NE)).tolist():
        unread[row] = "its embedding is longer than 1e19"
        content_NE[row] = 0
    return content_NE, unread


def pad_topics(topics: Topics) -> NDArray[np.int64]:
    """Return topics as a matrix (N, G), zeros at the end; at least one column wide."""
    length_N = np.diff(topics.offset)
    topic_NG = np.zeros((len(length_N), max(1, int(length_N.max(initial=0)))), dtype=np.int64)
    topic_NG[np.arange(topic_NG.shape[1]) < length_N[:, None]] = topics.topic
    return topic_NG


def run_item_tower(
    tower: Session, topic_NG: NDArray[np.int64], feature_NF: NDArray[np.float32], content_NE: NDArray[np.float32]
) -> ItemVectors:
    """Return what the item tower makes of descriptions.

    Raises:
        ArtefactError: it does not take or give what this version expects.
    """
    offered = dict(zip(ITEM_TOWER_INPUTS, (topic_NG, feature_NF, content_NE), strict=True))
    wanted = [entry.name for entry in tower.get_inputs()]  # a tower without features has no such input
    try:
        return ItemVectors(*tower.run(ITEM_TOWER_OUTPUTS, {name: offered[name] for name in wanted}))
    except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
        reason = str(error).splitlines()[0]
        raise ArtefactError(f"item_tower.onnx: does not take these items ({reason}); publish again") from error


class AddedItems(NamedTuple):
    """What came of adding the items of a file."""

    version: str
    new: int
    replaced: int  # items that the release had, or had had, before
    undescribed: int  # those of which the release reads neither a topic nor an embedding
    unknown_topics: int  # topic names that the release does not have: they wait for the next one
    unread_columns: list[str]  # that the release reads, and of which the file says nothing: they count as unknown
    repairs: dict[str, int]
    cut_bytes: int  # of a record that a crash had left unfinished


class RemovedItems(NamedTuple):
    """What came of removing items."""

    version: str
    removed: int
    cut_bytes: int


def add_items(releases: str | Path, file: str | Path, progress: Progress = silent) -> AddedItems:
    """Add the items of a file to the release that serves, or replace those that it has.

    Once this returns they are on the disk, and a running retriever finds them within a second.

    Args:
        releases: the folder of releases.
        file: an items table in the canonical form.
        progress: told of the items that have their vectors.

    Raises:
        DataError: the file cannot be used.
        UsageError: no such file, or somebody else writes into the folder.
        ArtefactError: nothing is released, the release is damaged, or it cannot take new items.
    """
    store = ReleaseStore(releases)
    store.current()
    with store.lock():
        release = Release.open(store.folder())
        how = _new_item_settings(release)
        items, repairs = read_items(Path(file), release.items["item_id"].dtype)
        if not items.height:
            raise DataError(f"{file}: every item_id is null; expected at least one item")
        topics, unknown = topic_numbers(items["topics"].to_list(), release.topic_number)
        tower = open_tower(release.path / ITEM_TOWER) if how.vectors == "tower" else None
        vectors, unmade = item_vectors(items, topics, how, tower, progress)
        if unmade:
            row = min(unmade)
            raise DataError(
                f"{file}: {len(unmade):,} of {items.height:,} items cannot be taken, the first is"
                f" {items['item_id'][row]!r}: {unmade[row]}. Nothing was added; correct those or leave them out"
            )
        known = int((release.item_names.numbers(items["item_id"].to_list()) > 0).sum())
        cut = _append_delta(release, Delta("add", int(time.time()), items, *vectors))
    undescribed = int((~has_features(items, topics, how.content_width)).sum())
    lacking = unreadable_columns(items, how.encoding)
    return AddedItems(release.version, items.height - known, known, undescribed, unknown, lacking, repairs, cut)


def remove_items(releases: str | Path, file: str | Path) -> RemovedItems:
    """Remove items from the release that serves: they are not recommended again.

    Raises:
        DataError: the file cannot be used.
        UsageError: no such file, an item is not there, or somebody else writes into the folder.
        ArtefactError: nothing is released, or the release is damaged.
    """
    store = ReleaseStore(releases)
    store.current()
    with store.lock():
        release = Release.open(store.folder())
        items = read_item_ids(Path(file), release.items["item_id"].dtype)
        ids = items["item_id"].to_list()
        numbers = release.item_names.numbers(ids)
        absent = np.flatnonzero(~find_rows(release.index.ids(), numbers)[1])
        if len(absent):
            raise UsageError(
                f"{file}: {len(absent):,} of {len(ids):,} items are not in release {release.version}, the first is"
                f" {ids[absent[0]]!r}. Nothing was removed; leave those out"
            )
        cut = _append_delta(release, Delta("remove", int(time.time()), items))
    return RemovedItems(release.version, len(ids), cut)


def _new_item_settings(release: Release) -> NewItems:
    how = release.manifest.new_items
    if how is None:
        raise ArtefactError(
            f"{release.path}: it, or the data of its run, was made by a version that took no new items; publish again,"
            " and if that does not help, prepare and train again"
        )
    if how.vectors == "run":
        raise UsageError(
            f"{release.path}: its item vectors come from another run, so a new item has none; publish again when that"
            " run knows the items"
        )
    return how


def _append_delta(release: Release, delta: Delta) -> int:
    file = delta_log.delta_log_file(release.path)
    assert file is not None, "a release of a store lies in its folder"
    cut_bytes = delta_log.append_delta(file, release.identity, delta)
    release.sync_index()
    return cut_bytes
