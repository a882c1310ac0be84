"""Clean events: complete, in the past, without duplicates, and marked as usable or not."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from multitudes.data.engine import Engine, quote_identifier, string_literal
from multitudes.data.incremental import EVENT_COLUMNS, EVENTS_FILE, BaseData, reject_earlier_times, total_repairs
from multitudes.data.tables import Table
from multitudes.data.timestamps import FUTURE_TOLERANCE_S, reject_small_units
from multitudes.errors import DataError

_COMPLETE = "user_id IS NOT NULL AND item_id IS NOT NULL AND timestamp IS NOT NULL"


@dataclass(frozen=True)
class EventRules:
    """Which events and topics are dropped or unusable, and from which events the followed topics were derived."""

    negative_actions: Sequence[str]  # make an event unusable
    follows_from_share: float  # of each user's first events the followed topics were derived; 0: users stated them
    now: int | None  # seconds; events more than a day later are dropped; None: the time of the clock
    min_topic_items: int = 1  # topics of fewer items are dropped


def clean_events(
    engine: Engine, table: Table, rules: EventRules, earlier: BaseData | None = None, *, appendable: bool = False
) -> dict[str, int]:
    """Create ``event`` and ``known_from`` from ``events_raw`` and ``known_item``, and return the count of each repair.

    The events of ``earlier`` come before them. ``appendable`` creates ``clean_event``, to which a later run appends.

    Raises:
        DataError: times are in a unit smaller than seconds, no event is left, or one is not later than ``earlier``.
    """
    reject_small_units(engine, "events_raw", table.file)
    if earlier is not None:
        engine.create_view("earlier", f"SELECT * FROM {engine.file_relation('events', earlier.folder / EVENTS_FILE)}")
    repeated = _drop_repeated(engine, earlier is not None) if "event_id" in table else 0
    now = int(time.time()) if rules.now is None else rules.now
    row_condition = f"{_COMPLETE} AND timestamp <= {now + FUTURE_TOLERANCE_S}"
    counts = engine.record(f"""
        SELECT count(*) AS total, count(*) FILTER ({_COMPLETE}) AS complete, count(*) FILTER ({row_condition}) AS past,
               count(*) FILTER ({row_condition} AND action IS NULL) AS unnamed
        FROM events_raw""")
    if not counts["past"]:
        raise DataError(f"{table.file}: no row has a user_id, an item_id and a past timestamp; expected at least one")
    if earlier is not None:
        reject_earlier_times(engine, earlier, table, row_condition)
    _create_known_from(engine, row_condition, rules.follows_from_share)
    is_sorted = not repeated and engine.is_sorted("events_raw", "timestamp", row_condition)
    unsorted = 0 if is_sorted else _count_unsorted(engine, row_condition)
    copies = _find_duplicates(engine, table, row_condition)
    unique_events = f"events_raw {'ANTI JOIN copy USING (file_row)' if copies else ''} WHERE {row_condition}"
    rows_before = 0 if earlier is None else earlier.n_rows
    clean_sql = _clean_events_sql(unique_events, table, rules.negative_actions, rows_before)
    if earlier is not None:
        clean_sql = f"SELECT {EVENT_COLUMNS} FROM earlier UNION ALL {clean_sql}"
    if appendable:
        engine.create_table("clean_event", clean_sql)
        clean_sql = "SELECT * FROM clean_event"
    _create_event_view(engine, clean_sql)
    repairs = {
        "events_with_nulls": counts["total"] - counts["complete"],
        "future_events": counts["complete"] - counts["past"],
        "duplicate_events": copies,
        "unsorted_events": unsorted,
        "events_without_action": counts["unnamed"] if "action" in table else 0,
        "repeated_events": repeated,
    }
    return repairs if earlier is None else total_repairs(repairs, earlier)


def aggregate_events(engine: Engine) -> dict[str, int]:
    """Create ``user_summary`` and ``action_summary``, and count events whose item or source is not in the items table.

    Two groupings read the events twice; one of both would have a group for each user and action, and takes as long.
    """
    sql = """
        SELECT user_id, count(*) AS events, min(time) AS first, max(time) AS last, bool_or(valid) AS any_valid,
               count(*) FILTER (NOT known) AS unknown_items
        FROM event GROUP BY user_id"""
    engine.create_table("user_summary", sql)
    engine.create_table(
        "action_summary", "SELECT action, source, count(*) AS events FROM event GROUP BY action, source"
    )
    return engine.record("""
        SELECT CAST(sum(unknown_items) AS BIGINT) AS events_of_unknown_items,
               (SELECT CAST(coalesce(sum(events), 0) AS BIGINT) FROM action_summary
                ANTI JOIN topic ON topic = source WHERE source <> '') AS unknown_source_interests
        FROM user_summary""")


def is_order_only(engine: Engine) -> bool:
    """Return whether the timestamps of every user are the positions 0, 1, …, n - 1: an order without times."""
    # The cheap test first: counting distinct values needs a sort.
    within = "SELECT bool_and(first = 0 AND last = events - 1) AND max(events) > 1 FROM user_summary"
    distinct = "SELECT count(DISTINCT time) = count(*) AS is_distinct FROM event GROUP BY user_id"
    return bool(engine.value(within)) and bool(engine.value(f"SELECT bool_and(is_distinct) FROM ({distinct})"))


def _find_duplicates(engine: Engine, table: Table, row_condition: str) -> int:
    """Create ``copy``, the rows that equal an earlier row in every column, and return their number.

    ``row_condition`` is the SQL that selects complete rows in the past.
    """
    # Few rows have the same user, item and time, and only these are compared in all columns. Grouping by one hash is
    # faster than by three columns; rows with the same hash by chance are compared too, and differ.
    key = "hash_of_three(user_id, item_id, timestamp)"
    columns = ", ".join(quote_identifier(column) for column in table.columns)
    engine.create_partitioned_view("keyed", f"SELECT {key} AS key FROM events_raw WHERE {row_condition}", "key")
    engine.create_table("repeated_key", "SELECT key FROM keyed GROUP BY key HAVING count(*) > 1")
    engine.create_table(
        "compared", f"SELECT * FROM events_raw SEMI JOIN repeated_key ON repeated_key.key = {key} WHERE {row_condition}"
    )
    sql = f"""
        SELECT file_row FROM compared
        ANTI JOIN (SELECT min(file_row) AS file_row FROM compared GROUP BY {columns}) AS first USING (file_row)"""
    engine.create_table("copy", sql)
    engine.drop("keyed", "repeated_key", "compared")
    return int(engine.value("SELECT count(*) FROM copy"))


def _clean_events_sql(unique_events: str, table: Table, negative_actions: Sequence[str], rows_before: int) -> str:
    """Return the SQL of the clean events, with the columns that follow from an event alone.

    ``unique_events`` is a FROM and a WHERE clause, ``rows_before`` the number of rows of earlier events tables.
    """
    negative = f"action IN ({', '.join(map(string_literal, negative_actions))})" if negative_actions else "false"
    unnamed = string_literal("unknown" if "action" in table else "event")
    return f"""
        SELECT file_row + {rows_before} AS row, user_id, item_id, timestamp AS time,
               coalesce(action, {unnamed}) AS action, rating, source_interest AS source, request_id, event_id,
               coalesce({negative}, false) AS negative, coalesce(NOT valid, false) AS flagged
        FROM {unique_events}"""


def _create_event_view(engine: Engine, clean_sql: str) -> None:
    """Create ``event``: the clean events, with the number of their item and whether they are usable."""
    unusable = not engine.value("SELECT coalesce(bool_or(usable), false) FROM known_item")
    sql = f"""
        SELECT row AS file_row, clean.user_id, clean.item_id, time, action, rating, source, request_id, negative,
               flagged, coalesce(known_item.item, 0) AS item, known_item.item IS NOT NULL AS known,
               known_item.item IS NOT NULL AND ({"true" if unusable else "usable"})
               AND NOT negative AND NOT flagged AS valid
        FROM ({clean_sql}) AS clean LEFT JOIN known_item ON known_item.item_id = clean.item_id"""
    engine.create_view("event", sql)


def _drop_repeated(engine: Engine, after_earlier: bool) -> int:
    """Drop events that were sent again from ``events_raw``: of one event_id, user and item, the first row stays."""
    of_one = "PARTITION BY event_id, user_id, item_id ORDER BY file_row"
    again = f"""
        SELECT file_row FROM (
            SELECT file_row, row_number() OVER ({of_one}) AS nth
            FROM events_raw WHERE event_id IS NOT NULL AND {_COMPLETE}
        ) WHERE nth > 1"""
    if after_earlier:
        again += " UNION SELECT file_row FROM events_raw SEMI JOIN earlier USING (event_id, user_id, item_id)"
    engine.create_table("repeated", again)
    repeated = int(engine.value("SELECT count(*) FROM repeated"))
    if repeated:
        engine.create_table("events_raw", "SELECT * FROM events_raw ANTI JOIN repeated USING (file_row)")
    engine.drop("repeated")
    return repeated


def _create_known_from(engine: Engine, row_condition: str, share: float) -> None:
    """Create ``known_from``; duplicates count, since the share is one of the rows in the file."""
    place = f"CAST(ceil(count(*) * CAST({share!r} AS DOUBLE)) AS BIGINT)"
    sql = f"""
        SELECT user_id, list_sort(list(timestamp))[{place}] AS time
        FROM events_raw WHERE {row_condition} AND {share!r} > 0 GROUP BY user_id"""
    engine.create_table("known_from", sql)


def _count_unsorted(engine: Engine, row_condition: str) -> int:
    above = "lag(timestamp) OVER (PARTITION BY user_id ORDER BY file_row) AS above"
    rows = f"SELECT timestamp, {above} FROM events_raw WHERE {row_condition}"
    return int(engine.value(f"SELECT count(*) FILTER (timestamp < above) FROM ({rows})"))
