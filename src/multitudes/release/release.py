"""A release: the model, its index, its vocabularies and the users' histories at the time of publishing.

Legend: U users · I items · D width of the vectors · P user features. The arrays have the names and meanings of the
prepared folder; items and topics are numbered from 1, and 0 is the unknown item or topic.

============================ ======= ======= ==========================================================================
file                         shape   dtype   meaning
============================ ======= ======= ==========================================================================
item_input                   I+1, D' float32 input of the user tower for an item of a history (row 0: zeros)
item_topic_offset, item_topic  I+2, ·  int64, int32  topics of each item
item_count                   I+1     int64   users with a positive event in training
item_usable                  I+1     bool    has a feature, so may take part in an interest
item_taste                   I+1     int16   taste of the item (``index.tastes``), −1 = none
taste_centre                 T, D    float32 centres of the tastes, which give added items theirs
event_offset                 U+1     int64   where each user's most recent ``history_length`` events begin
event_item                   ·       int32   item number, 0 = not in the vocabulary
event_time                   ·       int64   seconds, or positions
event_action                 ·       uint8   code of the action, from 1
event_valid                  ·       bool    usable in a history
seen_offset, seen_item       U+1, ·  int64, int32  distinct items of the entire history, which are not recommended again
follow_offset, follow_topic  U+1, ·  int64, int32  followed topics
user_feature                 U, P    float32 features of the users
own_offset, own_item         U+1, ·  int64, int32  distinct items of the events of positive weight
own_count                    ·       int32   number of these events with each ``own_item``
own_newest, own_oldest       ·       int32   place of the newest and of the oldest of them in the user's history
linear_input                 I+1, R  float32 what an item of the history adds to a user's sum (row 0: zeros)
neighbour_offset             I+2     int64   where the row of each own item begins
neighbour_item, neighbour_weight  ·  int32, float32  what it adds to the scores of others
item_repeat_rate             I+1     float32 log repeat rate of each item, relative to the average
map_item                     S       int64   items whose place on the map of the explorer is known
map_position                 S, 2    float32 their places, in [0, 1]
============================ ======= ======= ==========================================================================

``linear_input`` is of the method linear, ``neighbour_`` of a release with neighbours, ``item_repeat_rate`` of one with
repeats; ``own_``: ``data.own_items``; ``map_``: ``release.item_map``.

The other files are ``manifest.json``, ``signature.json`` (of a signed release, see ``signature``), ``user_tower.onnx``
and ``item_tower.onnx`` (of a trained run), ``index/`` (the item vectors, by item number), ``users.arrow`` (user_id),
``items.arrow`` (item_id, title), ``topics.arrow`` (topic) and, if items were carried over from the release before,
``carried.log`` (a delta log).

Items that are added or removed later are in a delta log (``delta_log``), which is applied when the release is opened:
an added item gets the next number; a removed one keeps its number and leaves the index.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.atomic import write_text
from multitudes.data.own_items import OwnItems
from multitudes.data.prepared import InteractionData, array_types
from multitudes.errors import ArtefactError, one_line
from multitudes.ids import Id, check_id_type
from multitudes.index.factory import load_index
from multitudes.index.files import verify_all
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Index
from multitudes.index.tastes import nearest_tastes
from multitudes.memory_map import open_array
from multitudes.nn.methods import WITHOUT_TORCH
from multitudes.periodic import file_signature
from multitudes.release import delta_log
from multitudes.release.checks import check_release
from multitudes.release.id_mapping import IdMap, ItemName, ItemNames, PublishedNames, write_names
from multitudes.release.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from multitudes.release.onnx_session import Session, open_tower
from multitudes.release.overlay import (
    AppliedDeltas,
    NetDelta,
    apply_to_index,
    assign_numbers,
    extend_column,
    has_features,
    net_delta,
    replace_ragged_rows,
    topic_numbers,
)
from multitudes.release.signature import Trust, signed_files
from multitudes.release.store import release_folder

USER_TOWER = "user_tower.onnx"
ITEM_TOWER = "item_tower.onnx"
CARRIED_LOG = "carried.log"
CARRIED_OWNER = "carried"  # instead of the identity of a release: the file is part of the release
LINEAR_ARRAYS: dict[str, type[np.generic]] = {"linear_input": np.float32}
NEIGHBOUR_ARRAYS: dict[str, type[np.generic]] = {  # in the order of ``linear.neighbours.Neighbours``
    "neighbour_offset": np.int64,
    "neighbour_item": np.int32,
    "neighbour_weight": np.float32,
}
REPEAT_ARRAYS: dict[str, type[np.generic]] = {"item_repeat_rate": np.float32}
MAP_ARRAYS: dict[str, type[np.generic]] = {"map_item": np.int64, "map_position": np.float32}
_REPAIR = "publish the run again"


@dataclass(frozen=True)
class Release(InteractionData):
    """An open release, which never changes: ``latest`` returns a new one. The arrays are memory maps."""

    path: Path
    manifest: Manifest
    index: Index
    user_ids: pl.Series  # by user number
    items: pl.DataFrame  # published, with the columns item_id and title; row ``i`` is item number ``i + 1``
    topics: list[str]  # names by number; entry 0 is the empty name of the unknown topic
    item_input: NDArray[np.float32]
    item_usable: NDArray[np.bool_]
    item_taste: NDArray[np.int16]
    taste_centre: NDArray[np.float32]
    seen_offset: NDArray[np.int64]
    seen_item: NDArray[np.int32]
    own_offset: NDArray[np.int64]
    own_item: NDArray[np.int32]
    own_count: NDArray[np.int32]
    own_newest: NDArray[np.int32]
    own_oldest: NDArray[np.int32]
    applied: AppliedDeltas = field(default_factory=AppliedDeltas)
    trust: Trust | None = None  # whose item updates are applied; None: all
    linear_input: NDArray[np.float32] | None = None
    neighbour_offset: NDArray[np.int64] | None = None
    neighbour_item: NDArray[np.int32] | None = None
    neighbour_weight: NDArray[np.float32] | None = None
    item_repeat_rate: NDArray[np.float32] | None = None
    map_item: NDArray[np.int64] | None = None
    map_position: NDArray[np.float32] | None = None

    @classmethod
    def open(
        cls, path: str | Path, *, whole: bool = False, trust: Trust | None = None, updates: bool = True
    ) -> "Release":
        """Open a release, verify every file, and apply the delta log.

        Args:
            path: a folder of releases, of which the current one is opened, or the folder of one version.
            whole: check every number and vector of large arrays, not evenly spaced ones; see ``checks``.
            trust: a public key, or a folder of them, one of which must have signed the release and its item updates;
                None: no signature is needed. See ``signature``.
            updates: apply the delta log; else ``latest`` does.

        Returns:
            The release.

        Raises:
            ArtefactError: nothing is released there, or a file is missing, changed, truncated or of another format
                version, or files do not fit together, or no trusted key signed them.
            UsageError, MissingError: ``trust`` holds no public key.
        """
        folder = release_folder(Path(path))
        if trust is None:
            release = cls._open(folder, whole)
        else:
            with signed_files(folder, trust) as files:
                release = cls._open(files, whole)
                # What is otherwise read when it is first used.
                _ = release.identity, release.has_user_tower and release.user_tower
                _ = ITEM_TOWER in release.manifest.files and release.item_tower
            vars(release).update(path=folder, trust=trust)
        return release.latest() if updates else release

    @classmethod
    def _open(cls, folder: Path, whole: bool) -> "Release":
        """Open a release as published."""
        manifest = read_manifest(folder)
        optional = [name for name in (USER_TOWER, ITEM_TOWER, CARRIED_LOG) if (folder / name).exists()]
        verify_all(folder, manifest.files, (*_required_files(manifest), *optional), MANIFEST)
        names = _array_types(manifest)
        names |= {name: dtype for name, dtype in MAP_ARRAYS.items() if f"{name}.npy" in manifest.files}
        # Plain arrays over the memory maps: a slice of np.memmap costs a microsecond more.
        arrays: dict[str, Any] = {
            name: open_array(folder / f"{name}.npy", dtype, _REPAIR).view(np.ndarray) for name, dtype in names.items()
        }
        index = load_index(folder / "index")
        users, items, named = check_release(folder, manifest, index, arrays, whole=whole)
        topics = ["", *named["topic"].to_list()]
        user_ids = users["user_id"]
        return cls(path=folder, manifest=manifest, index=index, user_ids=user_ids, items=items, topics=topics, **arrays)

    @classmethod
    def in_memory(
        cls,
        manifest: Manifest,
        arrays: Mapping[str, NDArray[Any]],
        index: Index,
        user_ids: pl.Series,
        items: pl.DataFrame,
        topics: list[str],
        *,
        user_tower: Session,
    ) -> "Release":
        """Return a release without a folder; the arguments are those of ``write_release``, with a user tower."""
        path, types = Path("in memory"), _array_types(manifest)
        typed: dict[str, Any] = {name: np.asarray(arrays[name], dtype=dtype) for name, dtype in types.items()}
        release = cls(path=path, manifest=manifest, index=index, user_ids=user_ids, items=items, topics=topics, **typed)
        vars(release).update(user_tower=user_tower, identity="in memory")  # what is otherwise read from the folder
        return release

    def latest(self) -> "Release":
        """Return the release with the item updates since it was opened; itself if there are none.

        The check reads only the size and the time of the delta log. This release does not change while it is in use.

        Raises:
            ArtefactError: the delta log is damaged, not signed, or not the file that was read before.
        """
        file = delta_log.delta_log_file(self.path)
        try:
            signature = file_signature(file)
        except OSError as error:
            raise ArtefactError(f"{file}: cannot be read ({error.strerror}); {delta_log.REPAIR}") from None
        last_signature = self.applied.signature
        if file is None or signature == last_signature:
            return self
        if last_signature is not None and (signature is None or signature[0] != last_signature[0]):
            raise ArtefactError(f"{file}: was removed or replaced while in use; open the release again")
        new = delta_log.read_deltas(file, self.identity, self.applied.end, self.trust)
        updated = copy(self)  # with the cached properties
        if new.deltas:
            try:
                self._check_fit(new.deltas)
                vars(updated).update(self._apply(net_delta(new.deltas)))
            except Exception as error:  # whatever wrong content behind right checksums raises
                repair = delta_log.REPAIR
                raise ArtefactError(f"{file}: does not fit the release ({one_line(error)}); {repair}") from error
        vars(updated)["applied"] = replace(updated.applied, end=new.end, signature=signature)
        return updated

    def _check_fit(self, deltas: Sequence[delta_log.Delta]) -> None:
        """Raise ``ValueError`` unless ids are of the type of the release, and vectors of its widths."""
        id_type, widths = self.items["item_id"].dtype, (self.item_input.shape[1], int(self.index.info()["dimension"]))
        for delta in deltas:
            if delta.items["item_id"].dtype != id_type:
                raise ValueError(f"ids of type {delta.items['item_id'].dtype}; expected {id_type}")
            found = tuple(None if array is None else array.shape[1] for array in (delta.input_ND, delta.vector_ND))
            if delta.kind == "add" and found != widths:
                raise ValueError(f"vectors of widths {found}; expected {widths}")

    def _apply(self, net: NetDelta) -> dict[str, Any]:
        """Return the attributes that item updates change, with their new values."""
        number, index = assign_numbers(self.item_names, net), self.index
        if isinstance(index, LiveIndex):  # of this process alone; the process that wrote the log updates a shared index
            index = copy(index)  # an update replaces the arrays of an index and never changes them, so a copy is enough
            apply_to_index(index, self.topic_number, net, number)
        if not net.last_row:
            return {"index": index}
        ids = sorted(net.last_row, key=number.__getitem__)
        number_m, row_m = np.array([number[item_id] for item_id in ids]), net.rows(ids)
        items = net.items()[row_m]
        topics, _ = topic_numbers(items["topics"].to_list(), self.topic_number)
        offset, flat = replace_ragged_rows(self.item_topic_offset, self.item_topic, number_m, topics)
        usable_I = extend_column(self.item_usable, number_m)
        usable_I[number_m] = has_features(items, topics, self.manifest.new_items.content_width)
        taste_I = extend_column(self.item_taste, number_m)
        taste_I[number_m] = nearest_tastes(net.vectors()[row_m], self.taste_centre)
        names = zip(number_m.tolist(), items.select("item_id", "title").rows(), strict=True)
        return {
            "index": index,
            "item_topic_offset": offset,
            "item_topic": flat,
            "item_count": extend_column(self.item_count, number_m),
            "item_usable": usable_I,
            "item_taste": taste_I,
            "item_names": self.item_names.with_updates({n: ItemName(*row) for n, row in names}),
            "applied": AppliedDeltas(self.applied.inputs.with_rows(number_m, net.inputs()[row_m])),
        }

    def sync_index(self) -> None:
        """Apply the delta log to an index that several processes share; does nothing for an index of this process.

        Called by the process that wrote to the log. A file beside the log holds the byte up to which the index is
        updated, so the next update repeats what a crash left out.
        """
        file = delta_log.delta_log_file(self.path)
        if isinstance(self.index, LiveIndex) or file is None or not file.exists():
            return
        progress_file = file.with_suffix(".settled")
        start = int(progress_file.read_text(encoding="utf-8")) if progress_file.exists() else 0
        new = delta_log.read_deltas(file, self.identity, start, self.trust)
        net, names = net_delta(new.deltas), self.latest().item_names
        ids = (*net.last_row, *net.removed_s)
        apply_to_index(self.index, self.topic_number, net, dict(zip(ids, names.numbers(ids).tolist(), strict=True)))
        write_text(progress_file, f"{new.end}\n")

    @cached_property
    def identity(self) -> str:
        """Digest that identifies this release among releases with the same version."""
        return delta_log.release_identity(self.path)

    @property
    def version(self) -> str:
        """Name of the version."""
        return self.path.name

    @cached_property
    def user_numbers(self) -> IdMap:
        """Number of each user, from 1."""
        return IdMap(self.user_ids)

    @cached_property
    def item_names(self) -> ItemNames:
        """Ids and titles of all items, also of those added since."""
        return ItemNames(PublishedNames(self.items))

    @cached_property
    def topic_number(self) -> dict[str, int]:
        """Number of each topic, from 1."""
        return {topic: number for number, topic in enumerate(self.topics) if number}

    @property
    def has_user_tower(self) -> bool:
        """Whether a tower computes the user vectors."""
        return "user_tower" in vars(self) or USER_TOWER in self.manifest.files

    @cached_property
    def user_tower(self) -> Session:
        """The user tower; loaded on first use.

        Raises:
            ArtefactError: this ONNX Runtime cannot load the file.
        """
        return open_tower(self.path / USER_TOWER)

    @cached_property
    def item_tower(self) -> Session:
        """The item tower, which gives added items their vectors; loaded on first use.

        Raises:
            ArtefactError: this ONNX Runtime cannot load the file, or the release has none.
        """
        return open_tower(self.path / ITEM_TOWER)

    def check_id_types(self, user_ids: Iterable[Id], item_ids: Iterable[Id]) -> None:
        """Reject ids of another type than those of the data, which would silently be unknown.

        Raises:
            UsageError: an id is a text where those of the data are integers, or the other way round.
        """
        check_id_type("user_id", user_ids, self.user_numbers.has_integer_ids)
        check_id_type("item_id", item_ids, self.item_names.published.id_map.has_integer_ids)

    def input_vectors(self, item: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the user tower's inputs of items by number (any shape, then D')."""
        return self.applied.inputs.rows(self.item_input, item)

    def seen_items(self, user: int) -> NDArray[np.int64]:
        """Return the distinct items of the entire history of user number ``user``."""
        items = self.seen_item[self.seen_offset[user] : self.seen_offset[user + 1]]
        return np.asarray(items, dtype=np.int64)

    def own_items(self, user: int) -> OwnItems:
        """Return the items of the events of positive weight of user number ``user``."""
        items = slice(self.own_offset[user], self.own_offset[user + 1])
        arrays = (self.own_item, self.own_count, self.own_newest, self.own_oldest)
        columns = [np.asarray(array[items], dtype=np.int64) for array in arrays]
        return OwnItems(np.array([0, len(columns[0])]), *columns)


