"""The event arrays, in three passes over whole users: in order, parted, and numbered; each in the memory of one part.

The engine orders the events once. What hangs on all of them, where ``time`` parts them and which items have enough
training events, is known after a pass, so the next one reads again what the one before it wrote.

Legend: E events · U users · I items.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.data.arrays import ROWS, read_columns, read_header, write_array, write_columns
from multitudes.data.engine import Engine, Extent, value
from multitudes.data.prepared import EVENT_ARRAYS, TRAIN
from multitudes.data.splits import Split
from multitudes.data.whole import Columns, Users, whole_users

_ORDERED = ("item", "time", "action", "weight", "valid", "past", "first", "source", "after_follows")


class Trained(NamedTuple):
    """What the training events are.

    Attributes:
        events_I: how many there are of each of all items; 0 = those of unknown items.
        last: time of the last; None without any.
    """

    events_I: NDArray[np.int64]
    last: int | None


class EventArrays:
    """The arrays in a folder that is being made; of ``users`` users."""

    def __init__(self, folder: Path, users: int) -> None:
        self._folder = folder
        self._events_U = np.zeros(users, dtype=np.int64)

    def order(self, engine: Engine, sql: str) -> None:
        """Write what each event is by itself and among its user's; ``sql`` is that of ``numbering.ordered``.

        ``event_item`` holds the numbers among all items meanwhile.

        Raises:
            ArtefactError: rows got lost on the way.
        """
        rows = int(value(engine, "SELECT coalesce(sum(events), 0) FROM active"))
        write_columns(self._folder, _dtypes(*_ORDERED), rows, self._ordered(engine, sql, rows))
        offset_U = np.concatenate([[0], np.cumsum(self._events_U)]).astype(np.int64)
        write_array(self._folder / "event_offset.npy", offset_U)

    def times(self) -> Iterator[NDArray[np.int64]]:
        """Yield the times of all events."""
        for users, _ in self.read():
            yield users.time_E

    def part(self, split: Split, items: int) -> Trained:
        """Write ``event_split``, and return what the training events are; ``items`` is the number of all items."""
        events_I, last = np.zeros(items + 1, dtype=np.int64), None

        def parted() -> Iterator[Columns]:
            nonlocal last
            for users, columns in self.read("item"):
                split_E = split(users)
                train_E = split_E == TRAIN
                events_I[:] += np.bincount(columns["event_item"][train_E], minlength=items + 1)
                if train_E.any():
                    last = max(int(users.time_E[train_E].max()), users.time_E.min() if last is None else last)
                yield {"event_split": split_E}

        write_columns(self._folder, _dtypes("split"), int(self._events_U.sum()), parted())
        return Trained(events_I, last)

    def number(self, number_I: NDArray[np.int32]) -> Iterator[tuple[Users, Columns]]:
        """Write the final ``event_item``, and yield all columns as it is written, with ``known`` and ``tied``."""
        with (self._folder / "event_item.npy").open("r+b") as file:
            read_header(file)
            for users, columns in self.read("item", "weight", "valid", "split", "source", "after_follows"):
                known_E = columns["event_item"] > 0
                item_E = number_I[columns["event_item"]]
                file.write(item_E.tobytes())
                yield users, {**columns, "event_item": item_E, "known": known_E, "tied": users.tied}

    def read(self, *names: str) -> Iterator[tuple[Users, Columns]]:
        """Yield the events of some users at a time, with the columns of these names."""
        parts = list(self._parts())
        counts = [int(self._events_U[part].sum()) for part in parts]
        files = ["event_time", *(f"event_{name}" for name in names)]
        for part, columns in zip(parts, read_columns(self._folder, files, counts), strict=True):
            active = np.flatnonzero(self._events_U[part])
            events_U = self._events_U[part][active]
            if len(active):
                yield Users(active + part.start, events_U, columns["event_time"]), columns

    def _parts(self) -> Iterator[slice]:
        """Yield users whose events are about so many as are worked on at a time."""
        end_U = np.cumsum(self._events_U)
        start = 0
        while start < len(end_U):
            before = int(end_U[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(end_U, before + ROWS, side="right")))
            yield slice(start, stop)
            start = stop

    def _ordered(self, engine: Engine, sql: str, rows: int) -> Iterator[Columns]:
        extent = Extent(rows, len(self._events_U))
        for users, columns in whole_users(engine.batches(sql, ROWS, extent)):
            self._events_U[users.number_U] = users.events_U
            yield {
                **{f"event_{name}": column for name, column in columns.items()},
                "event_after_follows": columns["after"],
                "event_past": users.past,
                "event_first": users.first_with(columns["item"], columns["weight"] > 0),
            }


def _dtypes(*names: str) -> Mapping[str, type[np.generic]]:
    return {f"event_{name}": EVENT_ARRAYS[f"event_{name}"] for name in names}
