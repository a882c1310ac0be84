"""SQL that reads a table of any format and converts its columns to the canonical types.

A column that cannot be converted without loss keeps its type, and ``schemas`` rejects it.
"""

from collections.abc import Mapping

from multitudes.data.engine import Engine, query_value, quote_identifier
from multitudes.data.location import Location, RemotePath
from multitudes.data.schemas import COLUMN_ROLES, REQUIRED_COLUMNS, SQL_TYPE
from multitudes.errors import DataError

DUCKDB_SUFFIX = ".duckdb"  # a DuckDB database; the table in it has its canonical name
_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"}
_INTEGERS |= {f"U{name}" for name in _INTEGERS}
_NUMBERS = ("FLOAT[", "DOUBLE[", "DECIMAL", "JSON[", *(f"{name}[" for name in _INTEGERS))  # in lists


def canonical_select(engine: Engine, name: str, file: Location) -> tuple[Mapping[str, str], str]:
    """Return the type of each column of a file, or of a folder of shards, and the SQL that selects it as a table.

    The SQL selects ``file_row``, the number of the row in the file, then its columns, and then the optional columns
    that it lacks, as nulls, so that later queries need not ask for them.

    Raises:
        DataError: the file has no bytes.
    """
    if not file.is_dir() and not (file.size if isinstance(file, RemotePath) else file.stat().st_size):
        raise DataError(f"{file}: the file is empty; expected a table")  # each format would report it differently
    relation = engine.file_relation(name, file)
    types, file_format = engine.column_types(relation), engine.file_format(file)
    columns = [_cast_sql(engine, relation, name, column, types[column], file_format) for column in types]
    lacking = [
        f"CAST(NULL AS {SQL_TYPE[role]}) AS {column}"
        for column, role in COLUMN_ROLES[name].items()
        if column not in types and column not in REQUIRED_COLUMNS[name]
    ]
    return types, f"SELECT {', '.join(['file_row', *columns, *lacking])} FROM {relation}"


def _cast_sql(engine: Engine, relation: str, table: str, column: str, column_type: str, file_format: str) -> str:
    """Return the SQL that converts ``column`` to its canonical type, or the column as it is if that loses something."""
    role, source = COLUMN_ROLES[table].get(column), quote_identifier(column)
    sql = source
    if role not in {None, "id"} and _is_blank(engine, relation, source, column_type):
        sql = f"CAST(NULL AS {SQL_TYPE[role]})"
    elif role == "id":
        is_integer = column_type in _INTEGERS or (file_format == ".csv" and _all_integers(engine, relation, source))
        sql = f"CAST({source} AS BIGINT)" if is_integer else source
    elif role == "key":
        sql = f"CAST({source} AS VARCHAR)"
    elif role == "time":
        sql = _seconds_sql(source, column_type)
    elif role == "number" and (column_type in _INTEGERS or column_type.startswith(("FLOAT", "DECIMAL"))):
        sql = f"CAST({source} AS DOUBLE)"
    elif role == "texts":
        sql = _string_list_sql(source, column_type, file_format)
    elif role == "vector" and file_format == ".csv":
        as_list = f"CASE WHEN {source} LIKE '[%' THEN CAST({source} AS FLOAT[])"
        sql = f"{as_list} ELSE CAST(string_split({source}, '|') AS FLOAT[]) END"
    elif role == "vector" and column_type.endswith("]") and column_type.startswith(_NUMBERS):
        sql = f"CAST({source} AS FLOAT[])"
    return f"{sql} AS {source}"


def _is_blank(engine: Engine, relation: str, column: str, column_type: str) -> bool:
    """Return whether a column has nulls only, so that its reader could not infer a type."""
    is_untyped = column_type in {"NULL", "JSON", "VARCHAR", "INTEGER"}  # the types that readers give such a column
    return is_untyped and not query_value(
        engine, f"SELECT count(*) FROM (SELECT {column} FROM {relation} WHERE {column} IS NOT NULL LIMIT 1)"
    )


def _all_integers(engine: Engine, relation: str, column: str) -> bool:
    """Return whether every id in a text column is an integer without leading zeros: '007' is a text."""
    plain = f"regexp_full_match({column}, '0|-?[1-9][0-9]*') AND TRY_CAST({column} AS BIGINT) IS NOT NULL"
    return bool(
        query_value(engine, f"SELECT coalesce(bool_and({plain}), false) FROM {relation} WHERE {column} IS NOT NULL")
    )


def _seconds_sql(column: str, column_type: str) -> str:
    if column_type in _INTEGERS:
        return f"CAST({column} AS BIGINT)"
    if column_type.startswith(("TIMESTAMP", "DATE")):
        # Rounded down; a time without a zone is taken as UTC.
        moment = f"CAST({column} AS TIMESTAMP)" if column_type in {"DATE", "TIMESTAMP_NS", "TIMESTAMP_MS"} else column
        return f"CAST(floor(epoch_us({moment}) / 1000000) AS BIGINT)"
    return column


def _string_list_sql(column: str, column_type: str, file_format: str) -> str:
    if file_format == ".csv":
        as_json = f"TRY_CAST(TRY_CAST({column} AS JSON) AS VARCHAR[])"
        split = f"list_transform(string_split({column}, '|'), lambda part: trim(part))"
        return f"CASE WHEN {column} LIKE '[%' THEN coalesce({as_json}, {split}) ELSE {split} END"
    if column_type.startswith("VARCHAR[") or column_type in {"JSON[]", "NULL[]"}:
        return f"CAST({column} AS VARCHAR[])"
    return column
