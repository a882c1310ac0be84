"""A day of an arm on disk, in the columns of a service's logs: what was served, what was done.

``served`` has, beside those columns, the slot in which a candidate was shown (null: it was not) and what its visitor
did with it (null: nothing), from which an interrupted experiment finds its state again.

Legend: B visitors · N candidates · S slots · R rows, a candidate each · E actions.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.disk import put
from multitudes.logs.schemas import Kinds, part
from multitudes.simulate.organic import Actions
from multitudes.simulate.reactions import NOTHING
from multitudes.simulate.slates import SOURCES, Slates

ACTIONS = ("nothing", "click", "save", "hide")  # by their codes
_SLOT_S = 10  # between two looks of a visitor
_KINDS = Kinds("int64", "int64")
_NAMES = pl.Series(ACTIONS)
_CODES = {name: code for code, name in enumerate(ACTIONS)}


class Visits(NamedTuple):
    """What happened in the feed on one day; the visitors of a day come once."""

    user_B: NDArray[np.int64]
    time_B: NDArray[np.int64]
    item_BS: NDArray[np.int64]  # what was shown, in this order; -1 where the candidates did not reach
    action_BS: NDArray[np.int8]  # what was done with it

    @property
    def actions(self) -> Actions:
        """What was done in the feed."""
        b_E, s_E = np.nonzero(self.action_BS)
        return Actions(
            self.user_B[b_E], self.item_BS[b_E, s_E], self.time_B[b_E] + _SLOT_S * s_E, self.action_BS[b_E, s_E]
        )


class Day(NamedTuple):
    """All that is written of a day."""

    day: int
    visits: Visits
    slates: Slates
    place_BS: NDArray[np.int64]  # of what was shown among the candidates
    organic: Actions  # what was done outside of the feed
    release: str  # what retrieved


def write(folder: Path, day: Day, topics: tuple[str, ...]) -> None:
    """Write a day into the logs in ``folder``; what was done comes last, so that a day with it is whole."""
    done = pl.concat([events(day.visits.actions, day.day, in_feed=True), events(day.organic, day.day, in_feed=False)])
    for log, table in (("served", _served(day, topics)), ("events", done)):
        (folder / log).mkdir(parents=True, exist_ok=True)
        partial = folder / log / f".{name_of(day.day)}.part"
        table.write_parquet(partial)
        put(partial, folder / log / name_of(day.day))


def read(folder: Path, day: int, slots: int) -> Visits:
    """Return what happened in the feed on a day that is written."""
    columns = ["user_id", "item_id", "timestamp", "slot", "done"]
    rows = pl.read_parquet(folder / "served" / name_of(day), columns=columns).drop_nulls("slot")
    user_B, first_B, b_R = np.unique(rows["user_id"].to_numpy(), return_index=True, return_inverse=True)
    slot_R = rows["slot"].to_numpy()
    action_R = rows["done"].replace_strict(_CODES, default=NOTHING, return_dtype=pl.Int8).to_numpy()
    item_BS = np.full((len(user_B), slots), -1, dtype=np.int64)
    action_BS = np.full((len(user_B), slots), NOTHING, dtype=np.int8)
    item_BS[b_R, slot_R], action_BS[b_R, slot_R] = rows["item_id"].to_numpy(), action_R
    return Visits(user_B, rows["timestamp"].to_numpy()[first_B], item_BS, action_BS)


def name_of(day: int) -> str:
    """Return the name of a day's part."""
    return f"day-{day:05d}.parquet"


def is_written(folder: Path, day: int) -> bool:
    """Tell whether a day is whole in the logs in ``folder``."""
    return (folder / "events" / name_of(day)).is_file()


def request_of(day: int, user: pl.Expr) -> pl.Expr:
    """Return the name of a user's visit on a day."""
    return pl.format("d{}-u{}", pl.lit(day), user)


def events(done: Actions, day: int, *, in_feed: bool) -> pl.DataFrame:
    """Return actions of a day in the columns of the log of events; those in the feed name their answer."""
    kind = "f" if in_feed else "o"
    action = pl.Series(done.action_E).cast(pl.UInt32)
    frame = pl.DataFrame(
        {"user_id": done.user_E, "item_id": done.item_E, "timestamp": done.time_E, "action": _NAMES.gather(action)}
    )
    return frame.with_columns(
        event_id=pl.format("{}-{}-{}", pl.lit(f"d{day}{kind}"), "user_id", pl.int_range(pl.len())),
        request_id=request_of(day, pl.col("user_id")) if in_feed else pl.lit(None, dtype=pl.String),
    ).select([pl.col(name).cast(dtype) for name, dtype in part("events", _KINDS).items()])


def _served(day: Day, topics: tuple[str, ...]) -> pl.DataFrame:
    slates, visits = day.slates, day.visits
    b_R, n_R = np.nonzero(slates.item_BN >= 0)
    slot_BN = np.full(slates.item_BN.shape, -1, dtype=np.int64)
    action_BN = np.zeros(slates.item_BN.shape, dtype=np.int8)
    slot_BS = np.where(visits.item_BS >= 0, np.arange(day.place_BS.shape[1]), -1)
    np.put_along_axis(slot_BN, day.place_BS, slot_BS, axis=1)
    np.put_along_axis(action_BN, day.place_BS, visits.action_BS, axis=1)
    topic = _or_null(slates.topic_BN[b_R, n_R])
    condition = pl.Series(topics, dtype=pl.String).gather(topic)
    action = _or_null(np.where(action_BN == NOTHING, -1, action_BN)[b_R, n_R])
    return (
        pl.DataFrame(
            {
                "user_id": visits.user_B[b_R],
                "timestamp": visits.time_B[b_R],
                "item_id": slates.item_BN[b_R, n_R],
                "rank": n_R + 1,
                "score": slates.score_BN[b_R, n_R],
                "source": pl.Series(SOURCES).gather(slates.source_BN[b_R, n_R].astype(np.uint32)),
                "interest": _or_null(slates.interest_BN[b_R, n_R]),
                "interest_name": condition,
                "condition": condition,
                "degraded": slates.degraded_B[b_R],
                "slot": _or_null(slot_BN[b_R, n_R]),
                "done": _NAMES.gather(action.cast(pl.UInt32)),
                "both": slates.both_BN[b_R, n_R],
            }
        )
        .with_columns(request_id=request_of(day.day, pl.col("user_id")), release=pl.lit(day.release))
        .select(
            *[pl.col(name).cast(dtype) for name, dtype in part("served", _KINDS).items()],
            pl.col("slot").cast(pl.Int32),
            "done",
            "both",
        )
    )


def _or_null(values: NDArray[np.int64]) -> pl.Series:
    """Return numbers with null for those below 0."""
    known = pl.Series(values)
    return pl.select(pl.when(known >= 0).then(known)).to_series()
