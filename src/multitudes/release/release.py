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

Beside them: ``manifest.json``, ``user_tower.onnx`` (none where PinnerSage makes the vectors), ``index/`` (it holds the
item vectors, by item number), ``users.parquet`` (user_id), ``items.parquet`` (item_id, title) and ``topics.parquet``
(topic).
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.data.prepared import open_array
from multitudes.errors import ArtefactError
from multitudes.index import build as indexes
from multitudes.index.protocol import Index
from multitudes.release import manifest as manifests
from multitudes.release.manifest import Manifest
from multitudes.release.store import ReleaseStore

USER_TOWER = "user_tower.onnx"
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
    """One release. Attributes are as in the module's table; arrays are memory maps."""

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

    @classmethod
    def open(cls, path: str | Path) -> "Release":
        """Open the current release of a folder of releases, or one version's own folder, and verify every file.

        Raises:
            ArtefactError: nothing is released there, or a file is missing, changed, cut or of another version.
        """
        folder = Path(path)
        if not (folder / manifests.MANIFEST).exists():
            folder = ReleaseStore(folder).folder()
        manifest = manifests.read(folder)
        manifests.verify(folder, manifest)
        arrays = {name: _array(folder / f"{name}.npy", dtype) for name, dtype in ARRAYS.items()}
        return cls(path=folder, manifest=manifest, index=indexes.load(folder / "index"), **arrays)

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
    def items(self) -> pl.DataFrame:
        """Columns item_id and title; row ``i`` is item number ``i + 1``."""
        return pl.read_parquet(self.path / "items.parquet")

    @cached_property
    def topics(self) -> list[str]:
        """Topic names by number; entry 0 is the empty name of the unknown topic."""
        return ["", *pl.read_parquet(self.path / "topics.parquet")["topic"].to_list()]

    @cached_property
    def user_tower(self) -> Any:  # noqa: ANN401 (onnxruntime has no types)
        """The user tower as an ONNX Runtime session on one thread of the CPU; loaded when first used.

        Raises:
            ArtefactError: the file is no model that this ONNX Runtime can run.
        """
        import onnxruntime  # noqa: PLC0415 (a tenth of a second that listing releases need not pay)

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        file = self.path / USER_TOWER
        try:
            return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base of their own
            reason = str(error).splitlines()[0]
            raise ArtefactError(f"{file}: ONNX Runtime cannot load it ({reason}); publish the run again") from error

    def seen(self, user: int) -> NDArray[np.int64]:
        """Return the distinct items of the whole history of user number ``user``."""
        items = self.seen_item[self.seen_offset[user] : self.seen_offset[user + 1]]
        return np.asarray(items, dtype=np.int64)


def _array(file: Path, dtype: type[np.generic]) -> NDArray[Any]:
    # Still on the disk; the subclass of a memory map costs a microsecond at every slice.
    return open_array(file, dtype, "publish the run again").view(np.ndarray)
