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
from multitudes.data.engine import string_literal
from multitudes.data.tables import Table
from multitudes.data.timestamps import DAY_S
from multitudes.errors import DataError, UsageError

_RESERVED = ("visits", "active", "session_s", "saves", "topics_served", "adopted_topics")
_COMPLETE = "user_id IS NOT NULL AND item_id IS NOT NULL AND timestamp IS NOT NULL"
_ADVICE = Advice("raise --memory-limit", "free some, or choose another folder for the outcomes")


class OutcomesConfig(Config):
    """Settings that turn logs into outcomes; ``multitudes outcomes --help`` says what each is for."""

    saves: tuple[str, ...] = Field(("save",), min_length=1)  # --save
    adopted: int = Field(3, ge=1)
    since: int | None = None  # seconds since 1970
    memory_limit: str = "1GB"


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
        attribution = _create_tables(connection, logs, config)
        rows = _metric_queries(attribution, config) + (_topic_queries(logs, config) if items is not None else [])
        partial = Path(scratch) / out.name
        # A row has the time of its first event. A day that began before the start would date later events before it.
        day = f"(timestamp - {(config.since or 0) % DAY_S}) // {DAY_S}"
        with connection.translate_read_errors(events):
            connection.execute(f"""
                COPY (SELECT user_id, min(timestamp) AS timestamp, metric, CAST(sum(value) AS DOUBLE) AS value
                      FROM ({" UNION ALL ".join(rows)}) GROUP BY user_id, metric, {day} ORDER BY ALL)
                TO {string_literal(str(partial))} (FORMAT parquet)""")
        ((n_rows, n_users, metrics),) = connection.rows(f"""
            SELECT count(*), count(DISTINCT user_id), list(DISTINCT metric ORDER BY metric)
            FROM {string_literal(str(partial))}""")
        move_into_place(partial, out)
        repeated = connection.value(f"SELECT (SELECT count(*) FROM events_raw WHERE {_COMPLETE}) - count(*) FROM done")
    return OutcomesSummary(n_rows, n_users, tuple(metrics), int(repeated))


def _check_action_names(connection: DuckDBEngine, events: Path, saves: tuple[str, ...]) -> None:
    """Reject an action whose name is a metric of another meaning: its counts would be added to that metric."""
    actions = {action for (action,) in connection.rows("SELECT DISTINCT action FROM events_raw")}
    others = actions - set(saves) - {None}
    reserved = sorted(name for name in others if name in _RESERVED or name.startswith("feed_saves"))
    if reserved:
        raise DataError(f"{events}: action '{reserved[0]}' is the name of a metric with another meaning; rename it")


def _create_tables(connection: DuckDBEngine, logs: dict[str, Table], config: OutcomesConfig) -> str:
    """Create ``shown``, ``done``, ``brought``; return the condition by which an event follows from a response.

    =========== ==========================================================================================
    shown       items of responses, each with the ``response_key``, which identifies it among those to the user
    done        events, each once: a service logs each sending, with the same event id
    brought     saves of items from a response, each with the source of the item
    =========== ==========================================================================================
    """
    response = "coalesce(request_id, CAST(timestamp AS VARCHAR))" if "request_id" in logs["served"] else "timestamp"
    source = "" if "source" in logs["served"].extra else ", NULL AS source"
    repeat = "row_number() OVER (PARTITION BY event_id, user_id, item_id ORDER BY timestamp) > 1"
    once = f"QUALIFY event_id IS NULL OR NOT {repeat}" if "event_id" in logs["events"] else ""
    follows = f"shown.timestamp BETWEEN done.timestamp - {DAY_S} AND done.timestamp"
    if connection.value("SELECT count(request_id) FROM events_raw"):
        follows = "shown.request_id = done.request_id"
    connection.execute(f"""
        CREATE VIEW shown AS SELECT *, {response} AS response_key{source} FROM served_raw WHERE user_id IS NOT NULL;
        CREATE TABLE done AS
        SELECT user_id, item_id, timestamp, action, request_id,
               coalesce(action IN ({", ".join(map(string_literal, config.saves))}), false) AS is_save
        FROM events_raw WHERE {_COMPLETE} {once};
        CREATE TABLE brought AS
        SELECT done.user_id, done.item_id, done.timestamp, arg_max(source, (shown.timestamp, source)) AS source
        FROM done JOIN shown USING (user_id, item_id) WHERE is_save AND {follows} GROUP BY ALL""")
    return follows


def _metric_queries(follows: str, config: OutcomesConfig) -> list[str]:
    """Return queries of (user_id, timestamp, metric, value)."""
    since = "(SELECT min(timestamp) FROM served_raw)" if config.since is None else str(config.since)
    return [
        """SELECT user_id, min(timestamp) AS timestamp, 'visits' AS metric, 1 AS value FROM shown
            GROUP BY user_id, response_key""",
        f"SELECT user_id, min(timestamp), 'active', 1 FROM shown WHERE timestamp >= {since} GROUP BY user_id",
        f"""SELECT user_id, min(shown.timestamp), 'session_s', max(done.timestamp) - min(shown.timestamp)
            FROM done JOIN shown USING (user_id, item_id) WHERE {follows} GROUP BY user_id, response_key""",
        "SELECT user_id, timestamp, 'saves', 1 FROM done WHERE is_save",
        "SELECT user_id, timestamp, action, 1 FROM done WHERE NOT is_save AND action IS NOT NULL",
        "SELECT user_id, timestamp, 'feed_saves', 1 FROM brought",
        "SELECT user_id, timestamp, 'feed_saves_' || source, 1 FROM brought WHERE source IS NOT NULL",
    ]


def _topic_queries(logs: dict[str, Table], config: OutcomesConfig) -> list[str]:
    topics = "(SELECT DISTINCT item_id, unnest(topics) AS topic FROM items_raw WHERE item_id IS NOT NULL)"
    seen = "WHERE slot IS NOT NULL" if "slot" in logs["served"].extra else ""
    since = "(SELECT min(timestamp) FROM done)" if config.since is None else str(config.since)
    return [
        f"""SELECT user_id, min(timestamp), 'topics_served', count(DISTINCT topic)
            FROM (SELECT * FROM shown {seen}) JOIN {topics} USING (item_id) GROUP BY user_id, response_key""",
        f"""SELECT user_id, timestamp, 'adopted_topics', 1 FROM (
                SELECT user_id, timestamp,
                       row_number() OVER (PARTITION BY user_id, topic ORDER BY timestamp, item_id) AS nth
                FROM (SELECT DISTINCT ON (user_id, item_id) * FROM done WHERE is_save AND timestamp >= {since}
                      ORDER BY user_id, item_id, timestamp)
                JOIN {topics} USING (item_id))
            WHERE nth = {config.adopted}""",
    ]
