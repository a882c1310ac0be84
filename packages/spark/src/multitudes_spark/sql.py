"""Translate SQL from DuckDB's dialect to Spark's with sqlglot, and the few functions that Spark lacks.

SQL without an exact counterpart is an error. ``tests/cluster`` shows that both engines give equal tables.
"""

from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel

_FUNCTIONS = {
    # The lower half of an MD5 as a number, byte order reversed; as Latin-1 text it sorts like the number.
    "md5_number_lower": "reverse(decode(unhex(substr(md5({0}), 17)), 'ISO-8859-1'))",
    "hash_of_three": "xxhash64({0}, {1}, {2})",
    "list_position": "array_position({0}, {1})",
    "epoch_us": "unix_micros(CAST({0} AS TIMESTAMP))",
    # Null for an empty list and for null, as in DuckDB.
    "all_finite": "CASE WHEN size({0}) > 0 THEN forall({0}, x -> x IS NOT NULL AND NOT isnan(x)"
    " AND abs(x) < double('infinity')) END",
}
_TYPES = {
    "tinyint": "TINYINT",
    "smallint": "SMALLINT",
    "int": "INTEGER",
    "bigint": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "string": "VARCHAR",
    "binary": "BLOB",
    "date": "DATE",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "timestamp_ntz": "TIMESTAMP",
    "void": "NULL",
    "decimal(20,0)": "UBIGINT",  # Spark's type for an unsigned 64-bit integer
}


@lru_cache(maxsize=256)
def render(sql: str) -> str:
    """Return a DuckDB query as a Spark query."""
    return _to_spark(sqlglot.parse_one(sql, read="duckdb"))


def render_with_keys(sql: str) -> tuple[str, list[str]]:
    """Return an ordered DuckDB query as an unordered Spark query with its sort keys as columns, and their names."""
    query = sqlglot.parse_one(sql, read="duckdb")
    assert isinstance(query, exp.Select)
    keys = [term.this for term in query.args["order"].expressions]
    query.set("order", None)
    names = [f"order_{index}" for index in range(len(keys))]
    return _to_spark(query.select(*(exp.alias_(key, name) for key, name in zip(keys, names, strict=True)))), names


def _to_spark(query: exp.Expr) -> str:
    return query.transform(_expand_function).sql(dialect="spark", unsupported_level=ErrorLevel.RAISE)


def duckdb_type(name: str) -> str:
    """Return DuckDB's name of a Spark type."""
    if name.startswith("array<"):
        return duckdb_type(name.removeprefix("array<").removesuffix(">")) + "[]"
    return _TYPES.get(name, name.upper())


def _expand_function(node: exp.Expr) -> exp.Expr:
    name = (
        node.name if isinstance(node, exp.Anonymous) else node.sql_name() if isinstance(node, exp.Func) else ""
    ).lower()
    if name not in _FUNCTIONS:
        return node
    arguments = [argument.sql(dialect="spark") for argument in node.expressions or [node.this]]
    return sqlglot.parse_one(_FUNCTIONS[name].format(*arguments), read="spark")
