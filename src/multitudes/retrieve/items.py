"""Items come to a release, and leave it, without a new release: what ``multitudes items`` does."""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from multitudes.data.features import unread
from multitudes.data.items_file import read_item_ids, read_items
from multitudes.errors import ArtefactError, DataError, UsageError
from multitudes.index.rows import find_rows
from multitudes.progress import Progress, silent
from multitudes.release import changes
from multitudes.release.arrivals import described, topic_numbers
from multitudes.release.changes import Change
from multitudes.release.manifest import NewItems
from multitudes.release.release import ITEM_TOWER, Release
from multitudes.release.store import ReleaseStore
from multitudes.release.towers import open_tower
from multitudes.retrieve.item_tower import item_vectors


class Added(NamedTuple):
    """What came of adding the items of a file."""

    version: str
    new: int
    replaced: int  # items that the release had, or had had, before
    undescribed: int  # those of which the release reads neither a topic nor an embedding
    unknown_topics: int  # topic names that the release does not have: they wait for the next one
    unread_columns: list[str]  # that the release reads, and of which the file says nothing: they count as unknown
    repairs: dict[str, int]
    cut_bytes: int  # of a record that a crash had left unfinished


class Removed(NamedTuple):
    """What came of removing items."""

    version: str
    removed: int
    cut_bytes: int


def add_items(releases: str | Path, file: str | Path, progress: Progress = silent) -> Added:
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
    with store.locked():
        release = Release.open(store.folder())
        how = _how(release)
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
        cut = _append(release, Change("add", int(time.time()), items, *vectors))
    undescribed = int((~described(items, topics, how.content_width)).sum())
    lacking = unread(items, how.encoding)
    return Added(release.version, items.height - known, known, undescribed, unknown, lacking, repairs, cut)


def remove_items(releases: str | Path, file: str | Path) -> Removed:
    """Remove items from the release that serves: they are not recommended again.

    Raises:
        DataError: the file cannot be used.
        UsageError: no such file, an item is not there, or somebody else writes into the folder.
        ArtefactError: nothing is released, or the release is damaged.
    """
    store = ReleaseStore(releases)
    store.current()
    with store.locked():
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
        cut = _append(release, Change("remove", int(time.time()), items))
    return Removed(release.version, len(ids), cut)


def _how(release: Release) -> NewItems:
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


def _append(release: Release, change: Change) -> int:
    file = changes.file_of(release.path)
    assert file is not None, "a release of a store lies in its folder"
    cut_bytes = changes.append(file, release.identity, change)
    release.settle()
    return cut_bytes
