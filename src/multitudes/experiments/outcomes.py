"""What users did: a look at all rows once, and then a sum for each user, metric and period since the exposure.

A hundred million rows are read where they lie. What is kept of them in memory is a row for each user and period.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from multitudes.data import tables
from multitudes.data.duck import DuckDBEngine
from multitudes.data.engine import query_row, string_literal
from multitudes.data.timestamps import DAY_S, FUTURE_TOLERANCE_S, reject_small_units
from multitudes.errors import DataError

_DAILY_PERIODS = 7  # days since the exposure that are a period each; then weeks are
BEFORE, EARLIER, LATER = -1, -2, -3  # periods: the covariate's, what is older than that, what is after the window
_MIN_DAILY_ROWS = 10  # a metric with fewer rows a day may have a day without any by chance
_COMPLETE = "user_id IS NOT NULL AND timestamp IS NOT NULL AND metric IS NOT NULL AND isfinite(value)"


class OutcomeScan(NamedTuple):
    """What one look at all rows says: of each metric, how it is spread over days."""

    table: tables.Table
    rows: dict[str, int]  # sound ones of each metric
    first: int  # seconds: the first outcome
    last: int
    valid_sql: str  # SQL: rows that count
    missing_days: dict[str, list[str]]  # of a metric: days without any row though it has many on others
    repairs: dict[str, int]


class PeriodSums(NamedTuple):
    """What is known once ``part`` stands: number (of the user), period, and a sum for each metric, m0, m1 and so on."""

    covariate_s: int  # how long before the exposure outcomes are the covariate; 0: there is none
    periods: tuple[int, ...]
    repairs: dict[str, int]


def scan_outcomes(
    connection: DuckDBEngine,
    file: Path,
    now: int,
    complete_since: int | None = None,
    *,
    keep_negative: bool = False,
) -> OutcomeScan:
    """Look at every row of ``file`` once.

    Args:
        connection: the engine; ``outcomes_raw`` is the table from now on.
        file: a table of user_id, timestamp, metric, value.
        now: seconds; outcomes more than a day later are dropped.
        complete_since: seconds; days before it may lack rows; None: the first row.
        keep_negative: values below zero count.

    Raises:
        DataError: the file cannot be read, or no row is sound.
    """
    past = f"timestamp <= {now + FUTURE_TOLERANCE_S}"
    sound = f"{_COMPLETE} AND {past}" + ("" if keep_negative else " AND value >= 0")
    with connection.translate_read_errors(file):
        table = tables.view_table(connection, "outcomes", tables.resolve_table(file))
        reject_small_units(connection, "outcomes_raw", file)
        days = connection.frame(
            f"""
            SELECT metric, CAST(floor(timestamp / {DAY_S}) AS BIGINT) AS day, count(*) AS rows,
                   count(*) FILTER ({sound}) AS sound, count(*) FILTER ({_COMPLETE}) AS named,
                   count(*) FILTER ({_COMPLETE} AND {past}) AS past,
                   min(timestamp) FILTER ({sound}) AS first, max(timestamp) FILTER ({sound}) AS last
            FROM outcomes_raw GROUP BY ALL""",
        )
    kept = days.filter(pl.col("sound") > 0)
    if kept.is_empty():
        raise DataError(
            f"{file}: no row has a user_id, a past timestamp, a metric and a finite value"
            f"{'' if keep_negative else ' of at least 0'}; expected at least one"
        )
    total = {name: int(days[name].sum()) for name in ("rows", "named", "past", "sound")}
    first = int(kept["first"].min())  # type: ignore[arg-type]
    return OutcomeScan(
        table=table,
        rows=dict(kept.group_by("metric").agg(pl.col("sound").sum()).sort("metric").iter_rows()),
        first=first,
        last=int(kept["last"].max()),  # type: ignore[arg-type]
        valid_sql=sound,
        missing_days=_missing_days(kept, (first if complete_since is None else complete_since) // DAY_S),
        repairs={
            "outcomes_with_nulls": total["rows"] - total["named"],
            "future_outcomes": total["named"] - total["past"],
            "negative_outcomes": total["past"] - total["sound"],
        },
    )


def sum_by_period(
    connection: DuckDBEngine,
    scan: OutcomeScan,
    metrics: Sequence[str],
    first_exposure: int,
    window_days: int | None,
) -> PeriodSums:
    """Build ``part`` from ``outcomes_raw`` and ``exposed``: the one pass that adds up.

    Raises:
        DataError: no exposed user has an outcome after the exposure.
    """
    # The covariate looks back equally far for everybody, or it would say how late somebody came. Where the rows begin
    # with the experiment there is no such past, and who came later has a little of one: better than nothing.
    back_s = max(first_exposure - scan.first, 0)
    covariate_s = back_s if back_s >= DAY_S else scan.last - scan.first
    sums = "".join(f", sum(value) FILTER (metric = {string_literal(name)}) AS m{j}" for j, name in enumerate(metrics))
    wanted = ", ".join(string_literal(name) for name in metrics)
    with connection.translate_read_errors(scan.table.file):
        connection.execute(f"""
            CREATE TABLE part AS
            SELECT number, {_period_sql(covariate_s, window_days)} AS period, count(*) AS rows{sums}
            FROM (SELECT number, timestamp - time AS age_s, metric, value
                  FROM outcomes_raw JOIN exposed USING (user_id) WHERE {scan.valid_sql} AND metric IN ({wanted}))
            GROUP BY number, period""")
    rows = query_row(
        connection,
        f"""
        SELECT coalesce(sum(rows), 0) AS exposed, coalesce(sum(rows) FILTER (period >= 0), 0) AS after,
               coalesce(sum(rows) FILTER (period = {LATER}), 0) AS later,
               coalesce(sum(rows) FILTER (period IN ({BEFORE}, {EARLIER})), 0) AS before,
               coalesce(sum(rows) FILTER (period = {BEFORE}), 0) AS covariate
        FROM part""",
    )
    if not rows["after"]:
        raise DataError(
            f"{scan.table.file}: no outcome is later than the exposure of its user; expected some. Are the user_ids"
            " and the clocks of both tables the same?"
        )
    periods = connection.execute("SELECT DISTINCT period FROM part WHERE period >= 0 ORDER BY period").fetchall()
    return PeriodSums(
        covariate_s if rows["covariate"] else 0,
        tuple(row[0] for row in periods),
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
    """Return the first day since the exposure (0: its own) of a period, and the first after it."""
    if period < _DAILY_PERIODS:
        return period, period + 1
    return _DAILY_PERIODS + 7 * (period - _DAILY_PERIODS), _DAILY_PERIODS + 7 * (period + 1 - _DAILY_PERIODS)


def _missing_days(days: pl.DataFrame, since: int) -> dict[str, list[str]]:
    """Return the days without a row of a metric that has many on others; the first and the last day are never whole."""
    last = int(days["day"].max())  # type: ignore[arg-type]
    missing = {}
    for (name,), part in days.filter(pl.col("day") >= since).group_by("metric", maintain_order=True):
        absent = sorted(set(range(since, last + 1)) - set(part["day"]))
        if absent and part["sound"].sum() >= _MIN_DAILY_ROWS * (last + 1 - since):
            missing[str(name)] = [datetime.fromtimestamp(day * DAY_S, UTC).date().isoformat() for day in absent]
    return dict(sorted(missing.items()))
