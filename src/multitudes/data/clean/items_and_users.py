"""Clean the items and users tables: one row for each id, finite embeddings, topics, and followed topics."""

from multitudes.data.engine import Engine
from multitudes.data.tables import Table
from multitudes.errors import DataError

_FINITE = "all_finite(embedding)"  # null for an empty list, which is not an embedding


def clean_items(engine: Engine, table: Table | None, min_topic_items: int = 1) -> tuple[dict[str, int], int]:
    """Create ``item``, ``known_item``, ``item_topic`` and ``topic`` from ``items_raw``, without it from ``events_raw``.

    Returns the count of each repair, and the width of the embeddings, 0 without embeddings.

    Raises:
        DataError: embeddings differ in width, or rows of one item differ.
    """
    if table is None:
        sql = """
            SELECT 0 AS file_row, item_id, CAST([] AS VARCHAR[]) AS topics, CAST(NULL AS VARCHAR) AS title,
                   CAST(NULL AS FLOAT[]) AS embedding
            FROM (SELECT DISTINCT item_id FROM events_raw WHERE item_id IS NOT NULL)"""
        engine.create_table("items_raw", sql)
    repairs = deduplicate_rows(engine, "items", "item_id", table)
    width = _embedding_width(engine, table)
    _create_topics(engine, min_topic_items)
    sql = f"""
        SELECT * EXCLUDE (topics, embedding), CASE WHEN {_FINITE} THEN embedding END AS embedding,
               coalesce({_FINITE}, false) OR item_id IN (SELECT item_id FROM item_topic) AS usable
        FROM items_rows"""
    engine.create_table("item", sql)
    engine.create_table("known_item", "SELECT item_id, row_number() OVER (ORDER BY item_id) AS item, usable FROM item")
    repairs |= engine.record("""
        SELECT (SELECT count(*) FROM item) - (SELECT count(DISTINCT item_id) FROM item_topic) AS items_without_topics,
               (SELECT count(*) FROM item WHERE NOT usable) AS items_without_features,
               (SELECT count(*) FROM items_rows WHERE array_length(embedding) > 0)
               - (SELECT count(*) FROM item WHERE embedding IS NOT NULL) AS broken_embeddings""")
    engine.drop("items_rows")
    return repairs, width


def _create_topics(engine: Engine, min_items: int) -> None:
    sql = """
        SELECT DISTINCT item_id, topic, list_position(topics, topic) AS place
        FROM (SELECT item_id, topics, unnest(topics) AS topic FROM items_rows) WHERE topic <> ''"""
    if min_items > 1:
        counted = f"SELECT *, count(*) OVER (PARTITION BY topic) AS items FROM ({sql})"
        sql = f"SELECT item_id, topic, place FROM ({counted}) WHERE items >= {min_items}"
    engine.create_table("item_topic", sql)
    topics = "SELECT DISTINCT topic FROM item_topic"
    engine.create_table("topic", f"SELECT topic, row_number() OVER (ORDER BY topic) AS number FROM ({topics})")


def _embedding_width(engine: Engine, table: Table | None) -> int:
    widths = engine.record(f"""
        SELECT min(array_length(embedding)) AS narrow, max(array_length(embedding)) AS wide,
               coalesce(max(array_length(embedding)) FILTER ({_FINITE}), 0) AS finite,
               arg_min(item_id, array_length(embedding)) AS one,
               arg_max(item_id, array_length(embedding)) AS other
        FROM items_rows WHERE array_length(embedding) > 0""")
    narrow, wide = widths["narrow"], widths["wide"]
    if narrow != wide and table is not None:
        raise DataError(
            f"{table.file}: column 'embedding' has {narrow} numbers at item {widths['one']!r} and {wide} at item"
            f" {widths['other']!r}; expected one width for every item (null where there is none)"
        )
    return int(widths["finite"])


def clean_users(engine: Engine, table: Table | None) -> dict[str, int]:
    """Create ``member`` and ``follow`` from ``user_summary``, ``topic`` and, if there is a users table, ``users_raw``.

    Returns the count of each repair.

    Raises:
        DataError: rows of one user differ.
    """
    if table is None:
        no_topics = "CAST([] AS VARCHAR[]) AS followed_topics"
        engine.create_table("users_raw", f"SELECT 0 AS file_row, user_id, {no_topics} FROM user_summary LIMIT 0")
    repairs = deduplicate_rows(engine, "users", "user_id", table)
    sql = """
        SELECT row_number() OVER (ORDER BY user_id) - 1 AS number, *
        FROM (SELECT user_id FROM user_summary UNION SELECT user_id FROM users_rows)
        LEFT JOIN (SELECT * EXCLUDE (followed_topics) FROM users_rows) USING (user_id)"""
    engine.create_table("member", sql)
    sql = """
        SELECT DISTINCT user_id, topic, list_position(followed_topics, topic) AS place
        FROM (SELECT user_id, followed_topics, unnest(followed_topics) AS topic FROM users_rows) WHERE topic <> ''"""
    engine.create_table("stated", sql)
    engine.create_table("follow", "SELECT * FROM stated SEMI JOIN topic USING (topic)")
    counts = engine.record("""
        SELECT (SELECT count(*) FROM stated) - (SELECT count(*) FROM follow) AS follows_of_unknown_topics,
               (SELECT count(*) FROM user_summary ANTI JOIN users_rows USING (user_id)) AS users_not_in_table,
               count(*) FILTER (any_valid IS NULL) AS users_without_events,
               count(*) FILTER (NOT any_valid) AS users_with_only_invalid_events
        FROM member LEFT JOIN (SELECT user_id, any_valid FROM user_summary) USING (user_id)""")
    engine.drop("stated", "users_rows")
    return repairs | counts | ({} if table is not None else {"users_not_in_table": 0})


def deduplicate_rows(engine: Engine, name: str, column: str, table: Table | None) -> dict[str, int]:
    """Create ``<name>_rows`` from ``<name>_raw``: without null ids and duplicates, one row for each id.

    Returns the count of each repair.

    Raises:
        DataError: two rows of one id differ.
    """
    rows = engine.record(f"SELECT count(*) AS total, count({column}) AS named FROM {name}_raw")
    engine.create_table(
        f"{name}_rows", f"SELECT DISTINCT * EXCLUDE (file_row) FROM {name}_raw WHERE {column} IS NOT NULL"
    )
    kept = engine.value(f"SELECT count(*) FROM {name}_rows")
    repeated_id = engine.value(
        f"SELECT min({column}) FROM (SELECT {column} FROM {name}_rows GROUP BY {column} HAVING count(*) > 1)"
    )
    if repeated_id is not None and table is not None:
        raise DataError(
            f"{table.file}: {column} {repeated_id!r} has several rows that differ; expected one row per {column}"
        )
    engine.drop(f"{name}_raw")
    return {f"{name}_with_nulls": rows["total"] - rows["named"], f"duplicate_{name}": rows["named"] - kept}
