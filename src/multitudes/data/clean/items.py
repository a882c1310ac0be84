"""Items: their topics, their embeddings, and whether they carry anything by which a history could be understood."""

from multitudes.data.clean.rows import one_per_id
from multitudes.data.engine import Engine, record, value
from multitudes.data.tables import Table
from multitudes.errors import DataError

_SOUND = "all_finite(embedding)"  # null for an empty list, which is no embedding


def clean(engine: Engine, table: Table | None) -> tuple[dict[str, int], int]:
    """Build ``item``, ``known_item``, ``item_topic`` and ``topic``; return the repairs and the embeddings' width.

    The width is 0 where there are none.

    Raises:
        DataError: embeddings differ in width, or rows of one item differ.
    """
    if table is None:
        engine.make(
            "items_raw",
            """
            SELECT 0 AS file_row, item_id, CAST([] AS VARCHAR[]) AS topics, CAST(NULL AS VARCHAR) AS title,
                   CAST(NULL AS FLOAT[]) AS embedding
            FROM (SELECT DISTINCT item_id FROM events_raw WHERE item_id IS NOT NULL)""",
        )
    repairs = one_per_id(engine, "items", "item_id", table)
    width = _width(engine, table)
    _topics(engine)
    engine.make(
        "item",
        f"""
        SELECT * EXCLUDE (topics, embedding), CASE WHEN {_SOUND} THEN embedding END AS embedding,
               coalesce({_SOUND}, false) OR item_id IN (SELECT item_id FROM item_topic) AS usable
        FROM items_rows""",
    )
    engine.make("known_item", "SELECT item_id, row_number() OVER (ORDER BY item_id) AS item, usable FROM item")
    repairs |= record(
        engine,
        """
        SELECT (SELECT count(*) FROM item) - (SELECT count(DISTINCT item_id) FROM item_topic) AS items_without_topics,
               (SELECT count(*) FROM item WHERE NOT usable) AS items_without_features,
               (SELECT count(*) FROM items_rows WHERE array_length(embedding) > 0)
               - (SELECT count(*) FROM item WHERE embedding IS NOT NULL) AS broken_embeddings""",
    )
    engine.drop("items_rows")
    return repairs, width


def _topics(engine: Engine) -> None:
    engine.make(
        "item_topic",
        """
        SELECT item_id, topic, min(place) AS place
        FROM items_rows CROSS JOIN unnest(topics) WITH ORDINALITY AS named(topic, place)
        WHERE topic <> '' GROUP BY item_id, topic""",
    )
    engine.make(
        "topic",
        """
        SELECT topic, row_number() OVER (ORDER BY topic) AS number FROM (SELECT DISTINCT topic FROM item_topic)""",
    )


def _width(engine: Engine, table: Table | None) -> int:
    widths = record(
        engine,
        """
        SELECT min(array_length(embedding)) AS narrow, max(array_length(embedding)) AS wide,
               arg_min(item_id, array_length(embedding)) AS one,
               arg_max(item_id, array_length(embedding)) AS other
        FROM items_rows WHERE array_length(embedding) > 0""",
    )
    narrow, wide = widths["narrow"], widths["wide"]
    if narrow != wide and table is not None:
        raise DataError(
            f"{table.file}: column 'embedding' has {narrow} numbers at item {widths['one']!r} and {wide} at item"
            f" {widths['other']!r}; expected one width for every item (null where there is none)"
        )
    return int(wide or 0) and int(
        value(engine, f"SELECT coalesce(max(array_length(embedding)), 0) FROM items_rows WHERE {_SOUND}")
    )
