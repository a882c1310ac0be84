"""Check the tables of a data set and report on them, without preparing them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from multitudes.data.clean.events import EventRules
from multitudes.data.clean.tables import CleanData, clean_tables
from multitudes.data.column_names import ColumnMap
from multitudes.data.engine import Engine
from multitudes.data.engine_config import EngineConfig, open_configured_engine
from multitudes.data.prepare import PrepareConfig
from multitudes.progress import Progress, silent

OUTLIER_FACTOR = 50  # times the median number of events: a user with more may be a robot or an account of many


@dataclass(frozen=True)
class ValidationReport:
    """The result of ``validate``. Counts are those after the repairs."""

    rows: dict[str, int]  # of each table in its files
    id_kinds: dict[str, str]  # "int64" or "string", of user_id and item_id
    counts: dict[str, int]  # of users, items, topics and events, and of events and items with certain properties
    first: int  # time of the first event in seconds; a position if ``ordered_only``
    last: int
    ordered_only: bool  # whether timestamps are positions instead of times
    events_per_user: dict[str, float]  # minimum, median, 90th percentile and maximum
    actions: dict[str, int]  # events per action
    missing: dict[str, dict[str, int]]  # nulls in each column of each table
    shares: dict[str, float]  # coverages from 0 to 1
    odd_users: list[int | str]  # ids of at most 5 users with very many events, the most active first
    repairs: dict[str, int]  # the count of each repair that ``prepare`` would make
    warnings: list[str]  # sentences for people


def validate(
    data: Path,
    config: PrepareConfig | None = None,
    progress: Progress = silent,
    *,
    engine: EngineConfig | None = None,
    columns: Mapping[str, str] | None = None,
    now: int | None = None,
) -> ValidationReport:
    """Check every table in the folder ``data`` as ``prepare`` would with these arguments, and report on their content.

    Raises:
        DataError: something cannot be repaired.
        UsageError: ``data`` is not a folder.
        UnavailableError: the store of a URL does not answer, or rejects the credentials.
    """
    config = config or PrepareConfig()
    rules = EventRules(config.negative_actions, config.follows_from_share, now, config.min_topic_items)
    column_map = ColumnMap(columns)
    with open_configured_engine(engine, config.memory_limit, config.threads) as database:
        cleaned = clean_tables(database, data, rules, progress, column_map=column_map, with_nulls=True)
        return _report(database, cleaned)


def time_range_text(report: ValidationReport) -> str:
    """Return the times of the first and the last event for people."""
    if report.ordered_only:
        return f"positions {report.first} to {report.last}"
    # NumPy, because Python's times are limited to the years 1 to 9999.
    moments = np.array([report.first, report.last], dtype="datetime64[s]")
    first, last = (str(moment).replace("T", " ") for moment in np.datetime_as_string(moments, unit="m"))
    return f"{first} to {last} UTC ({(report.last - report.first) / 86_400:.1f} days)"


def _report(engine: Engine, cleaned: CleanData) -> ValidationReport:
    events_per_user = _events_per_user(engine)
    rows = engine.rows(f"""
        SELECT user_id FROM (SELECT user_id, count(*) AS n FROM event GROUP BY user_id)
        WHERE n > {OUTLIER_FACTOR * events_per_user["median"]} ORDER BY n DESC, user_id LIMIT 5""")
    outliers: list[int | str] = [user_id for (user_id,) in rows]
    warnings = list(cleaned.warnings)
    if cleaned.ordered_only:
        warnings.append(
            "the timestamps of every user are the positions 0 to n - 1: an order without times. Use the split"
            " leave_one_out or user; nothing that needs an age or a time of day makes sense"
        )
    if outliers:
        warnings.append(
            f"some users have more than {OUTLIER_FACTOR} times the median number of events, such as {outliers[0]!r}"
        )
    return ValidationReport(
        rows={name: table.rows for name, table in cleaned.tables.items()},
        id_kinds=dict(cleaned.id_types),
        counts=_counts(engine),
        **engine.record("SELECT min(time) AS first, max(time) AS last FROM event"),
        ordered_only=cleaned.ordered_only,
        events_per_user=events_per_user,
        actions=dict(engine.rows("SELECT action, count(*) FROM event GROUP BY action ORDER BY action")),
        missing={name: dict(nulls) for name, nulls in cleaned.missing.items()},
        shares=_shares(engine),
        odd_users=outliers,
        repairs=dict(cleaned.repairs),
        warnings=warnings,
    )


def _counts(engine: Engine) -> dict[str, int]:
    return engine.record("""
        SELECT (SELECT count(*) FROM member) AS users, (SELECT count(*) FROM item) AS items,
               (SELECT count(*) FROM topic) AS topics, (SELECT count(*) FROM event) AS events,
               (SELECT count(*) FROM event WHERE valid) AS usable_events,
               (SELECT count(*) FROM event WHERE negative) AS negative_events,
               (SELECT count(*) FROM event WHERE source <> '') AS sourced_events,
               (SELECT count(*) FROM follow) AS follows,
               (SELECT count(*) FROM item WHERE embedding IS NOT NULL) AS items_with_embedding""")


def _events_per_user(engine: Engine) -> dict[str, float]:
    engine.create_view("activity", "SELECT count(*) AS n FROM event GROUP BY user_id")
    rank = -(-9 * engine.value("SELECT count(*) FROM activity") // 10)
    # Counted by value: a quantile of the engine would hold all values, on a cluster in one task.
    counted = "SELECT n, count(*) AS users FROM activity GROUP BY n"
    until = f"SELECT n, sum(users) OVER (ORDER BY n) AS until FROM ({counted})"
    p90 = engine.value(f"SELECT min(n) FROM ({until}) WHERE until >= {rank}")
    return engine.record(f"""
        SELECT CAST(min(n) AS DOUBLE) AS minimum, CAST(median(n) AS DOUBLE) AS median, CAST({p90} AS DOUBLE) AS p90,
               CAST(max(n) AS DOUBLE) AS maximum
        FROM activity""")


def _shares(engine: Engine) -> dict[str, float]:
    """Return the shares of users with followed topics, items with topics, events with topics and of followed topics."""
    return engine.record("""
        SELECT (SELECT count(DISTINCT user_id) FROM follow) / (SELECT count(*) FROM member) AS users_with_follows,
               (SELECT count(DISTINCT item_id) FROM item_topic) / (SELECT count(*) FROM item) AS items_with_topics,
               (SELECT count(*) FROM event SEMI JOIN item_topic USING (item_id)) / (SELECT count(*) FROM event)
               AS events_with_topics,
               (SELECT count(*) FROM event SEMI JOIN (
                    SELECT DISTINCT user_id, item_id FROM (SELECT DISTINCT user_id, item_id FROM event)
                    JOIN follow USING (user_id) JOIN item_topic USING (item_id, topic)) USING (user_id, item_id)
               ) / (SELECT count(*) FROM event) AS events_of_followed_topics""")
