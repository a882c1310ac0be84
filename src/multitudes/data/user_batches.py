"""Events of whole users, some users at a time: where each event stands among those of its user.

Legend: E events · U users, each of whom has at least one of the events.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[Any]]
Kind = TypeVar("Kind", bound=np.generic)


@dataclass(frozen=True)
class UserEvents:
    """Some users' events, user by user, each user's by time.

    Attributes:
        number_U: of the users, ascending.
        events_U: how many events each has.
        time_E: seconds, or positions.
    """

    number_U: NDArray[np.int64]
    events_U: NDArray[np.int64]
    time_E: NDArray[np.int64]

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each user's events begin (U)."""
        return np.cumsum(self.events_U) - self.events_U

    @cached_property
    def is_new_time(self) -> NDArray[np.bool_]:
        """Whether an event is the first of its user's at its time (E)."""
        opens_E = np.ones(len(self.time_E), dtype=np.bool_)
        np.not_equal(self.time_E[1:], self.time_E[:-1], out=opens_E[1:])
        opens_E[self.starts] = True
        return opens_E

    @cached_property
    def position(self) -> NDArray[np.int64]:
        """The position of each event among its user's, from 0 (E)."""
        return np.arange(len(self.time_E)) - self.per_event(self.starts)

    @cached_property
    def past(self) -> NDArray[np.int64]:
        """How many events of the user are strictly before this one's time (E)."""
        first = np.flatnonzero(self.is_new_time)
        return np.repeat(self.position[first], np.diff(first, append=len(self.time_E)))

    @cached_property
    def is_tied(self) -> NDArray[np.bool_]:
        """Whether the user has another event at the same time (E)."""
        alone_E: NDArray[np.bool_] = self.is_new_time & np.append(self.is_new_time[1:], True)
        return ~alone_E

    def per_event(self, value_U: NDArray[Kind]) -> NDArray[Kind]:
        """Return for each event what its user has."""
        return np.repeat(value_U, self.events_U)

    def any_event(self, true_E: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return whether each user has an event of which it is true."""
        return np.logical_or.reduceat(true_E, self.starts)

    def first_with_item(self, item_E: NDArray[np.int32], asked_E: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which of the events asked for are the first of these of their user with their item."""
        rows = np.flatnonzero(asked_E)
        key = self.per_event(np.arange(len(self.events_U)))[rows] * (item_E.max(initial=0) + 1) + item_E[rows]
        first_E = np.zeros(len(item_E), dtype=np.bool_)
        first_E[rows[np.unique(key, return_index=True)[1]]] = True
        return first_E


def iter_user_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[UserEvents, Columns]]:
    """Yield the events of batches, which come ordered by ``number`` and ``time``, so that no user is parted."""
    kept: list[dict[str, NDArray[Any]]] = []
    for batch in batches:
        if not batch.num_rows:
            continue
        columns = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in batch.schema.names}
        cut = int(np.searchsorted(columns["number"], columns["number"][-1]))  # the last user may go on in the next
        if cut or (kept and kept[-1]["number"][-1] != columns["number"][0]):
            yield _join_chunks([*kept, {name: column[:cut] for name, column in columns.items()}])
            kept = []
        kept.append({name: column[cut:] for name, column in columns.items()})
    if kept:
        yield _join_chunks(kept)


def _join_chunks(parts: list[dict[str, NDArray[Any]]]) -> tuple[UserEvents, Columns]:
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    number_E = columns.pop("number")
    begin_U = np.flatnonzero(np.append(True, number_E[1:] != number_E[:-1]))
    users = UserEvents(number_E[begin_U], np.diff(begin_U, append=len(number_E)), columns["time"])
    return users, columns
