"""What the changes since publishing come to: the last word on each item, and arrays with new rows.

Legend: I items · m items that changed, ascending by number · D width.

What came and went since a release was published, laid over what was published without changing or copying that.

Legend: m items that changed, ascending by number · I items · D width.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.data.features import can_be_feature
from multitudes.data.schemas import COLUMN_ROLES
from multitudes.ids import Id
from multitudes.index.item_table import find_rows
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Index, Topics
from multitudes.periodic import FileSignature
from multitudes.release.delta_log import Delta
from multitudes.release.id_mapping import ItemName

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class NetDelta:
    """What several changes come to."""

    deltas: Sequence[Delta]
    last_row: dict[Id, int]  # of each item that came, in that order: its last row, counted through all that were added
    removed_s: dict[Id, int]  # when those were removed that are gone at the end

    @property
    def added(self) -> list[Id]:
        """Items that came and are there at the end."""
        return [item_id for item_id in self.last_row if item_id not in self.removed_s]

    def rows(self, ids: Sequence[Id]) -> NDArray[np.int64]:
        """Return the last row of each item, to be taken from ``items``, ``inputs`` or ``vectors``."""
        return np.array([self.last_row[item_id] for item_id in ids], dtype=np.int64)

    def items(self) -> pl.DataFrame:
        """Return all rows that were added, as they were given; a column that some lack is null there."""
        return pl.concat(_align_columns([c.items for c in self.deltas if c.kind == "add"]), how="diagonal_relaxed")

    def inputs(self) -> NDArray[np.float32]:
        """Return what the user tower sees of all rows that were added."""
        return np.concatenate([change.input_ND for change in self.deltas if change.input_ND is not None])

    def vectors(self) -> NDArray[np.float32]:
        """Return what the index holds of all rows that were added."""
        return np.concatenate([change.vector_ND for change in self.deltas if change.vector_ND is not None])


def net_delta(deltas: Sequence[Delta]) -> NetDelta:
    """Return what changes come to, the later over the earlier."""
    last: dict[Id, int] = {}
    removed_s: dict[Id, int] = {}
    rows = 0
    for change in deltas:
        ids = change.items["item_id"].to_list()
        if change.kind == "remove":
            removed_s |= dict.fromkeys(ids, change.at_s)
            continue
        last |= {item_id: rows + i for i, item_id in enumerate(ids)}
        rows += len(ids)
        for item_id in ids:
            removed_s.pop(item_id, None)
    return NetDelta(deltas, last, removed_s)


def _align_columns(frames: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return rows without the columns that can be no feature; one that files hold as several types becomes text.

    Nobody who adds a file knows the types of those before it: with a price that is a number here and a text there, each
    file is sound. As text it is read as a number where one is expected.
    """
    types: dict[str, set[pl.DataType]] = {}
    for frame in frames:
        for name, dtype in frame.schema.items():
            if name not in COLUMN_ROLES["items"] and can_be_feature(dtype):
                types.setdefault(name, set()).add(dtype)
    mixed = [name for name, found in types.items() if len(found) > 1]
    return [
        frame.select(
            pl.col(name).cast(pl.String) if name in mixed else pl.col(name)
            for name, dtype in frame.schema.items()
            if name in COLUMN_ROLES["items"] or can_be_feature(dtype)
        )
        for frame in frames
    ]


def topic_numbers(topics: Sequence[Sequence[str]], number: dict[str, int]) -> tuple[Topics, int]:
    """Return the topics of items by number, in their order, and how many there are that nobody numbered."""
    known = [[number[topic] for topic in row if topic in number] for row in topics]
    lengths = np.array([len(row) for row in known], dtype=np.int64)
    flat = np.array([topic for row in known for topic in row], dtype=np.int64)
    unknown = {topic for row in topics for topic in row if topic not in number}
    return Topics.from_counts(lengths, flat), len(unknown)


def has_features(items: pl.DataFrame, topics: Topics, content_width: int) -> NDArray[np.bool_]:
    """Return of which items a release reads a topic, or, where it reads embeddings, one that is not all zeros."""
    has_topic = np.diff(topics.offset) > 0
    if not content_width:
        return has_topic
    longest = pl.col("embedding").list.eval(pl.element().abs()).list.max()
    return np.asarray(has_topic | items.select((longest > 0).fill_null(False)).to_series().to_numpy())


