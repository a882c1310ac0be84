"""Ids and titles of the items of a release by number, and numbers by id: those published, and those that came since."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.ids import Id
from multitudes.release.numbers import Numbers


class Named(NamedTuple):
    """What a person knows an item by."""

    id: Id
    title: str | None


class Published:
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
    def numbers(self) -> Numbers:
        """Number of each item."""
        return Numbers(self.ids)


@dataclass(frozen=True)
class ItemNames:
    """Items by number, those that came later laid over those published."""

    published: Published
    later: Mapping[int, Named] = field(default_factory=dict)  # added or replaced
    later_number: Mapping[Id, int] = field(default_factory=dict)  # added

    def __len__(self) -> int:
        """Return how many items have a number."""
        return len(self.published.ids) + len(self.later_number)

    def number(self, item_id: Id) -> int:
        """Return the number of an item; 0: not known."""
        return int(self.numbers([item_id])[0])

    def numbers(self, item_ids: Sequence[Id]) -> NDArray[np.int64]:
        """Return the numbers of items; 0: not known."""
        number_M = self.published.numbers.of(item_ids)
        if self.later_number:
            for m in np.flatnonzero(number_M == 0).tolist():
                number_M[m] = self.later_number.get(item_ids[m], 0)
        return number_M

    def named(self, number: int) -> Named:
        """Return id and title of the item with this number, from 1."""
        return self.later.get(number) or Named(self.published.ids[number - 1], self.published.titles[number - 1])

    def columns(self, number_N: NDArray[np.int64]) -> tuple[list[Id], list[str | None]]:
        """Return the ids and the titles of several items."""
        if not self.later:
            return self.published.columns(number_N)
        named = [self.named(number) for number in number_N.tolist()]
        return [one.id for one in named], [one.title for one in named]

    def ids(self, number_N: NDArray[np.int64]) -> list[Id]:
        """Return the ids of several items."""
        if not self.later:
            return self.published.ids_of(number_N)
        return [self.named(number).id for number in number_N.tolist()]

    def shown(self, number: int) -> str:
        """Return the title, or where there is none the id."""
        later = self.later.get(number)
        title = later.title if later else self.published.titles[number - 1]
        return title or str(self.named(number).id)

    def with_later(self, named: Mapping[int, Named]) -> "ItemNames":
        """Return the names with these laid over them."""
        new = {item.id: number for number, item in named.items() if number > len(self.published.ids)}
        return ItemNames(self.published, {**self.later, **named}, {**self.later_number, **new})
