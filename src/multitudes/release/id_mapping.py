"""Numbers of ids: a sorted column is searched. A dictionary of a million ids would be 100 MB of Python objects.

Ids and titles of the items of a release by number, and numbers by id: those published, and those that came since.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.ids import Id
from multitudes.index.item_table import find_rows

_LIMIT = 2**63


class IdMap:
    """Distinct ids, all of them integers or all of them texts, numbered from 1 in their order; threads may share it."""

    def __init__(self, ids: pl.Series) -> None:
        # As a release is written, its ids ascend, but for those that were carried over from the release before.
        self._order = None if ids.is_sorted() else ids.arg_sort().to_numpy()
        self._sorted = (ids if self._order is None else ids[self._order]).rechunk()
        self._integers = self._sorted.to_numpy() if ids.dtype.is_integer() else None  # the same memory

    @property
    def has_integer_ids(self) -> bool:
        """Whether the ids are integers; else they are texts."""
        return self._integers is not None

    def numbers(self, ids: Sequence[Id]) -> NDArray[np.int64]:
        """Return the number of each id (M); 0: not known, or no id of this kind."""
        number_M = np.zeros(len(ids), dtype=np.int64)
        place: list[int] | slice = slice(None)
        if not self._all_fit(ids):
            place = [m for m, one in enumerate(ids) if self._fits(one)]
            ids = [ids[m] for m in place]
        if len(ids) > 0 and len(self._sorted) > 0:
            row, found = self._rows(ids)
            number_M[place] = np.where(found, 1 + (row if self._order is None else self._order[row]), 0)
        return number_M

    def _all_fit(self, ids: Sequence[Any]) -> bool:
        """Tell at a glance that every id of a list may be looked for, as mostly is so; False: each has to be asked."""
        integers = self._integers is not None and set(map(type, ids)) == {int}
        return integers and min(ids) >= -_LIMIT and max(ids) < _LIMIT

    def _fits(self, one: object) -> bool:
        if self._integers is None:  # half of a surrogate pair is no text that a column could hold
            return isinstance(one, str) and (one.isascii() or not any("\ud800" <= c <= "\udfff" for c in one))
        return isinstance(one, int | np.integer) and -_LIMIT <= int(one) < _LIMIT

    def _rows(self, ids: Sequence[Id]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        if self._integers is not None:
            return find_rows(self._integers, np.array(ids, dtype=np.int64))
        wanted = pl.Series(ids, dtype=pl.String)
        row = np.minimum(self._sorted.search_sorted(wanted).to_numpy(), len(self._sorted) - 1)
        return row.astype(np.int64), (self._sorted[row] == wanted).to_numpy()


class ItemName(NamedTuple):
    """What a person knows an item by."""

    id: Id
    title: str | None


class PublishedNames:
    """The names as they were published, by number from 1; shared by all states of a release."""

    def __init__(self, items: pl.DataFrame) -> None:
        """Take the columns item_id and title, in the order of the numbers."""
        self.ids, self.titles = items["item_id"].rechunk(), items["title"].rechunk()
        self._integers = self.ids.to_numpy() if self.ids.dtype.is_integer() else None  # the same memory

    def columns(self, number_N: NDArray[np.int64]) -> tuple[list[Id], list[str | None]]:
        """Return the ids and the titles of items."""
        return self.ids_of(number_N), self.titles[number_N - 1].to_list()

    def ids_of(self, number_N: NDArray[np.int64]) -> list[Id]:
        """Return the ids of items."""
        row_N = number_N - 1
        ids: list[Id] = self.ids[row_N].to_list() if self._integers is None else self._integers[row_N].tolist()
        return ids

    @cached_property
    def id_map(self) -> IdMap:
        """Number of each item."""
        return IdMap(self.ids)


@dataclass(frozen=True)
class ItemNames:
    """Items by number, those that came later laid over those published."""

    published: PublishedNames
    updates: Mapping[int, ItemName] = field(default_factory=dict)  # added or replaced
    added_number: Mapping[Id, int] = field(default_factory=dict)  # added

    def __len__(self) -> int:
        """Return how many items have a number."""
        return len(self.published.ids) + len(self.added_number)

    def number(self, item_id: Id) -> int:
        """Return the number of an item; 0: not known."""
        return int(self.numbers([item_id])[0])

    def numbers(self, item_ids: Sequence[Id]) -> NDArray[np.int64]:
        """Return the numbers of items; 0: not known."""
        number_M = self.published.id_map.numbers(item_ids)
        if self.added_number:
            for m in np.flatnonzero(number_M == 0).tolist():
                number_M[m] = self.added_number.get(item_ids[m], 0)
        return number_M

    def name(self, number: int) -> ItemName:
        """Return id and title of the item with this number, from 1."""
        return self.updates.get(number) or ItemName(self.published.ids[number - 1], self.published.titles[number - 1])

    def columns(self, number_N: NDArray[np.int64]) -> tuple[list[Id], list[str | None]]:
        """Return the ids and the titles of several items."""
        if not self.updates:
            return self.published.columns(number_N)
        named = [self.name(number) for number in number_N.tolist()]
        return [one.id for one in named], [one.title for one in named]

    def ids(self, number_N: NDArray[np.int64]) -> list[Id]:
        """Return the ids of several items."""
        if not self.updates:
            return self.published.ids_of(number_N)
        return [self.name(number).id for number in number_N.tolist()]

    def label(self, number: int) -> str:
        """Return the title, or where there is none the id."""
        later = self.updates.get(number)
        title = later.title if later else self.published.titles[number - 1]
        return title or str(self.name(number).id)

    def with_updates(self, updates: Mapping[int, ItemName]) -> "ItemNames":
        """Return the names with these laid over them."""
        new = {item.id: number for number, item in updates.items() if number > len(self.published.ids)}
        return ItemNames(self.published, {**self.updates, **updates}, {**self.added_number, **new})
