"""Which topic sourced an engagement: from what a service served, the source interest of CR's training triples.

An engagement is explained by the answer that it names (``request_id``), if that one held the item; else by the newest
answer that brought the item to the user before. An answer that came later explains nothing: what the user did cannot
have come of it. Only by name may it be a little later, because the clocks of users and services differ.
"""

from pathlib import Path
from typing import NamedTuple

from multitudes.data.engine import Engine, query_row
from multitudes.data.tables import Table

CLOCK_SKEW_S = 300  # how far clocks may differ between the two ends of one request


class FeedbackLogs(NamedTuple):
    """What a service has written, or anybody in the same columns: files, or folders of Parquet parts."""

    events: Path | None = None  # more events, behind those of the data
    served: Path | None = None
    attribution_window_s: int = 86_400  # an engagement comes of the newest answer at most so long before it


NO_LOGS = FeedbackLogs()


def attribute_events(engine: Engine, served: Table, within_s: int) -> dict[str, int]:
    """Fill the source of each ``event`` that has none from ``served_raw``; return how many found theirs in which way.

    What was served is read twice and never held: memory grows with the events alone.

    Raises:
        DataError: a part cannot be read, or has been removed meanwhile.
    """
    engine.create_table(
        "unexplained",
        """
        SELECT file_row, user_id, item_id, time, request_id FROM event WHERE coalesce(source, '') = ''""",
    )
    with engine.translate_read_errors(served.file):
        engine.create_table(
            "explained",
            f"""
            SELECT file_row, max(serve) AS serve
            FROM ({_by_request_sql()} UNION ALL {_by_newest_sql(within_s)}) GROUP BY file_row""",
        )
    engine.create_table(
        "event",
        """
        SELECT event.* EXCLUDE (source), coalesce(serve.condition, source) AS source
        FROM event LEFT JOIN explained ON explained.file_row = event.file_row""",
    )
    counts = query_row(
        engine,
        """
        SELECT count(*) FILTER (serve.named) AS by_request, count(*) FILTER (NOT serve.named) AS by_newest,
               (SELECT count(*) FROM unexplained) - count(*) AS not_served,
               count(serve.condition) AS with_topic
        FROM explained""",
    )
    engine.drop("unexplained", "explained")
    return {"within_s": within_s, **counts}


# The greatest serve explains: a named one first, then one that was not later, then the newest. The rest makes it one
# and the same whatever the order of the rows: the higher rank, then the names.
_SERVED_SQL = """
    SELECT file_row, {{
        'named': {named}, 'earlier': served_raw.timestamp <= time, 'time': served_raw.timestamp,
        'nearness': -coalesce(rank, 0), 'request_id': coalesce(served_raw.request_id, ''),
        'silent': condition IS NULL, 'condition': condition
    }} AS serve
    FROM unexplained JOIN served_raw ON {on}"""


def _by_request_sql() -> str:
    same = "served_raw.request_id = unexplained.request_id AND served_raw.item_id = unexplained.item_id"
    user = "coalesce(served_raw.user_id = unexplained.user_id, true)"  # somebody described has no name in the log
    return _SERVED_SQL.format(named="true", on=f"{same} AND {user} AND served_raw.timestamp <= time + {CLOCK_SKEW_S}")


def _by_newest_sql(within_s: int) -> str:
    same = "served_raw.user_id = unexplained.user_id AND served_raw.item_id = unexplained.item_id"
    return _SERVED_SQL.format(named="false", on=f"{same} AND served_raw.timestamp BETWEEN time - {within_s} AND time")
