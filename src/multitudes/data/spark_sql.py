"""DuckDB's SQL as Spark's: sqlglot translates, and the few functions that Spark lacks are written out here.

What has no exact counterpart is an error, never a guess. That both give equal tables is what ``tests/cluster`` shows.
"""

from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel

_FUNCTIONS = {
    # The lower half of an MD5 as a number has its bytes in reverse, and bytes as Latin letters keep their order.
    "md5_number_lower": "reverse(decode(unhex(substr(md5({0}), 17)), 'ISO-8859-1'))",
    "hash_of_three": "xxhash64({0}, {1}, {2})",
    "epoch_us": "unix_micros(CAST({0} AS TIMESTAMP))",
    # Null for an empty list and for none, as in DuckDB.
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
    "decimal(20,0)": "UBIGINT",  # what Spark reads an unsigned number of 64 bits as
}


@lru_cache(maxsize=256)
def render(sql: str) -> str:
    """Return a query of DuckDB's as a query of Spark's."""
    return _to_spark(sqlglot.parse_one(sql, read="duckdb"))


def render_with_keys(sql: str) -> tuple[str, list[str]]:
    """Return a query of DuckDB's without its order, as one of Spark's, and the columns added to it that order it."""
    query = sqlglot.parse_one(sql, read="duckdb")
    assert isinstance(query, exp.Select)
    keys = [ordered.this for ordered in query.args["order"].expressions]
    query.set("order", None)
    names = [f"order_{place}" for place in range(len(keys))]
    return _to_spark(query.select(*(exp.alias_(key, name) for key, name in zip(keys, names, strict=True)))), names


def _to_spark(query: exp.Expr) -> str:
    return query.transform(_expand_function).sql(dialect="spark", unsupported_level=ErrorLevel.RAISE)


def duckdb_type(name: str) -> str:
    """Return the name of a type of Spark's as DuckDB has it."""
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
