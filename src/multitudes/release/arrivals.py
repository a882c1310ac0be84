"""What the changes since publishing come to: the last word on each item, and arrays with new rows.

Legend: I items · m items that changed, ascending by number · D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.data.features import can_be_feature
from multitudes.data.roles import ROLES
from multitudes.ids import Id
from multitudes.index.protocol import Topics
from multitudes.release.changes import Change

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Outcome:
    """What several changes come to."""

    changes: Sequence[Change]
    last: dict[Id, int]  # of each item that came, in that order: its last row, counted through all that were added
    removed_s: dict[Id, int]  # when those were removed that are gone at the end

    @property
    def added(self) -> list[Id]:
        """Items that came and are there at the end."""
        return [item_id for item_id in self.last if item_id not in self.removed_s]

    def rows(self, ids: Sequence[Id]) -> NDArray[np.int64]:
        """Return the last row of each item, to be taken from ``items``, ``inputs`` or ``vectors``."""
        return np.array([self.last[item_id] for item_id in ids], dtype=np.int64)

    def items(self) -> pl.DataFrame:
        """Return all rows that were added, as they were given; a column that some lack is null there."""
        return pl.concat(_alike([c.items for c in self.changes if c.kind == "add"]), how="diagonal_relaxed")

    def inputs(self) -> NDArray[np.float32]:
        """Return what the user tower sees of all rows that were added."""
        return np.concatenate([change.input_ND for change in self.changes if change.input_ND is not None])

    def vectors(self) -> NDArray[np.float32]:
        """Return what the index holds of all rows that were added."""
        return np.concatenate([change.vector_ND for change in self.changes if change.vector_ND is not None])


def outcome(changes: Sequence[Change]) -> Outcome:
    """Return what changes come to, the later over the earlier."""
    last: dict[Id, int] = {}
    removed_s: dict[Id, int] = {}
    rows = 0
    for change in changes:
        ids = change.items["item_id"].to_list()
        if change.kind == "remove":
            removed_s |= dict.fromkeys(ids, change.at_s)
            continue
        last |= {item_id: rows + i for i, item_id in enumerate(ids)}
        rows += len(ids)
        for item_id in ids:
            removed_s.pop(item_id, None)
    return Outcome(changes, last, removed_s)


def _alike(frames: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return rows without the columns that can be no feature; one that files hold as several types becomes text.

    Nobody who adds a file knows the types of those before it: with a price that is a number here and a text there, each
    file is sound. As text it is read as a number where one is expected.
    """
    types: dict[str, set[pl.DataType]] = {}
    for frame in frames:
        for name, dtype in frame.schema.items():
            if name not in ROLES["items"] and can_be_feature(dtype):
                types.setdefault(name, set()).add(dtype)
    mixed = [name for name, found in types.items() if len(found) > 1]
    return [
        frame.select(
            pl.col(name).cast(pl.String) if name in mixed else pl.col(name)
            for name, dtype in frame.schema.items()
            if name in ROLES["items"] or can_be_feature(dtype)
        )
        for frame in frames
    ]


def topic_numbers(topics: Sequence[Sequence[str]], number: dict[str, int]) -> tuple[Topics, int]:
    """Return the topics of items by number, in their order, and how many there are that nobody numbered."""
    known = [[number[topic] for topic in row if topic in number] for row in topics]
    lengths = np.array([len(row) for row in known], dtype=np.int64)
    flat = np.array([topic for row in known for topic in row], dtype=np.int64)
    unknown = {topic for row in topics for topic in row if topic not in number}
    return Topics.of(lengths, flat), len(unknown)


def described(items: pl.DataFrame, topics: Topics, content_width: int) -> NDArray[np.bool_]:
    """Return of which items a release reads a topic, or, where it reads embeddings, one that is not all zeros."""
    has_topic = np.diff(topics.offset) > 0
    if not content_width:
        return has_topic
    longest = pl.col("embedding").list.eval(pl.element().abs()).list.max()
    return np.asarray(has_topic | items.select((longest > 0).fill_null(False)).to_series().to_numpy())


def ragged_with(
    offset: NDArray[np.int64], flat: NDArray[np.int32], number_m: NDArray[np.int64], rows: Topics
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return ragged rows of which those at ``number_m`` are replaced, or added behind the last one."""
    length_I = np.diff(offset)
    length_J = np.concatenate([length_I, np.zeros(_beyond(len(length_I), number_m), dtype=np.int64)])
    length_J[number_m] = np.diff(rows.offset)
    new_J = np.zeros(len(length_J), dtype=np.bool_)
    new_J[number_m] = True
    values = np.empty(length_J.sum(), dtype=flat.dtype)
    is_new = np.repeat(new_J, length_J)
    values[is_new] = rows.topic
    values[~is_new] = flat[np.repeat(~new_J[: len(length_I)], length_I)]
    return np.concatenate([[0], np.cumsum(length_J)]), values


def grown(column_I: NDArray[T], number_m: NDArray[np.int64]) -> NDArray[T]:
    """Return a copy of a column with zeros behind it, so that it has room for all of ``number_m``."""
    return np.concatenate([column_I, np.zeros(_beyond(len(column_I), number_m), dtype=column_I.dtype)])


def _beyond(length: int, number_m: NDArray[np.int64]) -> int:
    return max(0, int(number_m.max(initial=-1)) + 1 - length)
