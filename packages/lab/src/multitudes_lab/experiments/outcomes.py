"""Outcomes: one scan of all rows, then a sum per user, metric and period since the exposure.

The engine reads the rows in place. In memory there is one row per user and period.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from multitudes.data import tables
from multitudes.data.duck import DuckDBEngine
from multitudes.data.engine import string_literal
from multitudes.data.timestamps import DAY_S, FUTURE_TOLERANCE_S, reject_small_units
from multitudes.errors import DataError

_DAILY_PERIODS = 7  # the first days since the exposure are one period each; later periods are weeks
# Periods: the time of the covariate, the time before it, and the time after the window.
BEFORE, EARLIER, LATER = -1, -2, -3
_MIN_DAILY_ROWS = 10  # a metric with fewer rows per day may lack a day by chance
_COMPLETE = "user_id IS NOT NULL AND timestamp IS NOT NULL AND metric IS NOT NULL AND isfinite(value)"


class OutcomeScan(NamedTuple):
    """Facts from one scan of all rows."""

    table: tables.Table
    rows: dict[str, int]  # metric → number of valid rows
    first: int  # time of the first valid outcome, seconds since 1970
    last: int  # of the last one
    valid_sql: str  # condition of a valid row
    missing_days: dict[str, list[str]]  # metric → days without a row, if it has many rows on other days
    repairs: dict[str, int]


class PeriodSums(NamedTuple):
    """Facts about the table ``period_sums``: number (of the user), period, and a sum per metric, m0, m1 and so on."""

    covariate_s: int  # length of the time before the exposure whose outcomes are the covariate; 0: no covariate
    periods: tuple[int, ...]
    repairs: dict[str, int]


def scan_outcomes(
    connection: DuckDBEngine, file: Path, now: int, complete_since: int | None = None, *, keep_negative: bool = False
) -> OutcomeScan:
    """Scan all rows of ``file`` once; afterwards ``outcomes_raw`` is the table.

    Outcomes more than a day later than ``now`` are dropped. Days before ``complete_since`` (None: the first row) may
    lack rows. Both are seconds since 1970.
    """
    past = f"timestamp <= {now + FUTURE_TOLERANCE_S}"
    valid = f"{_COMPLETE} AND {past}" + ("" if keep_negative else " AND value >= 0")
    with connection.translate_read_errors(file):
        table = tables.load_table(connection, "outcomes", tables.resolve_table(file))
        reject_small_units(connection, "outcomes_raw", file)
        days = connection.frame(f"""
            SELECT metric, CAST(floor(timestamp / {DAY_S}) AS BIGINT) AS day, count(*) AS rows,
                   count(*) FILTER ({valid}) AS valid, count(*) FILTER ({_COMPLETE}) AS complete,
                   count(*) FILTER ({_COMPLETE} AND {past}) AS past,
                   min(timestamp) FILTER ({valid}) AS first, max(timestamp) FILTER ({valid}) AS last
            FROM outcomes_raw GROUP BY ALL""")
    valid_days = days.filter(pl.col("valid") > 0)
    if valid_days.is_empty():
        raise DataError(
            f"{file}: no row has a user_id, a past timestamp, a metric and a finite value"
            f"{'' if keep_negative else ' of at least 0'}; expected at least one"
        )
    total = {name: int(days[name].sum()) for name in ("rows", "complete", "past", "valid")}
    first = int(valid_days["first"].min())  # type: ignore[arg-type]
    return OutcomeScan(
        table=table,
        rows=dict(valid_days.group_by("metric").agg(pl.col("valid").sum()).sort("metric").iter_rows()),
        first=first,
        last=int(valid_days["last"].max()),  # type: ignore[arg-type]
        valid_sql=valid,
        missing_days=_missing_days(valid_days, (first if complete_since is None else complete_since) // DAY_S),
        repairs={
            "outcomes_with_nulls": total["rows"] - total["complete"],
            "future_outcomes": total["complete"] - total["past"],
            "negative_outcomes": total["past"] - total["valid"],
        },
    )


def sum_by_period(
    connection: DuckDBEngine, scan: OutcomeScan, metrics: Sequence[str], first_exposure: int, window_days: int | None
) -> PeriodSums:
    """Create ``period_sums`` from ``outcomes_raw`` and ``exposed``, in one pass, with a column for each metric."""
    # The covariate covers an equally long time for all users, or it would tell when a user was exposed. If the rows
    # begin with the experiment, there is no such time; later users then have a little of it, which is better than none.
    back_s = max(first_exposure - scan.first, 0)
    covariate_s = back_s if back_s >= DAY_S else scan.last - scan.first
    sums = "".join(f", sum(value) FILTER (metric = {string_literal(name)}) AS m{j}" for j, name in enumerate(metrics))
    chosen = ", ".join(string_literal(name) for name in metrics)
    with connection.translate_read_errors(scan.table.file):
        connection.execute(f"""
            CREATE TABLE period_sums AS
            SELECT number, {_period_sql(covariate_s, window_days)} AS period, count(*) AS rows{sums}
            FROM (SELECT number, timestamp - time AS age_s, metric, value
                  FROM outcomes_raw JOIN exposed USING (user_id) WHERE {scan.valid_sql} AND metric IN ({chosen}))
            GROUP BY number, period""")
    rows = connection.record(f"""
        SELECT coalesce(sum(rows), 0) AS exposed, coalesce(sum(rows) FILTER (period >= 0), 0) AS after,
               coalesce(sum(rows) FILTER (period = {LATER}), 0) AS later,
               coalesce(sum(rows) FILTER (period IN ({BEFORE}, {EARLIER})), 0) AS before,
               coalesce(sum(rows) FILTER (period = {BEFORE}), 0) AS covariate
        FROM period_sums""")
    if not rows["after"]:
        raise DataError(
            f"{scan.table.file}: no outcome is later than the exposure of its user; expected some. Do the user_ids"
            " and the clocks of both tables agree?"
        )
    periods = connection.rows("SELECT DISTINCT period FROM period_sums WHERE period >= 0 ORDER BY period")
    return PeriodSums(
        covariate_s if rows["covariate"] else 0,
        tuple(period for (period,) in periods),
        {
            "outcomes_of_the_unexposed": sum(scan.rows[name] for name in metrics) - int(rows["exposed"]),
            "outcomes_before_exposure": int(rows["before"]),
            "outcomes_after_the_window": int(rows["later"]),
        },
    )


def _period_sql(covariate_s: int, window_days: int | None) -> str:
    later = "" if window_days is None else f"WHEN age_s >= {window_days * DAY_S} THEN {LATER}"
    return f"""CAST(CASE WHEN age_s < -{covariate_s} THEN {EARLIER} WHEN age_s < 0 THEN {BEFORE} {later}
        WHEN age_s < {_DAILY_PERIODS * DAY_S} THEN age_s // {DAY_S}
        ELSE {_DAILY_PERIODS} + (age_s - {_DAILY_PERIODS * DAY_S}) // {7 * DAY_S} END AS SMALLINT)"""


def period_days(period: int) -> tuple[int, int]:
    """Return the first day of a period since the exposure (0: the day of the exposure), and the first day after it."""
    if period < _DAILY_PERIODS:
        return period, period + 1
    return _DAILY_PERIODS + 7 * (period - _DAILY_PERIODS), _DAILY_PERIODS + 7 * (period + 1 - _DAILY_PERIODS)


def _missing_days(days: pl.DataFrame, since: int) -> dict[str, list[str]]:
    """Return the missing days of each metric with many rows; the first and the last day are never complete."""
    last = int(days["day"].max())  # type: ignore[arg-type]
    missing = {}
    for (name,), rows in days.filter(pl.col("day") >= since).group_by("metric", maintain_order=True):
        absent = sorted(set(range(since, last + 1)) - set(rows["day"]))
        if absent and rows["valid"].sum() >= _MIN_DAILY_ROWS * (last + 1 - since):
            missing[str(name)] = [datetime.fromtimestamp(day * DAY_S, UTC).date().isoformat() for day in absent]
    return dict(sorted(missing.items()))
