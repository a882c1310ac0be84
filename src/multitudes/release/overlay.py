"""Apply item updates to an open release: replaced and new rows over its arrays, which stay unchanged on the disk.

Legend: I items · m items that changed, ascending by number · D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.data.features import can_be_feature
from multitudes.data.schemas import COLUMN_ROLES
from multitudes.ids import Id
from multitudes.index.item_table import find_rows
from multitudes.index.protocol import Index, Topics
from multitudes.periodic import FileSignature
from multitudes.release.delta_log import Delta
from multitudes.release.id_mapping import ItemNames

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class RowOverlay:
    """Rows that replace some rows of a large matrix, which is not copied."""

    number_m: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    row_mD: NDArray[np.float32] | None = None  # None: no row

    def with_rows(self, number_m: NDArray[np.int64], row_mD: NDArray[np.float32]) -> "RowOverlay":
        """Return an overlay with more rows; they replace rows with the same numbers."""
        distinct, first = np.unique(np.concatenate([number_m, self.number_m]), return_index=True)
        rows = row_mD if self.row_mD is None else np.concatenate([row_mD, self.row_mD])
        return RowOverlay(distinct, rows[first])

    def rows(self, matrix_ID: NDArray[np.float32], number: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the rows with these numbers (any shape, then D)."""
        if self.row_mD is None:
            return matrix_ID[number]
        row, replaced = find_rows(self.number_m, number)
        rows = matrix_ID[np.where(replaced, 0, number)]
        rows[replaced] = self.row_mD[row[replaced]]
        return rows


@dataclass(frozen=True)
class AppliedDeltas:
    """The deltas that an open release contains."""

    inputs: RowOverlay = field(default_factory=RowOverlay)  # over ``item_input``
    end: int = 0  # byte of the delta log up to which it was read
    signature: FileSignature | None = None  # of the delta log when it was read


def apply_to_index(index: Index, topic_number: dict[str, int], net: "NetDelta", number: Mapping[Id, int]) -> None:
    """Add items to an index and remove items from it, by their numbers; doing so again changes nothing."""
    removed = np.array([number[item_id] for item_id in net.removed_s], dtype=np.int64)
    if len(removed):
        index.remove(removed[find_rows(index.ids(), removed)[1]])
    if net.added:
        row_m = net.rows(net.added)
        items = net.items()[row_m]
        topics, _ = topic_numbers(items["topics"].to_list(), topic_number)
        number_m, names = np.array([number[item_id] for item_id in net.added]), items.select("item_id", "title")
        index.add(number_m, net.vectors()[row_m], topics if topic_number else None, names)


def assign_numbers(names: ItemNames, net: "NetDelta") -> dict[Id, int]:
    """Return the number of every item of a delta; new items are numbered in the order in which they were added."""
    last, ids = len(names), (*net.last_row, *net.removed_s)
    known = dict(zip(ids, names.numbers(ids).tolist(), strict=True))
    new = [item_id for item_id in net.last_row if not known[item_id]]
    return known | {item_id: last + i for i, item_id in enumerate(new, start=1)}


@dataclass(frozen=True)
class NetDelta:
    """The net effect of several deltas: the last update of each item counts."""

    deltas: Sequence[Delta]
    last_row: dict[Id, int]  # of each added item, in order: its last row among all added rows
    removed_s: dict[Id, int]  # items that are removed at the end, with the time of the removal

    @property
    def added(self) -> list[Id]:
        """Items that were added and not removed again."""
        return [item_id for item_id in self.last_row if item_id not in self.removed_s]

    def rows(self, ids: Sequence[Id]) -> NDArray[np.int64]:
        """Return the last row of each item, for ``items``, ``inputs`` and ``vectors``."""
        return np.array([self.last_row[item_id] for item_id in ids], dtype=np.int64)

    def items(self) -> pl.DataFrame:
        """Return all added rows as given; null where a file lacks a column."""
        frames = [delta.items for delta in self.deltas if delta.kind == "add"]
        return pl.concat(_align_columns(frames), how="diagonal_relaxed")

    def inputs(self) -> NDArray[np.float32]:
        """Return the user tower's inputs of all added rows."""
        return np.concatenate([delta.input_ND for delta in self.deltas if delta.input_ND is not None])

    def vectors(self) -> NDArray[np.float32]:
        """Return the index's vectors of all added rows."""
        return np.concatenate([delta.vector_ND for delta in self.deltas if delta.vector_ND is not None])


def net_delta(deltas: Sequence[Delta]) -> NetDelta:
    """Return the net effect of deltas."""
    last_row: dict[Id, int] = {}
    removed_s: dict[Id, int] = {}
    rows = 0
    for delta in deltas:
        ids = delta.items["item_id"].to_list()
        if delta.kind == "remove":
            removed_s |= dict.fromkeys(ids, delta.at_s)
            continue
        last_row |= {item_id: rows + i for i, item_id in enumerate(ids)}
        rows += len(ids)
        for item_id in ids:
            removed_s.pop(item_id, None)
    return NetDelta(deltas, last_row, removed_s)


def removals(removed_s: dict[Id, int], dtype: pl.DataType) -> list[Delta]:
    """Return the removals, each at its time: an item with a later event comes back with the next data."""
    return [
        Delta("remove", at_s, pl.DataFrame({"item_id": [i for i, s in removed_s.items() if s == at_s]}).cast(dtype))
        for at_s in sorted(set(removed_s.values()))
    ]


def _align_columns(frames: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """Drop columns that cannot be features, and cast a column that has several types to text.

    Each file is valid alone, for example with a price as a number in one and as a string in another. Where a number is
    expected, the text is parsed.
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
    """Return the topic numbers of items, in order, and how many distinct topics have no number."""
    known = [[number[topic] for topic in row if topic in number] for row in topics]
    lengths = np.array([len(row) for row in known], dtype=np.int64)
    flat = np.array([topic for row in known for topic in row], dtype=np.int64)
    unknown = {topic for row in topics for topic in row if topic not in number}
    return Topics.from_counts(lengths, flat), len(unknown)


def has_features(items: pl.DataFrame, topics: Topics, content_width: int) -> NDArray[np.bool_]:
    """Return a mask of the items with a topic or, if the release reads embeddings, an embedding that is not zero."""
    has_topic = np.diff(topics.offset) > 0
    if not content_width:
        return has_topic
    largest = pl.col("embedding").list.eval(pl.element().abs()).list.max()
    return np.asarray(has_topic | items.select((largest > 0).fill_null(False)).to_series().to_numpy())


def replace_ragged_rows(
    offset: NDArray[np.int64], flat: NDArray[np.int32], number_m: NDArray[np.int64], rows: Topics
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return ragged rows, as offset (I + 1) and values, of which those at ``number_m`` are replaced or appended."""
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
    """Return a copy of a column, with zeros appended until it has a row for each of ``number_m``."""
    return np.concatenate([column_I, np.zeros(_rows_to_add(len(column_I), number_m), dtype=column_I.dtype)])


def _rows_to_add(length: int, number_m: NDArray[np.int64]) -> int:
    return max(0, int(number_m.max(initial=-1)) + 1 - length)
