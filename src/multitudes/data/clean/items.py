"""Items: their topics, their embeddings, and whether they carry anything by which a history could be understood."""

import duckdb

from multitudes.data.clean.rows import one_per_id
from multitudes.data.engine import record, value
from multitudes.data.tables import Table
from multitudes.errors import DataError

# A sum is finite only if every number is. An empty list is no embedding.
_SOUND = "isfinite(list_sum(CAST(embedding AS DOUBLE[]))) AND list_count(embedding) = len(embedding)"


def clean(connection: duckdb.DuckDBPyConnection, table: Table | None) -> tuple[dict[str, int], int]:
    """Build ``item``, ``item_topic`` and ``topic``; return the repairs and the width of the embeddings (0 = none).

    Raises:
        DataError: embeddings differ in width, or rows of one item differ.
    """
    if table is None:
        connection.execute("""
            CREATE TABLE items_raw AS
            SELECT 0 AS file_row, item_id, CAST([] AS VARCHAR[]) AS topics, CAST(NULL AS VARCHAR) AS title,
                   CAST(NULL AS FLOAT[]) AS embedding
            FROM (SELECT DISTINCT item_id FROM events_raw WHERE item_id IS NOT NULL)""")
    repairs = one_per_id(connection, "items", "item_id", table)
    width = _width(connection, table)
    _topics(connection)
    connection.execute(f"""
        CREATE TABLE item AS
        SELECT * EXCLUDE (topics) REPLACE (CASE WHEN {_SOUND} THEN embedding END AS embedding),
               coalesce({_SOUND}, false) OR item_id IN (SELECT item_id FROM item_topic) AS usable
        FROM items_rows""")
    repairs |= record(
        connection,
        """
        SELECT (SELECT count(*) FROM item) - (SELECT count(DISTINCT item_id) FROM item_topic) AS items_without_topics,
               (SELECT count(*) FROM item WHERE NOT usable) AS items_without_features,
               (SELECT count(*) FROM items_rows WHERE len(embedding) > 0)
               - (SELECT count(*) FROM item WHERE embedding IS NOT NULL) AS broken_embeddings""",
    )
    connection.execute("DROP TABLE items_rows")
    return repairs, width


def _topics(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("""
        CREATE TABLE item_topic AS
        SELECT item_id, topic, min(place) AS place
        FROM (SELECT item_id, unnest(topics) AS topic, generate_subscripts(topics, 1) AS place FROM items_rows)
        WHERE topic <> '' GROUP BY item_id, topic""")
    connection.execute("""
        CREATE TABLE topic AS
        SELECT topic, row_number() OVER (ORDER BY topic) AS number FROM (SELECT DISTINCT topic FROM item_topic)""")


def _width(connection: duckdb.DuckDBPyConnection, table: Table | None) -> int:
    widths = record(
        connection,
        """
        SELECT min(len(embedding)) AS narrow, max(len(embedding)) AS wide, arg_min(item_id, len(embedding)) AS one,
               arg_max(item_id, len(embedding)) AS other
        FROM items_rows WHERE len(embedding) > 0""",
    )
    narrow, wide = widths["narrow"], widths["wide"]
    if narrow != wide and table is not None:
        raise DataError(
            f"{table.file}: column 'embedding' has {narrow} numbers at item {widths['one']!r} and {wide} at item"
            f" {widths['other']!r}; expected one width for every item (null where there is none)"
        )
    return int(wide or 0) and int(
        value(connection, f"SELECT coalesce(max(len(embedding)), 0) FROM items_rows WHERE {_SOUND}")
    )
