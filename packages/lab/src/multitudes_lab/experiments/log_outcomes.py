"""Outcomes of an experiment from the logs of a service: what each user did on each day, by metric.

========================= ==========================================================================================
visits                    responses that the user got
active                    1 on the day of the user's first response since the start: saves/active is saves per active
                          user
session_s                 seconds from a response to the last engagement with its items; none without an engagement
saves                     engagements whose action counts as a save, wherever they happen (sitewide)
feed_saves                saves of an item from a response (home feed): the response that the event names, if any event
                          names one; else one to the same user at most a day before
feed_saves_SOURCE         the same by the source of the item: unconditioned, implicit, explicit, popular
ACTION                    engagements of any other action, such as click or hide
topics_served             distinct topics of a response's items; only of those shown, if the log tells (``slot``)
adopted_topics            topics of which the user has saved ``adopted`` items since the start, on the day of the last
========================= ==========================================================================================

A topic is adopted once. One save of a topic may be chance. The default of three is a choice, as Pinterest's threshold
for "adopted pincepts", which are such a count, is not published.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from pydantic import Field

from multitudes.atomic import move_into_place
from multitudes.config import Config
from multitudes.data import tables
from multitudes.data.duck import Advice, DuckDBEngine, open_engine
from multitudes.data.engine import query_value, string_literal
from multitudes.data.tables import Table
from multitudes.data.timestamps import DAY_S
from multitudes.errors import DataError, UsageError

_RESERVED = ("visits", "active", "session_s", "saves", "topics_served", "adopted_topics")
_COMPLETE = "user_id IS NOT NULL AND item_id IS NOT NULL AND timestamp IS NOT NULL"
_ADVICE = Advice("raise --memory-limit", "free some, or choose another folder for the outcomes")


class OutcomesConfig(Config):
    """Settings that turn logs into outcomes; each field is an option of ``multitudes outcomes``."""

    saves: tuple[str, ...] = Field(("save",), min_length=1, description="Actions that count as saves.")
    adopted: int = Field(3, ge=1, description="Saves of a topic that make it adopted.")
    since: int | None = Field(
        None,
        description="Start of the test, seconds since 1970: adoption and activity count from then, and days begin at"
        " its time of day; default: the first row, and midnight UTC.",
    )
    memory_limit: str = Field("1GB", description="Memory of the engine; the rest spills to disk.")


class OutcomesSummary(NamedTuple):
    """The outcomes that were written."""

    rows: int
    users: int
    metrics: tuple[str, ...]
    repeated: int  # events that were sent again; each counts once


def write_log_outcomes(
    served: Path, events: Path, items: Path | None, out: Path, config: OutcomesConfig
) -> OutcomesSummary:
    """Write the outcomes of served responses and logged events as one Parquet file.

    Args:
        served: the log of responses: a table file, or a folder of Parquet segments.
        events: the log of events, or any events table.
        items: the items table, for topics; None: no metrics of topics.
        out: the file to write; it appears whole or not at all.
        config: the settings.

    Returns:
        Counts of what was written.

    Raises:
        DataError: a table cannot be read, or ids have different types.
        UsageError: a table does not exist, or ``out`` is not the name of a Parquet file.
    """
    if out.suffix != ".parquet":
        raise UsageError(f"{out}: outcomes are written as Parquet; expected a name that ends in .parquet")
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch,
        open_engine(Path(scratch), config.memory_limit, 0, _ADVICE) as connection,
    ):
        logs = {
            name: tables.load_table(connection, name, tables.resolve_table(file))
            for name, file in (("served", served), ("events", events), ("items", items))
            if file is not None
        }
        for column in ("user_id", "item_id"):
            tables.table_id_type(connection, logs, column)
        _check_action_names(connection, events, config.saves)
        rows = " UNION ALL ".join(_metric_queries(connection, logs, config))
        partial = Path(scratch) / out.name
        # A row has the time of its first event. A day that began before the start would date later events before it.
        day = f"(timestamp - {(config.since or 0) % DAY_S}) // {DAY_S}"
        with connection.translate_read_errors(events):
            connection.execute(f"""
                COPY (SELECT user_id, min(timestamp) AS timestamp, metric, CAST(sum(value) AS DOUBLE) AS value
                      FROM ({rows}) GROUP BY user_id, metric, {day} ORDER BY ALL)
                TO {string_literal(str(partial))} (FORMAT parquet)""")
        n_rows, n_users, metrics = connection.frame(
            f"""
            SELECT count(*) AS rows, count(DISTINCT user_id) AS users, list(DISTINCT metric ORDER BY metric) AS metrics
            FROM {string_literal(str(partial))}""",
        ).row(0)
        move_into_place(partial, out)
        repeated = query_value(
            connection, f"SELECT (SELECT count(*) FROM events_raw WHERE {_COMPLETE}) - count(*) FROM done"
        )
    return OutcomesSummary(n_rows, n_users, tuple(metrics), int(repeated))


def _check_action_names(connection: DuckDBEngine, events: Path, saves: tuple[str, ...]) -> None:
    """Reject an action whose name is a metric of another meaning: its counts would be added to that metric."""
    actions = {row[0] for row in connection.execute("SELECT DISTINCT action FROM events_raw").fetchall()}
    others = actions - set(saves) - {None}
    reserved = sorted(name for name in others if name in _RESERVED or name.startswith("feed_saves"))
    if reserved:
        raise DataError(f"{events}: action '{reserved[0]}' is the name of a metric with another meaning; rename it")


def _metric_queries(connection: DuckDBEngine, logs: dict[str, Table], config: OutcomesConfig) -> list[str]:
    """Create the shared tables, and return queries of (user_id, timestamp, metric, value)."""
    saves = ", ".join(string_literal(action) for action in config.saves)
    source = "source" if "source" in logs["served"].extra else "NULL"
    attributed = _attribution_sql(connection)
    since = "(SELECT min(timestamp) FROM served_raw)" if config.since is None else str(config.since)
    connection.execute(f"""
        CREATE TABLE done AS
        SELECT user_id, item_id, timestamp, coalesce(action IN ({saves}), false) AS is_save, action, request_id
        FROM events_raw WHERE {_COMPLETE} {_deduplicate_sql(logs)};
        CREATE TABLE brought AS
        SELECT done.user_id, done.item_id, done.timestamp, arg_max({source}, served_raw.timestamp) AS source
        FROM done JOIN served_raw USING (user_id, item_id)
        WHERE is_save AND {attributed}
        GROUP BY ALL""")
    queries = [
        f"""SELECT user_id, min(timestamp) AS timestamp, 'visits' AS metric, 1 AS value FROM served_raw
            WHERE user_id IS NOT NULL GROUP BY user_id, {_response_key_sql(logs)}""",
        f"""SELECT user_id, min(timestamp), 'active', 1 FROM served_raw
            WHERE user_id IS NOT NULL AND timestamp >= {since} GROUP BY user_id""",
        f"""SELECT user_id, min(served_raw.timestamp), 'session_s', max(done.timestamp) - min(served_raw.timestamp)
            FROM done JOIN served_raw USING (user_id, item_id)
            WHERE {attributed} GROUP BY user_id, {_response_key_sql(logs, "served_raw.")}""",
        "SELECT user_id, timestamp, 'saves', 1 FROM done WHERE is_save",
        "SELECT user_id, timestamp, action, 1 FROM done WHERE NOT is_save AND action IS NOT NULL",
        "SELECT user_id, timestamp, 'feed_saves', 1 FROM brought",
        "SELECT user_id, timestamp, 'feed_saves_' || source, 1 FROM brought WHERE source IS NOT NULL",
    ]
    return queries + (_topic_queries(connection, logs, config) if "items" in logs else [])


def _deduplicate_sql(logs: dict[str, Table]) -> str:
    """Return a clause that drops events sent again: a service logs each sending, with the same event id."""
    if "event_id" not in logs["events"]:
        return ""
    is_repeat = "row_number() OVER (PARTITION BY event_id, user_id, item_id ORDER BY timestamp) > 1"
    return f"QUALIFY event_id IS NULL OR NOT {is_repeat}"


def _attribution_sql(connection: DuckDBEngine) -> str:
    """Return the condition under which an event follows from a response that held its item."""
    if query_value(connection, "SELECT count(request_id) FROM events_raw"):
        return "served_raw.request_id = done.request_id"
    return f"served_raw.timestamp BETWEEN done.timestamp - {DAY_S} AND done.timestamp"


def _topic_queries(connection: DuckDBEngine, logs: dict[str, Table], config: OutcomesConfig) -> list[str]:
    connection.execute("""
        CREATE TABLE topic_of AS
        SELECT DISTINCT item_id, unnest(topics) AS topic FROM items_raw WHERE item_id IS NOT NULL""")
    shown = "WHERE slot IS NOT NULL" if "slot" in logs["served"].extra else ""
    since = "(SELECT min(timestamp) FROM done)" if config.since is None else str(config.since)
    return [
        f"""SELECT user_id, min(timestamp), 'topics_served', count(DISTINCT topic)
            FROM (SELECT * FROM served_raw {shown}) JOIN topic_of USING (item_id)
            WHERE user_id IS NOT NULL GROUP BY user_id, {_response_key_sql(logs)}""",
        f"""SELECT user_id, timestamp, 'adopted_topics', 1 FROM (
                SELECT user_id, timestamp,
                       row_number() OVER (PARTITION BY user_id, topic ORDER BY timestamp, item_id) AS nth
                FROM (SELECT DISTINCT ON (user_id, item_id) * FROM done WHERE is_save AND timestamp >= {since}
                      ORDER BY user_id, item_id, timestamp)
                JOIN topic_of USING (item_id))
            WHERE nth = {config.adopted}""",
    ]


def _response_key_sql(logs: dict[str, Table], prefix: str = "") -> str:
    """Return an expression that identifies a response to a user; ``prefix`` names the table."""
    named = "request_id" in logs["served"]
    return f"coalesce({prefix}request_id, CAST({prefix}timestamp AS VARCHAR))" if named else f"{prefix}timestamp"
