"""Ids and titles of the items of a release by number, and numbers by id: those published, and those that came since."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import polars as pl

from multitudes.ids import Id


class Named(NamedTuple):
    """What a person knows an item by."""

    id: Id
    title: str | None


class Published:
    """The names as they were published, by number from 1; shared by all states of a release."""

    def __init__(self, items: pl.DataFrame) -> None:
        """Take the columns item_id and title, in the order of the numbers."""
        self.ids: list[Id] = items["item_id"].to_list()
        self.titles: list[str | None] = items["title"].to_list()

    @cached_property
    def number(self) -> dict[Id, int]:
        """Number of each item."""
        return {item_id: number for number, item_id in enumerate(self.ids, start=1)}


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
        return self.published.number.get(item_id) or self.later_number.get(item_id, 0)

    def named(self, number: int) -> Named:
        """Return id and title of the item with this number, from 1."""
        return self.later.get(number) or Named(self.published.ids[number - 1], self.published.titles[number - 1])

    def all_named(self, numbers: Sequence[int]) -> list[Named]:
        """Return ids and titles of several items."""
        if self.later:
            return [self.named(number) for number in numbers]
        ids, titles = self.published.ids, self.published.titles
        return [Named(ids[number - 1], titles[number - 1]) for number in numbers]

    def shown(self, number: int) -> str:
        """Return the title, or where there is none the id."""
        named = self.named(number)
        return named.title or str(named.id)

    def with_later(self, named: Mapping[int, Named]) -> "ItemNames":
        """Return the names with these laid over them."""
        new = {item.id: number for number, item in named.items() if number > len(self.published.ids)}
        return ItemNames(self.published, {**self.later, **named}, {**self.later_number, **new})
