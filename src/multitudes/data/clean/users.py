"""Users of either table, numbered, and the topics they follow."""

from multitudes.data.clean.rows import one_per_id
from multitudes.data.engine import Engine, record, value
from multitudes.data.tables import Table


def clean(engine: Engine, table: Table | None) -> dict[str, int]:
    """Build ``member`` and ``follow`` (``active`` and ``topic`` stand already) and return the repairs.

    Raises:
        DataError: rows of one user differ.
    """
    if table is None:
        engine.make(
            "users_raw",
            """
            SELECT 0 AS file_row, user_id, CAST([] AS VARCHAR[]) AS followed_topics FROM active LIMIT 0""",
        )
    repairs = one_per_id(engine, "users", "user_id", table)
    engine.make(
        "member",
        """
        SELECT row_number() OVER (ORDER BY user_id) - 1 AS number, *
        FROM (SELECT user_id FROM active UNION SELECT user_id FROM users_rows)
        LEFT JOIN (SELECT * EXCLUDE (followed_topics) FROM users_rows) USING (user_id)""",
    )
    repairs |= _follows(engine)
    missing = 0
    if table is not None:
        missing = value(engine, "SELECT count(*) FROM active ANTI JOIN users_rows USING (user_id)")
    engine.drop("users_rows")
    return repairs | {"users_not_in_table": missing} | _activity(engine)


def _follows(engine: Engine) -> dict[str, int]:
    engine.make(
        "stated",
        """
        SELECT user_id, topic, min(place) AS place
        FROM users_rows CROSS JOIN unnest(followed_topics) WITH ORDINALITY AS named(topic, place)
        WHERE topic <> '' GROUP BY user_id, topic""",
    )
    engine.make("follow", "SELECT * FROM stated SEMI JOIN topic USING (topic)")
    lost = record(
        engine,
        """
        SELECT (SELECT count(*) FROM stated) - (SELECT count(*) FROM follow) AS follows_of_unknown_topics""",
    )
    engine.drop("stated")
    return lost


def _activity(engine: Engine) -> dict[str, int]:
    return record(
        engine,
        """
        SELECT count(*) FILTER (any_valid IS NULL) AS users_without_events,
               count(*) FILTER (NOT any_valid) AS users_with_only_invalid_events
        FROM member LEFT JOIN (SELECT user_id, any_valid FROM active) USING (user_id)""",
    )
