"""Users of either table, numbered, and the topics they follow."""

import duckdb

from multitudes.data.clean.rows import one_per_id
from multitudes.data.engine import record, value
from multitudes.data.tables import Table


def clean(connection: duckdb.DuckDBPyConnection, table: Table | None) -> dict[str, int]:
    """Build ``member`` and ``follow`` (``event`` and ``topic`` stand already) and return the repairs.

    Raises:
        DataError: rows of one user differ.
    """
    if table is None:
        connection.execute("""
            CREATE TABLE users_raw AS
            SELECT 0 AS file_row, user_id, CAST([] AS VARCHAR[]) AS followed_topics FROM event LIMIT 0""")
    repairs = one_per_id(connection, "users", "user_id", table)
    connection.execute("""
        CREATE TABLE member AS
        SELECT row_number() OVER (ORDER BY user_id) - 1 AS number, *
        FROM (SELECT user_id FROM event UNION SELECT user_id FROM users_rows)
        LEFT JOIN (SELECT * EXCLUDE (followed_topics) FROM users_rows) USING (user_id)""")
    repairs |= _follows(connection)
    missing = 0
    if table is not None:
        missing = value(connection, "SELECT count(DISTINCT user_id) FROM event ANTI JOIN users_rows USING (user_id)")
    connection.execute("DROP TABLE users_rows")
    return repairs | {"users_not_in_table": missing} | _activity(connection)


def _follows(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    connection.execute("""
        CREATE TEMP TABLE stated AS
        SELECT user_id, topic, min(place) AS place
        FROM (SELECT user_id, unnest(followed_topics) AS topic, generate_subscripts(followed_topics, 1) AS place
              FROM users_rows)
        WHERE topic <> '' GROUP BY user_id, topic""")
    connection.execute("CREATE TABLE follow AS SELECT * FROM stated SEMI JOIN topic USING (topic)")
    lost = record(
        connection,
        """
        SELECT (SELECT count(*) FROM stated) - (SELECT count(*) FROM follow) AS follows_of_unknown_topics""",
    )
    connection.execute("DROP TABLE stated")
    return lost


def _activity(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    return record(
        connection,
        """
        SELECT count(*) FILTER (any_valid IS NULL) AS users_without_events,
               count(*) FILTER (NOT any_valid) AS users_with_only_invalid_events
        FROM member LEFT JOIN (SELECT user_id, bool_or(valid) AS any_valid FROM event GROUP BY user_id) USING (user_id)
        """,
    )