ARRAYS = array_types(Release)  # those of every release


def read_all_deltas(release: Path, trust: Trust | None = None) -> list[delta_log.Delta]:
    """Return the deltas of a release by its folder: those that it carried over, then those since it was published.

    Raises:
        ArtefactError: a delta log is damaged, or no trusted key signed it.
    """
    deltas = delta_log.read_deltas(release / CARRIED_LOG, CARRIED_OWNER, trust=trust).deltas
    file = delta_log.delta_log_file(release)
    if file is not None and file.exists():
        deltas += delta_log.read_deltas(file, delta_log.release_identity(release), trust=trust).deltas
    return deltas


def _array_types(manifest: Manifest) -> dict[str, type[np.generic]]:
    """Return the arrays of a release by name, with their types."""
    optional = (
        (manifest.linear, LINEAR_ARRAYS),
        (manifest.neighbours, NEIGHBOUR_ARRAYS),
        (manifest.repeats, REPEAT_ARRAYS),
    )
    return ARRAYS | {name: dtype for record, arrays in optional if record is not None for name, dtype in arrays.items()}


def _required_files(manifest: Manifest) -> list[str]:
    """Return the files that a release has in any case, beside those of its index."""
    needs_tower = manifest.pinnersage is None and manifest.linear is None and manifest.method not in WITHOUT_TORCH
    return [
        *(f"{name}.npy" for name in _array_types(manifest)),
        *("users.arrow", "items.arrow", "topics.arrow", "index/index.json"),
        *([USER_TOWER] if needs_tower else []),
        *([ITEM_TOWER] if manifest.new_items.vectors == "tower" else []),
    ]


