"""The log of a day of an arm, in the columns of a service's logs: what was served, and what users did.

Beside those columns, ``served`` has the slot in which a candidate was shown (null: not shown) and what the visitor did
with it (null: nothing). From these an interrupted experiment restores its state.

Legend: B visitors · N candidates · S slots · R rows, one candidate each · E actions.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.atomic import replace_file
from multitudes.logs.schemas import IdTypes, segment_columns
from multitudes_lab.simulation.actions import NOTHING, Actions
from multitudes_lab.simulation.policy import SOURCES, CandidateLists

ACTIONS = ("nothing", "click", "save", "hide")  # by code
_SLOT_S = 10  # seconds between the examination of two slots
_ID_TYPES = IdTypes("int64", "int64")
_ACTION_NAMES = pl.Series(ACTIONS)


class Visits(NamedTuple):
    """What happened in the feed on one day; each visitor comes once."""

    user_B: NDArray[np.int64]
    time_B: NDArray[np.int64]
    item_BS: NDArray[np.int64]  # the items shown, in order; -1: no candidate was left
    action_BS: NDArray[np.int8]  # the reaction to each

    @property
    def actions(self) -> Actions:
        """The actions in the feed."""
        b_E, s_E = np.nonzero(self.action_BS)
        return Actions(
            self.user_B[b_E], self.item_BS[b_E, s_E], self.time_B[b_E] + _SLOT_S * s_E, self.action_BS[b_E, s_E]
        )


class DayRecord(NamedTuple):
    """All that is logged of a day."""

    day: int
    visits: Visits
    candidates: CandidateLists
    place_BS: NDArray[np.int64]  # place of each shown item among the candidates
    organic: Actions  # actions outside the feed
    release: str  # name of the policy


def write_day(folder: Path, day: DayRecord, topics: tuple[str, ...]) -> None:
    """Write a day into the logs in ``folder``; events are written last, so a day that has them is complete."""
    events = pl.concat(
        [event_table(day.visits.actions, day.day, in_feed=True), event_table(day.organic, day.day, in_feed=False)]
    )
    for log, table in (("served", _served_table(day, topics)), ("events", events)):
        with replace_file(folder / log / day_file_name(day.day)) as partial:
            table.write_parquet(partial)


def read_visits(folder: Path, day: int, slots: int) -> Visits:
    """Return the visits of a logged day."""
    columns = ["user_id", "item_id", "timestamp", "slot", "done"]
    rows = pl.read_parquet(folder / "served" / day_file_name(day), columns=columns, glob=False).drop_nulls("slot")
    user_B, first_B, b_R = np.unique(rows["user_id"].to_numpy(), return_index=True, return_inverse=True)
    slot_R = rows["slot"].to_numpy()
    action_R = rows["done"].cast(pl.Enum(ACTIONS)).to_physical().fill_null(NOTHING).to_numpy()
    item_BS = np.full((len(user_B), slots), -1, dtype=np.int64)
    action_BS = np.full((len(user_B), slots), NOTHING, dtype=np.int8)
    item_BS[b_R, slot_R], action_BS[b_R, slot_R] = rows["item_id"].to_numpy(), action_R
    return Visits(user_B, rows["timestamp"].to_numpy()[first_B], item_BS, action_BS)


def day_file_name(day: int) -> str:
    """Return the file name of a day's segment."""
    return f"day-{day:05d}.parquet"


def _visit_request_id(day: int) -> pl.Expr:
    """Return the request id of each user's visit on a day."""
    return pl.format("d{}-u{}", pl.lit(day), "user_id")


def event_table(actions: Actions, day: int, *, in_feed: bool) -> pl.DataFrame:
    """Return actions of a day in the columns of the event log; those in the feed have the id of their request."""
    kind = "f" if in_feed else "o"
    action = pl.Series(actions.action_E).cast(pl.UInt32)
    frame = pl.DataFrame(
        {
            "user_id": actions.user_E,
            "item_id": actions.item_E,
            "timestamp": actions.time_E,
            "action": _ACTION_NAMES.gather(action),
        }
    )
    return frame.with_columns(
        event_id=pl.format("{}-{}-{}", pl.lit(f"d{day}{kind}"), "user_id", pl.int_range(pl.len())),
        request_id=_visit_request_id(day) if in_feed else pl.lit(None, dtype=pl.String),
    ).select([pl.col(name).cast(dtype) for name, dtype in segment_columns("events", _ID_TYPES).items()])


def _served_table(day: DayRecord, topics: tuple[str, ...]) -> pl.DataFrame:
    candidates, visits = day.candidates, day.visits
    b_R, n_R = np.nonzero(candidates.item_BN >= 0)
    slot_BN = np.full(candidates.item_BN.shape, -1, dtype=np.int64)
    action_BN = np.zeros(candidates.item_BN.shape, dtype=np.int8)
    slot_BS = np.where(visits.item_BS >= 0, np.arange(day.place_BS.shape[1]), -1)
    np.put_along_axis(slot_BN, day.place_BS, slot_BS, axis=1)
    np.put_along_axis(action_BN, day.place_BS, visits.action_BS, axis=1)
    topic = _negative_to_null(candidates.topic_BN[b_R, n_R])
    condition = pl.Series(topics, dtype=pl.String).gather(topic)
    action = _negative_to_null(np.where(action_BN == NOTHING, -1, action_BN)[b_R, n_R])
    return (
        pl.DataFrame(
            {
                "user_id": visits.user_B[b_R],
                "timestamp": visits.time_B[b_R],
                "item_id": candidates.item_BN[b_R, n_R],
                "rank": n_R + 1,
                "score": candidates.score_BN[b_R, n_R],
                "source": pl.Series(SOURCES).gather(candidates.source_BN[b_R, n_R].astype(np.uint32)),
                "interest": _negative_to_null(candidates.interest_BN[b_R, n_R]),
                "interest_name": condition,
                "condition": condition,
                "degraded": candidates.degraded_B[b_R],
                "slot": _negative_to_null(slot_BN[b_R, n_R]),
                "done": _ACTION_NAMES.gather(action.cast(pl.UInt32)),
                "both": candidates.both_BN[b_R, n_R],
            }
        )
        .with_columns(request_id=_visit_request_id(day.day), release=pl.lit(day.release))
        .select(
            *[pl.col(name).cast(dtype) for name, dtype in segment_columns("served", _ID_TYPES).items()],
            pl.col("slot").cast(pl.Int32),
            "done",
            "both",
        )
    )


def _negative_to_null(values: NDArray[np.int64]) -> pl.Series:
    """Return numbers as a series, with null for negative ones."""
    series = pl.Series(values)
    return pl.select(pl.when(series >= 0).then(series)).to_series()
