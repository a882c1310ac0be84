"""The mapping between ids and numbers of users and items, and the titles of items.

An id is found by a binary search in a sorted column: a dictionary of a million ids would take 100 MB of Python objects.

Legend: M ids · N numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.ids import INT64_RANGE, Id
from multitudes.index.item_table import find_rows

T = TypeVar("T")


def write_names(file: Path, names: pl.DataFrame) -> None:
    """Write columns as one batch, as ``read_names`` maps them."""
    names.rechunk().write_ipc(file, record_batch_size=max(1, len(names)))


def read_names(file: Path) -> pl.DataFrame:
    """Return the columns of a file, mapped, so that processes share one copy; without pyarrow, a copy.

    Raises:
        OSError, ValueError, NotImplementedError: it is no Arrow file, or leads out of itself.
    """
    try:
        from pyarrow import ipc, memory_map  # noqa: PLC0415 (of the extras data and serve)
    except ModuleNotFoundError:
        return pl.read_ipc(file.read_bytes())  # from a path, Polars may map the file for a while
    table = ipc.open_file(memory_map(str(file))).read_all()
    table.validate(full=True)  # a text beyond the end of the file would end the process
    names = pl.from_arrow(table)
    assert isinstance(names, pl.DataFrame)
    return names


class IdMap:
    """Maps distinct ids, all integers or all strings, to their numbers from 1; safe for use by several threads."""

    def __init__(self, ids: pl.Series) -> None:
        # The ids of a release ascend, except items that were carried over from the release before.
        self._order = None if ids.is_sorted() else ids.arg_sort().to_numpy()
        self._sorted = (ids if self._order is None else ids[self._order]).rechunk()
        self._integers = self._sorted.to_numpy() if ids.dtype.is_integer() else None  # shares the memory

    @property
    def has_integer_ids(self) -> bool:
        """Whether the ids are integers; else they are strings."""
        return self._integers is not None

    def numbers(self, ids: Sequence[Id]) -> NDArray[np.int64]:
        """Return the number of each id (M), 0 for an id that is unknown or of the wrong type."""
        number_M = np.zeros(len(ids), dtype=np.int64)
        positions: list[int] | slice = slice(None)
        are_integers = self._integers is not None and set(map(type, ids)) == {int}
        if not (are_integers and min(ids) in INT64_RANGE and max(ids) in INT64_RANGE):  # else one fast check is enough
            positions = [m for m, given_id in enumerate(ids) if self._is_valid(given_id)]
            ids = [ids[m] for m in positions]
        if len(ids) > 0 and len(self._sorted) > 0:
            row, found = self._find_rows(ids)
            number_M[positions] = np.where(found, 1 + (row if self._order is None else self._order[row]), 0)
        return number_M

    def _is_valid(self, given_id: object) -> bool:
        if self._integers is None:  # a string column cannot hold half of a surrogate pair
            return isinstance(given_id, str) and (
                given_id.isascii() or not any("\ud800" <= c <= "\udfff" for c in given_id)
            )
        return isinstance(given_id, int | np.integer) and int(given_id) in INT64_RANGE

    def _find_rows(self, ids: Sequence[Id]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        if self._integers is not None:
            return find_rows(self._integers, np.array(ids, dtype=np.int64))
        column = pl.Series(ids, dtype=pl.String)
        row = np.minimum(self._sorted.search_sorted(column).to_numpy(), len(self._sorted) - 1)
        return row.astype(np.int64), (self._sorted[row] == column).to_numpy()


class ItemName(NamedTuple):
    """Id and title of an item."""

    id: Id
    title: str | None


class PublishedNames:
    """Ids and titles of the published items, by number from 1; shared by all snapshots of a release."""

    def __init__(self, items: pl.DataFrame) -> None:
        """Use the columns item_id and title, by item number."""
        self.ids, self.titles = items["item_id"].rechunk(), items["title"].rechunk()
        self._integers = self.ids.to_numpy() if self.ids.dtype.is_integer() else None  # shares the memory

    def ids_of(self, number_N: NDArray[np.int64]) -> list[Id]:
        """Return the ids of items."""
        row_N = number_N - 1
        return self.ids[row_N].to_list() if self._integers is None else self._integers[row_N].tolist()

    @cached_property
    def id_map(self) -> IdMap:
        """Number of each item."""
        return IdMap(self.ids)


def unknown_ids(ids: Sequence[T], number_M: NDArray[np.int64]) -> tuple[T, ...]:
    """Return the distinct ids whose number is 0, in order."""
    return tuple(dict.fromkeys(ids[m] for m in np.flatnonzero(number_M == 0).tolist()))


@dataclass(frozen=True)
class ItemNames:
    """Ids and titles of all items by number: the published ones and the updates since."""

    published: PublishedNames
    updates: Mapping[int, ItemName] = field(default_factory=dict)  # by number: items that were added or replaced
    added_number: Mapping[Id, int] = field(default_factory=dict)  # by id: items that were added

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.published.ids) + len(self.added_number)

    def number(self, item_id: Id) -> int:
        """Return the number of an item, 0 if it is unknown."""
        return int(self.numbers([item_id])[0])

    def numbers(self, item_ids: Sequence[Id]) -> NDArray[np.int64]:
        """Return the numbers of items (M), 0 where unknown."""
        number_M = self.published.id_map.numbers(item_ids)
        if self.added_number:
            for m in np.flatnonzero(number_M == 0).tolist():
                number_M[m] = self.added_number.get(item_ids[m], 0)
        return number_M

    def name(self, number: int) -> ItemName:
        """Return id and title of an item by its number, from 1."""
        return self.updates.get(number) or ItemName(self.published.ids[number - 1], self.published.titles[number - 1])

    def columns(self, number_N: NDArray[np.int64]) -> tuple[list[Id], list[str | None]]:
        """Return ids and titles of several items."""
        if not self.updates:
            # One by one: of a hundred titles, Polars takes twice the time to gather them at once.
            titles = list(map(self.published.titles.__getitem__, (number_N - 1).tolist()))
            return self.published.ids_of(number_N), titles
        names = [self.name(number) for number in number_N.tolist()]
        return [name.id for name in names], [name.title for name in names]

    def ids(self, number_N: NDArray[np.int64]) -> list[Id]:
        """Return the ids of several items."""
        return [self.name(n).id for n in number_N.tolist()] if self.updates else self.published.ids_of(number_N)

    def label(self, number: int) -> str:
        """Return the title of an item, or its id if it has none."""
        title = self.updates[number].title if number in self.updates else self.published.titles[number - 1]
        return title or str(self.name(number).id)

    def with_updates(self, updates: Mapping[int, ItemName]) -> "ItemNames":
        """Return the names with more updates."""
        new = {item.id: number for number, item in updates.items() if number > len(self.published.ids)}
        return ItemNames(self.published, {**self.updates, **updates}, {**self.added_number, **new})
