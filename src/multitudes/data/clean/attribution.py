"""Attribute engagements to the topics that a service served: the source interest of training triples.

An engagement is attributed to the answer that it names (``request_id``), if that answer has the item; else to the
newest earlier answer with the item for the user. A later answer cannot be the cause; only an answer that is named may
be a little later, since the clocks of users and services differ.
"""

from pathlib import Path
from typing import NamedTuple

from multitudes.data.engine import Engine
from multitudes.data.tables import Table

CLOCK_SKEW_S = 300  # largest difference between the clocks of the two ends of a request


class FeedbackLogs(NamedTuple):
    """The logs of a service, or tables with the same columns; each a file, or a folder of Parquet files."""

    events: Path | None = None  # to append to those of the data set
    served: Path | None = None  # the candidates that the service served
    attribution_window_s: int = 86_400  # an engagement is attributed to an answer at most this long before it


NO_LOGS = FeedbackLogs()


def attribute_events(engine: Engine, served: Table, within_s: int) -> dict[str, int]:
    """Fill the source of each ``event`` that has none from ``served_raw``.

    ``served_raw`` is read twice and not stored, so memory grows with the events only. ``within_s`` is the window of
    ``FeedbackLogs``.

    Returns the window, and the number of events by how they were attributed.

    Raises:
        DataError: a file cannot be read, or was deleted while it was read.
    """
    unattributed = "SELECT file_row, user_id, item_id, time, request_id FROM event WHERE coalesce(source, '') = ''"
    engine.create_table("unattributed", unattributed)
    with engine.translate_read_errors(served.file):
        answers = f"{_by_request_sql()} UNION ALL {_by_newest_sql(within_s)}"
        engine.create_table("attributed", f"SELECT file_row, max(serve) AS serve FROM ({answers}) GROUP BY file_row")
    sql = """
        SELECT event.* EXCLUDE (source), coalesce(serve.condition, source) AS source
        FROM event LEFT JOIN attributed ON attributed.file_row = event.file_row"""
    engine.create_table("event", sql)
    counts = engine.record("""
        SELECT count(*) FILTER (serve.named) AS by_request, count(*) FILTER (NOT serve.named) AS by_newest,
               (SELECT count(*) FROM unattributed) - count(*) AS not_served,
               count(serve.condition) AS with_topic
        FROM attributed""")
    engine.drop("unattributed", "attributed")
    return {"within_s": within_s, **counts}


# The greatest struct wins: a named answer first, then one that was not later, then the newest. The other fields make
# the result independent of the order of rows: the better rank, then the names.
_SERVED_SQL = """
    SELECT unattributed.file_row, {{
        'named': {named}, 'earlier': served_raw.timestamp <= time, 'time': served_raw.timestamp,
        'nearness': -coalesce(rank, 0), 'request_id': coalesce(served_raw.request_id, ''),
        'silent': condition IS NULL, 'condition': condition
    }} AS serve
    FROM unattributed JOIN served_raw ON {on}"""


def _by_request_sql() -> str:
    same = "served_raw.request_id = unattributed.request_id AND served_raw.item_id = unattributed.item_id"
    user = "coalesce(served_raw.user_id = unattributed.user_id, true)"  # an anonymous user has no id in the log
    return _SERVED_SQL.format(named="true", on=f"{same} AND {user} AND served_raw.timestamp <= time + {CLOCK_SKEW_S}")


def _by_newest_sql(within_s: int) -> str:
    same = "served_raw.user_id = unattributed.user_id AND served_raw.item_id = unattributed.item_id"
    return _SERVED_SQL.format(named="false", on=f"{same} AND served_raw.timestamp BETWEEN time - {within_s} AND time")
