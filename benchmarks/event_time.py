"""Whether a tower finds more when it reads when events took place.

::

    python -m benchmarks.event_time tables data/foursquare-nyc…     data/foursquare-nyc-gap, -hour and -noise beside it
    multitudes study examples/event-time.toml --out event-time
    python -m benchmarks.event_time read event-time

A tower has an embedding for each action, which it adds to that of the item. So time is read without a change of code
where the action says it: ``gap`` the time since the user's event before (eight steps, from ten minutes to a month),
``hour`` three hours of the day on a working day or a weekend. ``noise`` is the control: as many actions, drawn.

``read`` prints the hit rate of each arm on validation, and the difference to the tables as they are, paired by user,
with its interval (95 %, bootstrap over users and seeds).
"""

import shutil
import sys
from pathlib import Path

import polars as pl

from multitudes.study.comparison import (
    OUTCOMES_FILE,
    Resampling,
    difference_interval,
    pair_by_user,
    rate_interval,
)

ARMS = ("gap", "hour", "noise")
_GAPS_S = (600, 3_600, 6 * 3_600, 86_400, 3 * 86_400, 7 * 86_400, 30 * 86_400)
_HOURS, _DRAWN = 3, 16
_SATURDAY = 6
_BUDGET, _METHOD = 100, "single"


def write_tables(folder: Path) -> None:
    """Write a copy of the tables for each arm, which has the arm in the action of events."""
    events = pl.read_parquet(folder / "events.parquet")
    # `prepare` drops events that are given twice, and would keep those that an arm names differently.
    events = events.unique(maintain_order=True).with_row_index("row")
    action = pl.col("action") if "action" in events.columns else pl.lit("event")
    gap_s = pl.col("timestamp").diff().over("user_id").fill_null(10**9)
    time = pl.from_epoch("timestamp", time_unit="s")
    buckets = {
        "gap": pl.sum_horizontal([(gap_s >= edge).cast(pl.Int32) for edge in _GAPS_S]),
        "hour": time.dt.hour() // _HOURS + 24 // _HOURS * (time.dt.weekday() >= _SATURDAY),
        "noise": pl.int_range(pl.len()).shuffle(seed=1) % _DRAWN,
    }
    ordered = events.sort("user_id", "timestamp", "row", maintain_order=True)
    for arm in ARMS:
        copy = folder.with_name(f"{folder.name}-{arm}")
        shutil.copytree(folder, copy)
        named = ordered.with_columns(action=pl.format("{}-" + arm + "{}", action, buckets[arm]))
        named.sort("row").drop("row").write_parquet(copy / "events.parquet")
        print(copy)


def read(study: Path) -> None:
    """Print a line for each arm of each set."""
    frame = pl.read_parquet(study / OUTCOMES_FILE).filter(method=_METHOD, budget=_BUDGET, kind="new")
    names = frame["data"].unique().to_list()
    print("set | arm | HR@100 | - the tables as they are [95 %]")
    for base in sorted(name for name in names if not name.endswith(tuple(f"-{arm}" for arm in ARMS))):
        arms = {base: "as they are"} | {f"{base}-{arm}": arm for arm in ARMS if f"{base}-{arm}" in names}
        own = frame.filter(pl.col("data").is_in(list(arms))).with_columns(method=pl.col("data").replace(arms))
        outcomes = pair_by_user(own, base)
        order = list(arms.values())
        estimates = Resampling()([outcomes.measure(arm, "hits") for arm in order], outcomes.user_column("targets"))
        for number, arm in enumerate(order):
            found = difference_interval(estimates, number, 0)
            rate = rate_interval(estimates, number)["mean"]
            print(f"{base} | {arm} | {rate:.4f} | {found['mean']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]")


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("tables", "read"):
        sys.exit("python -m benchmarks.event_time tables TABLES... | read STUDY")
    for path in map(Path, sys.argv[2:]):
        write_tables(path) if sys.argv[1] == "tables" else read(path)
