"""Sources become the canonical tables: values are read, rows that cannot be used are set aside, ids get one type.

Relations: that of a guess has the rows of source N with ``source_number`` and ``file_row``, the canonical columns, ids
as text, and features; ``events``, ``items`` and ``users`` are the tables.
"""

from collections.abc import Mapping, Sequence

from multitudes.data.duck import DuckDBEngine
from multitudes.data.engine import quote_identifier, string_literal
from multitudes.data.importing import value_formats
from multitudes.data.importing.columns import ColumnGuess
from multitudes.data.importing.sources import CONTENT_CHARACTERS
from multitudes.data.schemas import COLUMN_ROLES, REQUIRED_COLUMNS, SQL_TYPE
from multitudes.data.tables import TABLES

_WHOLE_NUMBER = "0|-?[1-9][0-9]{0,17}"
_DAMAGED_ID = r"(?s).*\x00.*|[0-9]([.,][0-9]+)?E[+][0-9]+"


def convert(engine: DuckDBEngine, guess: ColumnGuess) -> None:
    """Create the relation of a guess; rows without an id or a time, or with an unreadable one, are in ``dropped``."""
    source, read = guess.source, f"read_{guess.relation}"
    if guess.describes_items:  # its unusable rows are dropped as those of the events
        engine.create_view(read, _read_sql(engine, guess))
    else:
        engine.create_table(read, _read_sql(engine, guess))
        content = ", ".join(f"{string_literal(column)}: {quote_identifier(column)}" for column in source.types)
        engine.execute(f"""
            INSERT INTO dropped
            SELECT {string_literal(source.name)}, {source.line_sql}, unusable.because,
                   CAST(to_json({{{content}}}) AS VARCHAR)[:{CONTENT_CHARACTERS}]
            FROM {source.relation} JOIN (
                SELECT file_row, unusable_because AS because FROM {read} WHERE unusable_because IS NOT NULL
            ) AS unusable USING (file_row)""")
    engine.create_view(
        guess.relation, f"SELECT * EXCLUDE (unusable_because) FROM {read} WHERE unusable_because IS NULL"
    )


def create_tables(engine: DuckDBEngine, guesses: Sequence[ColumnGuess], *, file_order: bool) -> int:
    """Create the tables of converted guesses; return the number of rows that were merged.

    Events are in the order of the files; with ``file_order``, times are positions among a user's rows.
    """
    converted = {table: [guess.relation for guess in guesses if guess.table == table] for table in TABLES}
    position = ", row_number() OVER (PARTITION BY user_id ORDER BY source_number, file_row) - 1 AS timestamp"
    engine.create_table("events", f"SELECT *{position if file_order else ''} FROM ({_union(converted['events'])})")
    merged = 0
    if any(guess.describes_items for guess in guesses):
        _create_described_items(engine, converted["items"])
    elif converted["items"]:
        merged += _merge_rows(engine, "items", converted["items"], "item_id")
    if converted["users"]:
        merged += _merge_rows(engine, "users", converted["users"], "user_id")
    return merged


def _create_described_items(engine: DuckDBEngine, relations: Sequence[str]) -> None:
    """Create ``items`` from what events files say of their items: what most events say of one."""
    engine.create_view("described", _union(relations))
    columns = [column for column in ("title", "topics") if column in engine.column_types("described")]
    empty = {"title": "title IS NULL", "topics": "len(topics) = 0"}[columns[-1]]
    sql = f"""
        SELECT item_id, {", ".join(columns)} FROM (
            SELECT item_id, {", ".join(columns)}, count(*) AS n, min((source_number, file_row)) AS first FROM described
            GROUP BY item_id, {", ".join(columns)})
        QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY {empty}, n DESC, first) = 1"""
    engine.create_table("items", sql)


def _merge_rows(engine: DuckDBEngine, table: str, converted: Sequence[str], key: str) -> int:
    """Create a table with one row for each id: lists are joined, and of other values the first stays.

    Returns the number of rows that were merged with another one.
    """
    engine.create_table("unmerged", _union(converted))
    selected = [key]
    for column in engine.column_types("unmerged"):
        quoted, order = quote_identifier(column), "ORDER BY source_number, file_row"
        if COLUMN_ROLES[table].get(column) == "texts":
            selected.append(f"distinct_in_order(flatten(list({quoted} {order}))) AS {quoted}")
        elif column not in {key, "source_number", "file_row"}:
            selected.append(f"first({quoted} {order}) FILTER ({quoted} IS NOT NULL) AS {quoted}")
    engine.create_table(table, f"SELECT {', '.join(selected)} FROM unmerged GROUP BY {key}")
    merged = engine.value(f"SELECT (SELECT count(*) FROM unmerged) - (SELECT count(*) FROM {table})")
    engine.drop("unmerged")
    return int(merged)


