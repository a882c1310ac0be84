"""Add items to a release, remove items from it, or export them for a vector store: ``multitudes items``.

The vectors of a new item come from the item tower of the release, or from the item's own embedding.

Legend: N items · G topics per item · F features · E width of the items' own embeddings · D width of the vectors.
"""

import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.atomic import replace_file
from multitudes.data.features import apply_encoding, unreadable_columns
from multitudes.data.items_file import read_item_ids, read_items
from multitudes.errors import DataError, UsageError
from multitudes.index.item_table import are_valid_vectors, find_rows, l2_normalize, select_topics
from multitudes.index.protocol import Topics
from multitudes.progress import Progress, silent
from multitudes.release import delta_log
from multitudes.release.delta_log import Delta
from multitudes.release.manifest import NewItems
from multitudes.release.onnx_session import Session, run_tower
from multitudes.release.overlay import has_features, topic_numbers
from multitudes.release.release import ITEM_TOWER, Release
from multitudes.release.signature import PrivateKey, read_private_key
from multitudes.release.store import ReleaseStore

# Names of the inputs and outputs of the exported tower, in its order.
ITEM_TOWER_INPUTS = ("topic_NG", "feature_NF", "content_NE")
ITEM_TOWER_OUTPUTS = ("input_ND", "vector_ND")
_ITEMS_PER_CHUNK = 4_096
_CLOSED = {  # releases that accept no new items: where their vectors come from, and what to do
    "run": ("another run", "publish again when that run knows the items"),
    "linear": (
        "the users of the training data",
        "prepare, train and publish again when users have engaged with the items",
    ),
}


class AddedItems(NamedTuple):
    """The result of adding items."""

    version: str  # of the release
    new: int
    replaced: int  # items that the release has, or had before they were removed
    undescribed: int  # items without a topic or an embedding that the release reads
    unknown_topics: int  # topic names that the release does not have; the next release may have them
    unread_columns: list[str]  # columns that the release reads and the file lacks; their values are unknown
    repairs: dict[str, int]
    cut_bytes: int  # of a record that a crash left unfinished


class RemovedItems(NamedTuple):
    """The result of removing items."""

    version: str  # of the release
    removed: int
    cut_bytes: int  # of a record that a crash left unfinished


def add_items(
    releases: str | Path, file: str | Path, progress: Progress = silent, *, sign: Path | None = None
) -> AddedItems:
    """Add the items of a file to the current release, and return what was added; items that it has are replaced.

    When the function returns, the items are on the disk. Running retrievers read them within a second.

    Args:
        releases: the folder of releases.
        file: an items table in the canonical form.
        progress: called with the number of items whose vectors are computed.
        sign: file of the private key that signed the release and signs the update; None: it is not signed.

    Raises:
        DataError: the file cannot be used.
        UsageError: the file does not exist, or another process writes to the folder.
        ArtefactError: nothing is released, the release is damaged, or it does not accept new items.
    """
    key = None if sign is None else read_private_key(sign)
    store = ReleaseStore(releases)
    store.current()
    with store.lock():
        release = Release.open(store.folder(), trust=key)
        settings = new_item_settings(release)
        items, repairs = read_items(Path(file), release.items["item_id"].dtype)
        if not items.height:
            raise DataError(f"{file}: every item_id is null; expected at least one item")
        topics, unknown_topics = topic_numbers(items["topics"].to_list(), release.topic_number)
        tower = release.item_tower if settings.vectors == "tower" else None
        vectors, problems = item_vectors(items, topics, settings, tower, progress)
        if problems:
            row = min(problems)
            raise DataError(
                f"{file}: {len(problems):,} of {items.height:,} items cannot be added, the first is"
                f" {items['item_id'][row]!r}: {problems[row]}. Nothing was added; correct those or leave them out"
            )
        number_N = release.item_names.numbers(items["item_id"].to_list())
        replaced = int((number_N > 0).sum())
        cut_bytes = append_delta(release, Delta("add", int(time.time()), items, *vectors), key)
    return AddedItems(
        version=release.version,
        new=items.height - replaced,
        replaced=replaced,
        undescribed=int((~has_features(items, topics, settings.content_width)).sum()),
        unknown_topics=unknown_topics,
        unread_columns=unreadable_columns(items, settings.encoding),
        repairs=repairs,
        cut_bytes=cut_bytes,
    )


