"""The prepared folder: ``multitudes prepare`` writes it, all other commands read it.

Legend: U users · I items of the vocabulary · E events · T topics.

Events are one flat list, sorted by user, then time, then the tie order; user ``u`` owns the positions
``event_offset[u] : event_offset[u + 1]``. Items and topics are numbered from 1; **0 is the unknown item or topic**,
which is also the padding. Arrays are ``.npy`` files that are opened as memory maps.

============================ ========= ======= ======================================================================
file                         shape     dtype   meaning
============================ ========= ======= ======================================================================
event_offset                 U+1       int64   index of each user's first event
event_item                   E         int32   item number, 0 = not in the vocabulary
event_time                   E         int64   seconds (or positions, for logs that carry order only)
event_action                 E         uint8   number of the action in ``manifest.actions``, from 1; 0 is padding
event_weight                 E         float32 weight as a positive example; 0 = not a positive
event_valid                  E         bool    usable: has features, action not negative, not flagged invalid
event_split                  E         uint8   0 train, 1 validation, 2 test
event_past                   E         int32   number of the user's events strictly before this one's time
event_first                  E         bool    first positive event of this user with this item
event_source                 E         int32   topic that sourced the impression (logged), 0 = none
event_after_follows          E         bool    later than the time when the followed topics are known
follow_offset, follow_topic  U+1, ·    int64, int32  topics that each user follows
item_topic_offset, item_topic  I+2, ·  int64, int32  topics of each item (row 0: none)
item_count                   I+1       int64   positive training events (row 0: 0)
item_recent_count            I+1       int64   the same in the last ``manifest.recent_s`` seconds of training
item_feature                 I+1, F    float32 standardised numbers and one-hot categories; F may be 0
item_embedding               I+1, d    float32 only if the items table has the column; zeros where missing
user_feature                 U, P      float32 as item_feature; P may be 0
============================ ========= ======= ======================================================================

``users.parquet`` (user_id), ``items.parquet`` (item_id, title) and ``topics.parquet`` (topic) give the names, in the
order of the numbers (the first row of items and topics is number 1).
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.atomic import read_json
from multitudes.errors import ArtefactError
from multitudes.memory_map import open_array

FORMAT = "multitudes-prepared"
FORMAT_VERSION = 1
TRAIN, VALIDATION, TEST = 0, 1, 2
Split = Literal["validation", "test"]
SPLIT_CODE: dict[Split, int] = {"validation": VALIDATION, "test": TEST}
_ADVICE = "run multitudes prepare again, with --overwrite"


@dataclass(frozen=True)
class InteractionData:
    """The arrays that a prepared data set and a release share; those of a release end at its history length."""

    event_offset: NDArray[np.int64]
    event_item: NDArray[np.int32]
    event_time: NDArray[np.int64]
    event_action: NDArray[np.uint8]
    event_valid: NDArray[np.bool_]
    follow_offset: NDArray[np.int64]
    follow_topic: NDArray[np.int32]
    item_topic_offset: NDArray[np.int64]
    item_topic: NDArray[np.int32]
    item_count: NDArray[np.int64]
    user_feature: NDArray[np.float32]

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.event_offset) - 1

    @property
    def n_items(self) -> int:
        """Number of items in the vocabulary, without the unknown item 0."""
        return len(self.item_count) - 1


@dataclass(frozen=True, repr=False)
class PreparedData(InteractionData):
    """A prepared data set, opened as memory maps. Its arrays are described in the table of this module."""

    path: Path
    manifest: dict[str, Any]
    event_weight: NDArray[np.float32]
    event_split: NDArray[np.uint8]
    event_past: NDArray[np.int32]
    event_first: NDArray[np.bool_]
    event_source: NDArray[np.int32]
    event_after_follows: NDArray[np.bool_]
    item_recent_count: NDArray[np.int64]
    item_feature: NDArray[np.float32]
    item_embedding: NDArray[np.float32] | None

    @classmethod
    def open(cls, path: str | Path) -> "PreparedData":
        """Open a folder written by ``multitudes prepare``.

        Args:
            path: the prepared folder.

        Raises:
            ArtefactError: the folder is missing, incomplete, or of another format version.
        """
        folder = Path(path)
        advice = f"write it with: multitudes prepare DATA --out {folder}"
        if any(folder.glob("events.*")):
            advice = f"these are tables; prepare them with: multitudes prepare {folder} --out FOLDER"
        missing = f"{folder}: no prepared data here (manifest.json is missing); {advice}"
        manifest = read_json(folder / "manifest.json", FORMAT, FORMAT_VERSION, _ADVICE, missing)
        arrays = {name: open_array(folder / f"{name}.npy", dtype, _ADVICE) for name, dtype in ARRAYS.items()}
        embedding_file = folder / "item_embedding.npy"
        embedding = open_array(embedding_file, np.float32, _ADVICE) if embedding_file.exists() else None
        return cls(path=folder, manifest=manifest, item_embedding=embedding, **arrays)

    def __repr__(self) -> str:
        """Return its folder and its size, not its arrays."""
        return f"PreparedData('{self.path}': {self.n_users:,} users, {len(self.event_item):,} events)"

    @property
    def n_topics(self) -> int:
        """Number of topics in the vocabulary, without the unknown topic 0."""
        return int(self.manifest["counts"]["topics"])

    @property
    def n_actions(self) -> int:
        """Number of distinct actions, which are numbered from 1."""
        return len(self.manifest["actions"])

    @property
    def ordered_only(self) -> bool:
        """Whether timestamps are positions instead of times."""
        return bool(self.manifest["ordered_only"])

    @cached_property
    def user_ids(self) -> pl.Series:
        """Ids of the users in the order of their numbers, int64 or string as given (U)."""
        return _read_names(self.path / "users.parquet", "user_id")["user_id"]

    @cached_property
    def items(self) -> pl.DataFrame:
        """Columns item_id and title; row ``i`` is item number ``i + 1``."""
        return _read_names(self.path / "items.parquet", "item_id", "title")

    @cached_property
    def topics(self) -> list[str]:
        """Topic names by number; entry 0 is the empty name of the unknown topic."""
        return ["", *_read_names(self.path / "topics.parquet", "topic")["topic"].to_list()]

    def users_of(self, position: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the number of the user, from 0, of the event at each flat position; in the same shape."""
        return np.searchsorted(self.event_offset, position, side="right") - 1

    def followed_topics(self, user: int) -> NDArray[np.int32]:
        """Return the numbers of the topics that user number ``user`` follows."""
        return self.follow_topic[self.follow_offset[user] : self.follow_offset[user + 1]]


def array_types(record: type[object]) -> dict[str, type[np.generic]]:
    """Return the item of each attribute ``NDArray[item]`` of a class by name, without those that may be None."""
    arrays = {name: hint for name, hint in get_type_hints(record).items() if get_origin(hint) in (np.ndarray, NDArray)}
    # From NumPy 2.5 on, ``NDArray`` is an alias of its own and has the item; before, it is an array that has a dtype.
    return {
        name: get_args(hint)[0] if get_origin(hint) is NDArray else get_args(get_args(hint)[1])[0]
        for name, hint in arrays.items()
    }


ARRAYS = array_types(PreparedData)  # embeddings are optional


def _read_names(file: Path, *columns: str) -> pl.DataFrame:
    try:
        return pl.read_parquet(file, columns=list(columns), glob=False)
    except FileNotFoundError:
        raise ArtefactError(f"{file}: missing; {_ADVICE}") from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        raise ArtefactError(f"{file}: damaged or cut short; {_ADVICE}") from None