def type_ids(engine: DuckDBEngine, tables: Sequence[str]) -> Mapping[str, str]:
    """Return "int64" for an id column if its ids are whole numbers without leading zeros in all tables, or "string"."""
    kinds = {}
    for column in ("user_id", "item_id"):
        is_whole = f"SELECT coalesce(bool_and(regexp_full_match({column}, '{_WHOLE_NUMBER}')), true)"
        having = [table for table in tables if column in engine.column_types(table)]
        are_whole = all(engine.value(f"{is_whole} FROM {table}") for table in having)
        kinds[column] = "int64" if are_whole else "string"
    return kinds


def output_sql(engine: DuckDBEngine, table: str, kinds: Mapping[str, str]) -> str:
    """Return the SQL that selects a table as ``prepare`` reads it."""
    present = engine.column_types(table)
    roles = COLUMN_ROLES[table]
    columns = []
    for column in [*(c for c in roles if c in present or c in REQUIRED_COLUMNS[table]), *present]:
        role = roles.get(column)
        if role == "id":
            columns.append(f"CAST({column} AS {'BIGINT' if kinds[column] == 'int64' else 'VARCHAR'}) AS {column}")
        elif role == "texts":
            columns.append(f"coalesce({column if column in present else 'NULL'}, CAST([] AS VARCHAR[])) AS {column}")
        elif role is not None:
            columns.append(f"CAST({column} AS {SQL_TYPE[role]}) AS {column}")
        elif column not in {"source_number", "file_row"}:
            columns.append(quote_identifier(column))
    order = "" if table == "events" and "timestamp" in present else " ORDER BY ALL"
    return f"SELECT {', '.join(dict.fromkeys(columns))} FROM {table}{order}"


def _read_sql(engine: DuckDBEngine, guess: ColumnGuess) -> str:
    """Return SQL that reads the columns of a source, with the reason why a row cannot be used."""
    columns = [f"{guess.formats[canonical].sql} AS {canonical}" for canonical in guess.columns]
    for name, column_name in guess.features.items():
        column = guess.source.column(engine, column_name)
        number = value_formats.number_sql(column)
        is_number = f"count({column.sql}) > 0 AND count({column.sql}) = count({number})"
        # A number if each value is one, else as it is.
        feature = number if column.type == "VARCHAR" and column.ask(is_number) else column.sql
        columns.append(f"{feature} AS {quote_identifier(name)}")
    own = f"{guess.source.number} AS source_number, file_row, {_reason_sql(guess)} AS unusable_because"
    return f"SELECT {', '.join([own, *columns])} FROM {guess.source.relation}"


def _reason_sql(guess: ColumnGuess) -> str:
    """Return SQL for why a row cannot be used; null if it can."""
    cases = []
    for canonical, column in guess.columns.items():
        role, found = COLUMN_ROLES[guess.table][canonical], guess.formats[canonical]
        text = f"CAST({quote_identifier(column)} AS VARCHAR)"
        if canonical in REQUIRED_COLUMNS[guess.table] and role in {"id", "time"}:
            cases.append(f"WHEN trim(coalesce({text}, '')) = '' THEN 'no {canonical}'")
        if role == "id":
            damage = string_literal("' has a NUL, or was rounded by a spreadsheet")
            is_damaged = f"regexp_full_match({text}, '{_DAMAGED_ID}')"
            cases.append(f"WHEN {is_damaged} THEN concat('{canonical} ''', {text}[:50], {damage})")
        if role in {"time", "number"}:
            expected = string_literal(f"' is not written as {found.name}" if role == "time" else "' is no number")
            cases.append(
                f"WHEN {text} IS NOT NULL AND ({found.sql}) IS NULL THEN"
                f" concat('{canonical} ''', {text}[:50], {expected})"
            )
    return f"CASE {' '.join(cases)} END" if cases else "CAST(NULL AS VARCHAR)"


def _union(relations: Sequence[str]) -> str:
    """Return SQL for the rows of several relations, whose columns are matched by name."""
    return " UNION ALL BY NAME ".join(f"SELECT * FROM {relation}" for relation in relations)
