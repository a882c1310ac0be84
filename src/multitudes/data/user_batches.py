"""Events in batches that never split a user, and the position of each event among those of its user.

Legend: E events of a batch · U users of a batch, each with at least one event.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[Any]]
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class UserEvents:
    """The events of some users, ordered by user and time."""

    number_U: NDArray[np.int64]  # of the users, ascending
    events_U: NDArray[np.int64]  # the number of events of each user
    time_E: NDArray[np.int64]  # seconds, or positions

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """The index of each user's first event (U)."""
        return np.cumsum(self.events_U) - self.events_U

    @cached_property
    def is_new_time(self) -> NDArray[np.bool_]:
        """Whether an event is the first of its user at its time (E)."""
        is_new_time_E = np.ones(len(self.time_E), dtype=np.bool_)
        np.not_equal(self.time_E[1:], self.time_E[:-1], out=is_new_time_E[1:])
        is_new_time_E[self.starts] = True
        return is_new_time_E

    @cached_property
    def position(self) -> NDArray[np.int64]:
        """The position of each event among those of its user, from 0 (E)."""
        return np.arange(len(self.time_E)) - self.per_event(self.starts)

    @cached_property
    def past(self) -> NDArray[np.int64]:
        """The number of the user's events strictly before the time of this one (E)."""
        first = np.flatnonzero(self.is_new_time)
        return np.repeat(self.position[first], np.diff(first, append=len(self.time_E)))

    @cached_property
    def is_tied(self) -> NDArray[np.bool_]:
        """Whether the user has another event at the same time (E)."""
        is_alone_E: NDArray[np.bool_] = self.is_new_time & np.append(self.is_new_time[1:], True)
        return ~is_alone_E

    def per_event(self, value_U: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return the value of its user for each event: (U) to (E)."""
        return np.repeat(value_U, self.events_U)

    def first_with_item(self, item_E: NDArray[np.int32], selected_E: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return whether each event is the first of its user with its item among the selected events (E)."""
        # One sort of single numbers; rows of equal items are then in order, and so are their users.
        item_and_row = np.sort(item_E[selected_E].astype(np.int64) << 32 | np.flatnonzero(selected_E))
        row = item_and_row & (2**32 - 1)
        same_item, same_user = (
            np.diff(of, prepend=-1) == 0
            for of in (item_and_row >> 32, self.per_event(np.arange(len(self.events_U)))[row])
        )
        first_E = np.zeros(len(item_E), dtype=np.bool_)
        first_E[row[~(same_item & same_user)]] = True
        return first_E


def iter_user_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[UserEvents, Columns]]:
    """Yield events that are ordered by ``number`` (of the user) and ``time``, in batches that never split a user.

    Yields the users with their events, and the columns except ``number``.
    """
    pending: list[dict[str, NDArray[Any]]] = []  # chunks with the events of one user
    for batch in batches:
        if not batch.num_rows:
            continue
        columns = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in batch.schema.names}
        # The last user may continue in the next batch.
        cut = int(np.searchsorted(columns["number"], columns["number"][-1]))
        if cut or (pending and pending[-1]["number"][-1] != columns["number"][0]):
            yield _join_chunks([*pending, {name: column[:cut] for name, column in columns.items()}])
            pending = []
        pending.append({name: column[cut:] for name, column in columns.items()})
    if pending:
        yield _join_chunks(pending)


def _join_chunks(chunks: list[dict[str, NDArray[Any]]]) -> tuple[UserEvents, Columns]:
    columns = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    number_E = columns.pop("number")
    start_U = np.flatnonzero(np.append(True, number_E[1:] != number_E[:-1]))
    users = UserEvents(number_E[start_U], np.diff(start_U, append=len(number_E)), columns["time"])
    return users, columns