def remove_items(releases: str | Path, file: str | Path, *, sign: Path | None = None) -> RemovedItems:
    """Remove items from the current release, and return what was removed: it is not recommended again.

    Args:
        releases: the folder of releases.
        file: a table with the column item_id.
        sign: as for ``add_items``.

    Raises:
        DataError: the file cannot be used.
        UsageError: the file does not exist, the release does not have an item, or another process writes to the folder.
        ArtefactError: nothing is released, or the release is damaged.
    """
    key = None if sign is None else read_private_key(sign)
    store = ReleaseStore(releases)
    store.current()
    with store.lock():
        release = Release.open(store.folder(), trust=key)
        items = read_item_ids(Path(file), release.items["item_id"].dtype)
        ids = items["item_id"].to_list()
        numbers = release.item_names.numbers(ids)
        missing = np.flatnonzero(~find_rows(release.index.ids(), numbers)[1])
        if len(missing):
            raise UsageError(
                f"{file}: {len(missing):,} of {len(ids):,} items are not in release {release.version}, the first is"
                f" {ids[missing[0]]!r}. Nothing was removed; leave those out"
            )
        cut_bytes = append_delta(release, Delta("remove", int(time.time()), items), key)
    return RemovedItems(release.version, len(ids), cut_bytes)


def new_item_settings(release: Release) -> NewItems:
    """Return the settings by which new items get their vectors.

    Raises:
        UsageError: the vectors come from another run, or from the users of the training data.
    """
    settings = release.manifest.new_items
    if settings.vectors in _CLOSED:
        source, advice = _CLOSED[settings.vectors]
        raise UsageError(f"{release.path}: its item vectors come from {source}, so a new item has none; {advice}")
    return settings


def append_delta(release: Release, delta: Delta, key: PrivateKey | None) -> int:
    """Write a delta and apply it to an index on a server; return the bytes of an unfinished record that were cut off.

    Raises:
        UsageError: the release is opened with trusted keys, so its updates are signed, and ``key`` is None.
    """
    file = delta_log.delta_log_file(release.path)
    assert file is not None, "a release of a store has a delta log"
    if release.trust is not None and key is None:
        raise UsageError(f"{file}: item updates of a trusted release are signed; give the private key with --sign")
    cut_bytes = delta_log.append_delta(file, release.identity, delta, key)
    ReleaseStore(release.path.parent.parent).record(f"{delta.kind} {delta.items.height} items in {release.version}")
    release.sync_index()
    return cut_bytes


class ItemVectors(NamedTuple):
    """What a release keeps of N items."""

    input_ND: NDArray[np.float32]  # input of the user tower for an item of a history
    vector_ND: NDArray[np.float32]  # what the index holds


def item_vectors(
    items: pl.DataFrame, topics: Topics, settings: NewItems, tower: Session | None, progress: Progress = silent
) -> tuple[ItemVectors, dict[int, str]]:
    """Compute the vectors of new items from their description: by the tower, or their embeddings where it is None.

    Rows with a problem have arbitrary values. A problem says why the item of the row has no vector, as a sentence that
    follows the item's id.

    Raises:
        ArtefactError: the tower does not have the expected inputs or outputs.
    """
    content_NE, problems = _read_embeddings(items, settings.content_width)
    if settings.vectors == "embedding":
        vectors = ItemVectors(*[l2_normalize(content_NE)] * 2)
    else:
        topic_NG, feature_NF, chunks = pad_topics(topics), apply_encoding(items, settings.encoding), []
        for start in range(0, items.height, _ITEMS_PER_CHUNK):
            progress(start, items.height, "items")
            chunk = slice(start, start + _ITEMS_PER_CHUNK)
            chunks.append(run_item_tower(tower, topic_NG[chunk], feature_NF[chunk], content_NE[chunk]))
        vectors = ItemVectors(*(np.concatenate(arrays) for arrays in zip(*chunks, strict=True)))
    progress(items.height, items.height, "items")
    invalid = np.flatnonzero(~(are_valid_vectors(vectors.input_ND) & are_valid_vectors(vectors.vector_ND))).tolist()
    needs_embedding = settings.vectors == "embedding" or settings.frozen
    missing = np.flatnonzero(needs_embedding & ~content_NE.any(axis=1)).tolist()
    found = dict.fromkeys(invalid, "its numbers are so large that its vector is not finite")
    found |= dict.fromkeys(missing, "it has no 'embedding', and this release recommends by the items' own vectors")
    return vectors, found | problems


