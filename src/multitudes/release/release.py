"""A release opened for serving: model, index, vocabularies and the users' state at the time of publishing.

Legend: U users · I items · D width of the vectors · P user features. Items and topics are numbered from 1, as in the
prepared folder, whose names and meanings the arrays keep; 0 is the unknown item or topic.

============================ ======= ======= ==========================================================================
file                         shape   dtype   meaning
============================ ======= ======= ==========================================================================
item_input                   I+1, D' float32 what the user tower sees of an item in a history (row 0: zeros)
item_topic_offset, item_topic I+2, · int64, int32  topics of each item
item_count                   I+1     int64   positive events until publishing
item_usable                  I+1     bool    has a feature, so may take part in an interest
event_offset                 U+1     int64   where each user's most recent ``history_length`` events begin
event_item                   ·       int32   item number, 0 = not in the vocabulary
event_time                   ·       int64   seconds, or positions
event_action                 ·       uint8   code of the action, from 1
event_valid                  ·       bool    usable in a history
seen_offset, seen_item       U+1, ·  int64, int32  distinct items of the whole history: what is not recommended again
follow_offset, follow_topic  U+1, ·  int64, int32  followed topics
user_feature                 U, P    float32 features of the users
============================ ======= ======= ==========================================================================

Beside them: ``manifest.json``, ``user_tower.onnx`` and ``item_tower.onnx`` (none where PinnerSage makes the vectors),
``index/`` (it holds the item vectors, by item number), ``users.parquet`` (user_id), ``items.parquet`` (item_id, title),
``topics.parquet`` (topic) and ``carried.log`` (items that came and went before it was published, where any did).

Items that come and go later stand in a file beside the release (``release.changes``), which is laid over it when it is
opened: an item that came gets the next number, one that went keeps its own, but leaves the index.

Writing the files of a release; the reading side, with the meaning of each file, is ``release.release``.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.atomic import write_text
from multitudes.data.prepared import open_array
from multitudes.errors import ArtefactError
from multitudes.index import factory as indexes
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Index
from multitudes.periodic import file_signature
from multitudes.release import delta_log
from multitudes.release import manifest as manifests
from multitudes.release.id_mapping import IdMap, ItemNames, PublishedNames
from multitudes.release.manifest import Manifest
from multitudes.release.onnx_session import Session, open_tower
from multitudes.release.overlay import AppliedDeltas, apply_deltas, apply_to_index, net_delta
from multitudes.release.store import ReleaseStore

USER_TOWER = "user_tower.onnx"
ITEM_TOWER = "item_tower.onnx"
CARRIED_LOG = "carried.log"
CARRIED_OWNER = "carried"  # in place of a release's identity: the file lies in the release itself
ARRAYS: dict[str, type[np.generic]] = {
    "item_input": np.float32,
    "item_topic_offset": np.int64,
    "item_topic": np.int32,
    "item_count": np.int64,
    "item_usable": np.bool_,
    "event_offset": np.int64,
    "event_item": np.int32,
    "event_time": np.int64,
    "event_action": np.uint8,
    "event_valid": np.bool_,
    "seen_offset": np.int64,
    "seen_item": np.int32,
    "follow_offset": np.int64,
    "follow_topic": np.int32,
    "user_feature": np.float32,
}


@dataclass(frozen=True)
class Release:
    """One release, which never changes: see ``latest``. Attributes are as in the module's table, as memory maps."""

    path: Path
    manifest: Manifest
    index: Index
    item_input: NDArray[np.float32]
    item_topic_offset: NDArray[np.int64]
    item_topic: NDArray[np.int32]
    item_count: NDArray[np.int64]
    item_usable: NDArray[np.bool_]
    event_offset: NDArray[np.int64]
    event_item: NDArray[np.int32]
    event_time: NDArray[np.int64]
    event_action: NDArray[np.uint8]
    event_valid: NDArray[np.bool_]
    seen_offset: NDArray[np.int64]
    seen_item: NDArray[np.int32]
    follow_offset: NDArray[np.int64]
    follow_topic: NDArray[np.int32]
    user_feature: NDArray[np.float32]
    since: AppliedDeltas

    @classmethod
    def open(cls, path: str | Path) -> "Release":
        """Open the current release of a folder of releases, or one version's own folder, and verify every file.

        Items that came and went since it was published are taken in.

        Raises:
            ArtefactError: nothing is released there, or a file is missing, changed, cut or of another version.
        """
        folder = Path(path)
        if not (folder / manifests.MANIFEST).exists():
            folder = ReleaseStore(folder).folder()
        manifest = manifests.read_manifest(folder)
        manifests.verify_files(folder, manifest)
        arrays = {name: _open_array(folder / f"{name}.npy", dtype) for name, dtype in ARRAYS.items()}
        since = AppliedDeltas.none(arrays["item_input"].shape[1])
        index = indexes.load_index(folder / "index")
        return cls(path=folder, manifest=manifest, index=index, since=since, **arrays).latest()

    def latest(self) -> "Release":
        """Return the release with the items that came and went since this was opened; itself, where none did.

        Cheap to ask: it looks at one file's size. This release stays as it is, so whoever uses it is not disturbed.

        Raises:
            ArtefactError: the file of changes is damaged, or is not the one that was read before.
        """
        file = delta_log.delta_log_file(self.path)
        signature = file_signature(file)
        if file is None or signature == self.since.signature:
            return self
        if self.since.signature is not None and (signature is None or signature[0] != self.since.signature[0]):
            raise ArtefactError(f"{file}: was removed or replaced while in use; open the release again")
        found = delta_log.read_deltas(file, self.identity, self.since.end)
        changed = copy(self)  # what was loaded stays loaded
        if found.deltas:
            vars(changed).update(apply_deltas(self, found.deltas))
        vars(changed)["since"] = replace(changed.since, end=found.end, signature=signature)
        return changed

    def sync_index(self) -> None:
        """Bring an index that many processes share to what the file of changes says; who changed the file does that.

        How far it was brought is written down beside the file, so what a crash kept from the index is made up for by
        the next change. An index of this process alone needs none of it.
        """
        file = delta_log.delta_log_file(self.path)
        if isinstance(self.index, LiveIndex) or file is None:
            return
        mark = file.with_suffix(".settled")
        found = delta_log.read_deltas(
            file, self.identity, int(mark.read_text(encoding="utf-8")) if mark.exists() else 0
        )
        net, names = net_delta(found.deltas), self.latest().item_names
        ids = (*net.last_row, *net.removed_s)
        apply_to_index(self.index, self, net, dict(zip(ids, names.numbers(ids).tolist(), strict=True)))
        write_text(mark, f"{found.end}\n")

    @cached_property
    def identity(self) -> str:
        """What tells this release from another of the same name."""
        return delta_log.release_identity(self.path)

    @property
    def version(self) -> str:
        """The version's name."""
        return self.path.name

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.event_offset) - 1

    @property
    def n_items(self) -> int:
        """Number of items, without the unknown item 0."""
        return len(self.item_count) - 1

    @cached_property
    def user_ids(self) -> pl.Series:
        """Ids of the users in the order of their numbers."""
        return pl.read_parquet(self.path / "users.parquet")["user_id"]

    @cached_property
    def user_numbers(self) -> IdMap:
        """Number of each user, from 1."""
        return IdMap(self.user_ids)

    @cached_property
    def items(self) -> pl.DataFrame:
        """Columns item_id and title of what was published; row ``i`` is item number ``i + 1``."""
        return pl.read_parquet(self.path / "items.parquet").rechunk()

    @cached_property
    def item_names(self) -> ItemNames:
        """Ids and titles of all items, those that came since among them."""
        return ItemNames(PublishedNames(self.items))

    @cached_property
    def topics(self) -> list[str]:
        """Topic names by number; entry 0 is the empty name of the unknown topic."""
        return ["", *pl.read_parquet(self.path / "topics.parquet")["topic"].to_list()]

    @cached_property
    def topic_number(self) -> dict[str, int]:
        """Number of each topic, from 1."""
        return {topic: number for number, topic in enumerate(self.topics) if number}

    @cached_property
    def user_tower(self) -> Session:
        """The user tower; loaded when first used.

        Raises:
            ArtefactError: the file is no model that this ONNX Runtime can run.
        """
        return open_tower(self.path / USER_TOWER)

    def input_vectors(self, item: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what the user tower sees of items by number (any shape, then D')."""
        return self.since.inputs.rows(self.item_input, item)

    def seen_items(self, user: int) -> NDArray[np.int64]:
        """Return the distinct items of the whole history of user number ``user``."""
        items = self.seen_item[self.seen_offset[user] : self.seen_offset[user + 1]]
        return np.asarray(items, dtype=np.int64)


def _open_array(file: Path, dtype: type[np.generic]) -> NDArray[Any]:
    # Still on the disk; the subclass of a memory map costs a microsecond at every slice.
    return open_array(file, dtype, "publish the run again").view(np.ndarray)


def write_release(
    folder: Path,
    manifest: Manifest,
    arrays: Mapping[str, NDArray[Any]],
    index: Index,
    user_ids: pl.Series,
    items: pl.DataFrame,
    topics: list[str],
) -> None:
    """Write everything but the towers, which lie in ``folder`` already if there are any; the manifest comes last.

    Args:
        folder: a staged release.
        manifest: without its checksums, which are taken here.
        arrays: every array of ``ARRAYS``, by name.
        index: holds the item vectors under the item numbers.
        user_ids: in the order of the user numbers.
        items: columns item_id and title, in the order of the item numbers.
        topics: names by topic number; entry 0, the unknown topic, is not written.
    """
    for name, dtype in ARRAYS.items():
        np.save(folder / f"{name}.npy", np.asarray(arrays[name], dtype=dtype), allow_pickle=False)
    (folder / "index").mkdir()
    index.save(folder / "index")
    pl.DataFrame({"user_id": user_ids}).write_parquet(folder / "users.parquet")
    items.select("item_id", "title").write_parquet(folder / "items.parquet")
    pl.DataFrame({"topic": topics[1:]}, schema={"topic": pl.String}).write_parquet(folder / "topics.parquet")
    manifests.write_manifest(folder, manifest)
