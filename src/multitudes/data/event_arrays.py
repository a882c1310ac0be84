"""Write the event arrays in three passes over all users: events in order, their splits, and their item numbers.

The engine orders the events once. The cuts of the split ``time`` and the items with enough training events depend on
all events, so they are known only after a pass, and the next pass reads the arrays again. Memory is that of one chunk
of users. Two tables of the engine map names to numbers:

============= ======================================================================================================
action_number action, number (from 1, by name)
item_number   item_id, number (from 1, by id): items with enough training events
============= ======================================================================================================

Legend: E events · U users · I items.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.data.arrays import BATCH_ROWS, skip_header, user_chunks, write_array, write_columns
from multitudes.data.engine import Engine, Extent, double_literal, string_literal
from multitudes.data.prepared import ARRAYS, TRAIN
from multitudes.data.splits import SplitFunction
from multitudes.data.user_batches import Columns, UserEvents, iter_user_batches
from multitudes.errors import DataError

TieOrder = Literal["file", "shuffle"]
MAX_ACTIONS, MAX_ITEMS = 255, 2**31 - 1  # the largest numbers that the arrays hold
_ORDERED_COLUMNS = ("item", "time", "action", "weight", "valid", "past", "first", "source", "after_follows")


class TrainingEvents(NamedTuple):
    """A summary of the training events."""

    events_I: NDArray[np.int64]  # their number for each item; entry 0 is that of unknown items
    last_time: int | None  # of the last one; None if there is none


class EventArrays:
    """Writes the arrays of all events into a folder."""

    def __init__(self, folder: Path, users: int) -> None:
        """Write into ``folder`` the events of ``users`` users, some of whom may have none."""
        self._folder = folder
        self._events_U = np.zeros(users, dtype=np.int64)

    def write_ordered(self, engine: Engine, sql: str) -> None:
        """Write all arrays but ``event_split``; until ``write_items``, ``event_item`` has the numbers among all items.

        ``sql`` is that of ``ordered_events_sql``.

        Raises:
            ArtefactError: the engine returned fewer rows than it has.
        """
        rows = int(engine.value("SELECT coalesce(sum(events), 0) FROM user_summary"))
        write_columns(self._folder, _dtypes(*_ORDERED_COLUMNS), rows, self._ordered_columns(engine, sql, rows))
        offset_U = np.concatenate([[0], np.cumsum(self._events_U)]).astype(np.int64)
        write_array(self._folder / "event_offset.npy", offset_U)

    def times(self) -> Iterator[NDArray[np.int64]]:
        """Yield the times of all events."""
        for users, _ in self.read():
            yield users.time_E

    def write_splits(self, split: SplitFunction, items: int) -> TrainingEvents:
        """Write ``event_split``, and return a summary of the training events; ``items`` is the number of all items."""
        events_I, last_times = np.zeros(items + 1, dtype=np.int64), list[int]()

        def split_columns() -> Iterator[Columns]:
            for users, columns in self.read("item"):
                split_E = split(users)
                train_E = split_E == TRAIN
                events_I[:] += np.bincount(columns["event_item"][train_E], minlength=items + 1)
                if train_E.any():
                    last_times.append(int(users.time_E[train_E].max()))
                yield {"event_split": split_E}

        write_columns(self._folder, _dtypes("split"), int(self._events_U.sum()), split_columns())
        return TrainingEvents(events_I, max(last_times, default=None))

    def write_items(self, number_I: NDArray[np.int32]) -> Iterator[tuple[UserEvents, Columns]]:
        """Write the final ``event_item``, and yield the columns of each chunk, with ``known`` and ``tied``."""
        with (self._folder / "event_item.npy").open("r+b") as file:
            skip_header(file)
            for users, columns in self.read("item", "weight", "valid", "split", "source", "after_follows"):
                known_E = columns["event_item"] > 0
                item_E = number_I[columns["event_item"]]
                file.write(item_E.tobytes())
                yield users, {**columns, "event_item": item_E, "known": known_E, "tied": users.is_tied}

    def read(self, *names: str) -> Iterator[tuple[UserEvents, Columns]]:
        """Yield the events of a chunk of users at a time, with the given columns.

        The files are read and not mapped: cached pages of a map count as memory of this process.
        """
        with ExitStack() as stack:
            dtypes = _dtypes("time", *names)
            files = {name: stack.enter_context((self._folder / f"{name}.npy").open("rb")) for name in dtypes}
            for file in files.values():
                skip_header(file)
            for chunk in user_chunks(np.append(0, np.cumsum(self._events_U))):
                events_U = self._events_U[chunk]
                with_events, count = np.flatnonzero(events_U), int(events_U.sum())
                columns = {name: np.fromfile(file, dtypes[name], count) for name, file in files.items()}
                if count:
                    yield UserEvents(with_events + chunk.start, events_U[with_events], columns["event_time"]), columns

    def _ordered_columns(self, engine: Engine, sql: str, rows: int) -> Iterator[Columns]:
        extent = Extent(rows, len(self._events_U))
        for users, columns in iter_user_batches(engine.batches(sql, BATCH_ROWS, extent)):
            self._events_U[users.number_U] = users.events_U
            yield {
                **{f"event_{name}": column for name, column in columns.items()},
                "event_after_follows": columns["after"],
                "event_past": users.past,
                "event_first": users.first_with_item(columns["item"], columns["weight"] > 0),
            }


def number_actions(engine: Engine) -> list[str]:
    """Create ``action_number``, and return the actions in the order of their numbers.

    Raises:
        DataError: there are more actions than numbers.
    """
    actions_sql = "SELECT DISTINCT action FROM action_summary"
    engine.create_table(
        "action_number", f"SELECT action, row_number() OVER (ORDER BY action) AS number FROM ({actions_sql})"
    )
    actions: list[str] = engine.frame("SELECT action FROM action_number ORDER BY number")["action"].to_list()
    if len(actions) > MAX_ACTIONS:
        raise DataError(f"column 'action' has {len(actions):,} distinct values; expected at most {MAX_ACTIONS}")
    return actions


def ordered_events_sql(ties: TieOrder, positive_actions: Mapping[str, float], min_rating: float | None) -> str:
    """Return the SQL of all events in a total order: by user and time, then by the rule for ties, then by file row.

    Its columns are number (of the user), time, item (number among all items; 0 = unknown), action, weight (as a
    positive; 0 = not a positive), valid, source (topic; 0 = none) and after (later than the time at which the user's
    followed topics are known). The arguments are the settings of ``PrepareConfig``.
    """
    is_no_positive = "negative OR flagged OR NOT known"
    if min_rating is not None:
        is_no_positive += f" OR coalesce(rating < {double_literal(min_rating)}, false)"
    cases = " ".join(
        f"WHEN {string_literal(action)} THEN {double_literal(given)}" for action, given in positive_actions.items()
    )
    weight = f"CASE action {cases} ELSE 0 END" if cases else "1"
    tie = "md5_number_lower('0:' || file_row), " if ties == "shuffle" else ""
    return f"""
        SELECT member.number AS number, event.time AS time, event.item AS item, action_number.number AS action,
               CAST(CASE WHEN {is_no_positive} THEN 0 ELSE {weight} END AS FLOAT) AS weight, valid,
               coalesce(topic.number, 0) AS source, coalesce(event.time > known_from.time, true) AS after
        FROM event JOIN (SELECT user_id, number FROM member) AS member USING (user_id)
        JOIN action_number USING (action)
        LEFT JOIN topic ON topic.topic = event.source
        LEFT JOIN known_from USING (user_id)
        ORDER BY member.number, event.time, {tie}file_row"""


def number_items(engine: Engine, trained_I: NDArray[np.int64], min_item_count: int) -> NDArray[np.int32]:
    """Create ``item_number`` from ``known_item``, and return the number of each item in the vocabulary (I).

    It is 0 for the unknown item, and for items with fewer than ``min_item_count`` training events ``trained_I``.

    Raises:
        DataError: no item has enough training events, or there are more items than numbers.
    """
    kept_I = trained_I >= min_item_count
    kept_I[0] = False
    kept = int(kept_I.sum())
    if not 0 < kept <= MAX_ITEMS:
        raise DataError(
            f"{kept:,} items have at least min_item_count = {min_item_count} training events; expected between 1 and"
            f" {MAX_ITEMS:,}. Check that item ids agree between events and items"
        )
    number_I = np.where(kept_I, np.cumsum(kept_I), 0)
    engine.insert_frame("kept_item", pl.DataFrame({"item": np.flatnonzero(kept_I), "number": number_I[kept_I]}))
    engine.create_table("item_number", "SELECT item_id, number FROM known_item JOIN kept_item USING (item)")
    engine.drop("kept_item")
    return number_I.astype(np.int32)


def _dtypes(*names: str) -> Mapping[str, type[np.generic]]:
    return {f"event_{name}": ARRAYS[f"event_{name}"] for name in names}