def _read_embeddings(items: pl.DataFrame, width: int) -> tuple[NDArray[np.float32], dict[int, str]]:
    """Return the items' embeddings (N, E), zeros where there is none, and the problem of each unusable row."""
    content_NE = np.zeros((items.height, width), dtype=np.float32)
    problems: dict[int, str] = {}
    if not width:
        return content_NE, problems
    for row, embedding in enumerate(items["embedding"].to_list()):
        if embedding is None:
            continue
        if len(embedding) != width:
            problems[row] = f"it has an embedding of {len(embedding)} numbers; those of this release have {width}"
            continue
        content_NE[row] = embedding
    for row in np.flatnonzero(~are_valid_vectors(content_NE)).tolist():
        problems[row] = "its embedding is longer than 1e19"
        content_NE[row] = 0
    return content_NE, problems


def pad_topics(topics: Topics) -> NDArray[np.int64]:
    """Return topics as a matrix (N, G) with zeros at the end and at least one column."""
    length_N = np.diff(topics.offset)
    topic_NG = np.zeros((len(length_N), max(1, int(length_N.max(initial=0)))), dtype=np.int64)
    topic_NG[np.arange(topic_NG.shape[1]) < length_N[:, None]] = topics.topic
    return topic_NG


def run_item_tower(
    tower: Session, topic_NG: NDArray[np.int64], feature_NF: NDArray[np.float32], content_NE: NDArray[np.float32]
) -> ItemVectors:
    """Return the vectors that the item tower computes from descriptions.

    Raises:
        ArtefactError: the tower does not have the expected inputs or outputs.
    """
    arrays: tuple[NDArray[Any], ...] = (topic_NG, feature_NF, content_NE)
    inputs = dict(zip(ITEM_TOWER_INPUTS, arrays, strict=True))
    return ItemVectors(*run_tower(tower, inputs, ITEM_TOWER_OUTPUTS, ITEM_TOWER))


def export_items(releases: str | Path, file: Path) -> tuple[str, int]:
    """Write the items of the current release as Parquet: item_id, title, topics, and vector of D float32 numbers.

    Returns:
        The version of the release, and the number of items.

    Raises:
        ArtefactError: nothing is released there, or the release is damaged.
        UsageError: the file has another ending.
    """
    if file.suffix != ".parquet":
        raise UsageError(f"{file}: items and vectors are written as Parquet; give a file name that ends in .parquet")
    release = Release.open(releases)
    item_n, names = release.index.ids(), release.topics
    ids, titles = release.item_names.columns(item_n)
    offset, topic = select_topics(release.item_topic_offset, release.item_topic, item_n)
    topics = [[names[t] for t in topic[first:end]] for first, end in pairwise(offset.tolist())]
    schema: dict[str, pl.DataType] = {"item_id": release.items["item_id"].dtype}
    schema |= {"title": pl.String(), "topics": pl.List(pl.String)}
    table = pl.DataFrame({"item_id": ids, "title": titles, "topics": topics}, schema=schema)
    with replace_file(file) as partial:
        table.with_columns(vector=release.index.vectors(item_n)).write_parquet(partial)
    return release.version, len(table)