def replace_ragged_rows(
    offset: NDArray[np.int64], flat: NDArray[np.int32], number_m: NDArray[np.int64], rows: Topics
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return ragged rows of which those at ``number_m`` are replaced, or added behind the last one."""
    length_I = np.diff(offset)
    length_J = np.concatenate([length_I, np.zeros(_rows_to_add(len(length_I), number_m), dtype=np.int64)])
    length_J[number_m] = np.diff(rows.offset)
    new_J = np.zeros(len(length_J), dtype=np.bool_)
    new_J[number_m] = True
    values = np.empty(length_J.sum(), dtype=flat.dtype)
    is_new = np.repeat(new_J, length_J)
    values[is_new] = rows.topic
    values[~is_new] = flat[np.repeat(~new_J[: len(length_I)], length_I)]
    return np.concatenate([[0], np.cumsum(length_J)]), values


def extend_column(column_I: NDArray[T], number_m: NDArray[np.int64]) -> NDArray[T]:
    """Return a copy of a column with zeros behind it, so that it has room for all of ``number_m``."""
    return np.concatenate([column_I, np.zeros(_rows_to_add(len(column_I), number_m), dtype=column_I.dtype)])


def _rows_to_add(length: int, number_m: NDArray[np.int64]) -> int:
    return max(0, int(number_m.max(initial=-1)) + 1 - length)


if TYPE_CHECKING:
    from multitudes.release.release import Release


@dataclass(frozen=True)
class RowOverlay:
    """Rows that are laid over a large matrix, which is not copied for them."""

    number_m: NDArray[np.int64]
    row_mD: NDArray[np.float32]

    @classmethod
    def empty(cls, width: int) -> "RowOverlay":
        """Return an overlay without rows."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros((0, width), dtype=np.float32))

    def with_rows(self, number_m: NDArray[np.int64], row_mD: NDArray[np.float32]) -> "RowOverlay":
        """Return an overlay with these rows over those that it has."""
        number = np.concatenate([number_m, self.number_m])
        distinct, first = np.unique(number, return_index=True)
        return RowOverlay(distinct, np.concatenate([row_mD, self.row_mD])[first])

    def rows(self, matrix_ID: NDArray[np.float32], number: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the rows with these numbers (any shape, then D)."""
        if len(self.number_m) == 0:
            return matrix_ID[number]
        place, laid_over = find_rows(self.number_m, number)
        rows = matrix_ID[np.where(laid_over, 0, number)]
        rows[laid_over] = self.row_mD[place[laid_over]]
        return rows


@dataclass(frozen=True)
class AppliedDeltas:
    """What is laid over a release, and how far its file of changes was read for that."""

    inputs: RowOverlay
    end: int = 0
    signature: FileSignature | None = None

    @classmethod
    def none(cls, width: int) -> "AppliedDeltas":
        """Return the state of a release as it was published."""
        return cls(RowOverlay.empty(width))


def apply_deltas(release: "Release", deltas: Sequence[Delta]) -> dict[str, Any]:
    """Return the attributes of ``release`` that are others once these changes are made."""
    net = net_delta(deltas)
    number = _assign_numbers(release, net)
    index = release.index
    if isinstance(
        index, LiveIndex
    ):  # of this process alone; one that all share was changed by whoever changed the file
        index = copy(index)  # it replaces what it is made of and never changes it: a copy is a state of its own
        apply_to_index(index, release, net, number)
    if not net.last_row:
        return {"index": index}
    ids = sorted(net.last_row, key=number.__getitem__)
    number_m, row_m = np.array([number[item_id] for item_id in ids]), net.rows(ids)
    items = net.items()[row_m]
    topics, _ = topic_numbers(items["topics"].to_list(), release.topic_number)
    offset, flat = replace_ragged_rows(release.item_topic_offset, release.item_topic, number_m, topics)
    usable_I = extend_column(release.item_usable, number_m)
    how = release.manifest.new_items
    usable_I[number_m] = has_features(items, topics, how.content_width if how else 0)
    named = {
        n: ItemName(*row) for n, row in zip(number_m.tolist(), items.select("item_id", "title").rows(), strict=True)
    }
    return {
        "index": index,
        "item_topic_offset": offset,
        "item_topic": flat,
        "item_count": extend_column(release.item_count, number_m),
        "item_usable": usable_I,
        "item_names": release.item_names.with_updates(named),
        "since": AppliedDeltas(release.since.inputs.with_rows(number_m, net.inputs()[row_m])),
    }


def apply_to_index(index: Index, release: "Release", net: NetDelta, number: Mapping[Id, int]) -> None:
    """Change an index so that it holds what came and not what went; what is so already may be done again."""
    gone = np.array([number[item_id] for item_id in net.removed_s], dtype=np.int64)
    if len(gone):
        index.remove(gone[find_rows(index.ids(), gone)[1]])
    if net.added:
        row_m, names = net.rows(net.added), release.topic_number
        topics, _ = topic_numbers(net.items()[row_m]["topics"].to_list(), names)
        number_m = np.array([number[item_id] for item_id in net.added])
        index.add(number_m, net.vectors()[row_m], topics if names else None)


def _assign_numbers(release: "Release", net: NetDelta) -> dict[Id, int]:
    """Return the number of every item that came or went; new ones are numbered in the order in which they came."""
    names, last = release.item_names, len(release.item_names)
    ids = (*net.last_row, *net.removed_s)
    known = dict(zip(ids, names.numbers(ids).tolist(), strict=True))
    new = [item_id for item_id in net.last_row if not known[item_id]]
    return known | {item_id: last + i for i, item_id in enumerate(new, start=1)}