def write_release(
    folder: Path,
    manifest: Manifest,
    arrays: Mapping[str, NDArray[Any]],
    index: Index,
    user_ids: pl.Series,
    items: pl.DataFrame,
    topics: list[str],
) -> None:
    """Write all files of a staged release but its towers; the manifest, to which checksums are added, last.

    Args:
        folder: of the release; has its towers already, if there are any.
        manifest: without checksums.
        arrays: all arrays of ``ARRAYS``, by name, and those of what the manifest has: ``LINEAR_ARRAYS``,
            ``NEIGHBOUR_ARRAYS``, ``REPEAT_ARRAYS``. Those of ``MAP_ARRAYS`` are optional.
        index: holds the item vectors, by item number.
        user_ids: by user number.
        items: columns item_id and title, by item number.
        topics: names by topic number; entry 0, the unknown topic, is not written.
    """
    types = _array_types(manifest) | {name: dtype for name, dtype in MAP_ARRAYS.items() if name in arrays}
    for name, dtype in types.items():
        np.save(folder / f"{name}.npy", np.asarray(arrays[name], dtype=dtype), allow_pickle=False)
    (folder / "index").mkdir()
    index.save(folder / "index")
    write_names(folder / "users.arrow", pl.DataFrame({"user_id": user_ids}))
    write_names(folder / "items.arrow", items.select("item_id", "title"))
    write_names(folder / "topics.arrow", pl.DataFrame({"topic": topics[1:]}, schema={"topic": pl.String}))
    write_manifest(folder, manifest)
