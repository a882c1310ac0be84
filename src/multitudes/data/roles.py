"""What the columns of the canonical tables are for, and so which types they may come in."""

from collections.abc import Mapping
from typing import Literal

Role = Literal["id", "key", "time", "text", "number", "flag", "texts", "vector"]
ROLES: Mapping[str, Mapping[str, Role]] = {
    "events": {
        "user_id": "id",
        "item_id": "id",
        "timestamp": "time",
        "action": "text",
        "rating": "number",
        "source_interest": "text",
        "valid": "flag",
        "event_id": "key",
        "request_id": "key",
    },
    "items": {"item_id": "id", "topics": "texts", "title": "text", "embedding": "vector"},
    "users": {"user_id": "id", "followed_topics": "texts"},
    # No tables of a data set: what a service served, and items that leave a release.
    "served": {
        "request_id": "key",
        "user_id": "id",
        "item_id": "id",
        "timestamp": "time",
        "rank": "number",
        "condition": "text",
    },
    "item_ids": {"item_id": "id"},
    # Nor are these: who was shown which arm of an experiment, and what they did before and after.
    "exposures": {"user_id": "id", "arm": "key", "timestamp": "time", "cohort": "key"},
    "outcomes": {"user_id": "id", "timestamp": "time", "metric": "key", "value": "number"},
}
SQL_TYPE: Mapping[Role, str] = {
    "key": "VARCHAR",
    "time": "BIGINT",
    "text": "VARCHAR",
    "number": "DOUBLE",
    "flag": "BOOLEAN",
    "texts": "VARCHAR[]",
    "vector": "FLOAT[]",
}
EXPECTED: Mapping[Role, str] = {
    "id": "int64 or string, because a number with a fraction cannot tell large ids apart. Write the ids as integers or"
    " text",
    "key": "text or a number. Convert with CAST({0} AS VARCHAR)",
    "time": "int64 seconds or a timestamp type. Convert with CAST(epoch({0}) AS BIGINT), or parse the text first",
    "text": "text. Convert with CAST({0} AS VARCHAR)",
    "number": "a number. Convert with CAST({0} AS DOUBLE)",
    "flag": "true or false. Convert with CAST({0} AS BOOLEAN)",
    "texts": "a list of texts. Convert with string_split({0}, '|') in DuckDB or pl.col('{0}').str.split('|') in Polars",
    "vector": "a list of numbers of one width. Convert with CAST({0} AS FLOAT[])",
}


def expected_in_short(role: Role) -> str:
    """Return what is expected of a column, without the advice."""
    return EXPECTED[role].split(". ", maxsplit=1)[0].split(", because", maxsplit=1)[0]
