"""How times, lists and numbers are written in a column, found by reading it, and the SQL that reads them."""

from collections.abc import Sequence
from typing import NamedTuple

from multitudes.data.duck import DuckDBEngine
from multitudes.data.engine import query_row, query_value, quote_identifier, string_literal
from multitudes.data.timestamps import UNITS
from multitudes.errors import DataError

_SAMPLE_ROWS = 10_000
_NO_GENRES = "(no genres listed)"  # how MovieLens writes an empty list
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_COMPACT_DATE = "(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])"
_DAY_FIRST, _MONTH_FIRST = "day/month/year", "month/day/year"


def _with_clocks(*dates: str) -> tuple[str, ...]:
    return tuple(date + clock for date in dates for clock in _CLOCKS)


_DATE_FORMATS = {
    _DAY_FIRST: _with_clocks("%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%d/%m/%y", "%d.%m.%y"),
    _MONTH_FIRST: _with_clocks("%m/%d/%Y", "%m-%d-%Y", "%m/%d/%y"),
    "dates with the name of the month": _with_clocks(
        "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y"
    ),
    "month day, year": ("%m %d, %Y",),
    "weekday month day time year": ("%a %b %d %H:%M:%S %Y",),
    "weekday month day time zone year": ("%a %b %d %H:%M:%S %z %Y",),
    "day/month/year:time zone": ("%d/%b/%Y:%H:%M:%S %z",),
}


class ValueFormat(NamedTuple):
    """How the values of a column are written.

    Attributes:
        name: for people; empty where there is nothing to say.
        sql: reads a value; null for one that is written in another way.
    """

    name: str
    sql: str


def find_time_format(
    engine: DuckDBEngine, relation: str, column: str, column_type: str, given: str | None = None
) -> ValueFormat | None:
    """Return how a column writes times, and SQL for the seconds since 1970.

    Args:
        engine: has the relation.
        relation: its name.
        column: of the relation.
        column_type: of the column.
        given: the format, as ``strftime`` has it; None: found out.

    Returns:
        The format that most values have; None if no value is a time.

    Raises:
        DataError: the column may be day/month/year and month/day/year.
    """
    source = quote_identifier(column)
    if column_type.startswith(("TIMESTAMP", "DATE")):
        return ValueFormat(
            column_type.lower(), f"CAST(floor(epoch_us(CAST({source} AS TIMESTAMP)) / 1000000) AS BIGINT)"
        )
    source = f"trim(CAST({source} AS VARCHAR))"
    if given is not None:
        return ValueFormat(given, _date_sql(source, [given]))
    candidates = [_epoch_format(engine, relation, source), *_written_formats(source)]
    counts = _count_read(engine, f"(SELECT * FROM {relation} LIMIT {_SAMPLE_ROWS})", candidates)
    candidates = [candidate for candidate in candidates if counts[candidate.name]]
    if not candidates:
        return None
    counts = _count_read(engine, relation, candidates)
    best = max(candidates, key=lambda candidate: counts[candidate.name])
    both = [candidate for candidate in candidates if candidate.name in {_DAY_FIRST, _MONTH_FIRST}]
    if best in both and len(both) == 2 and counts[_DAY_FIRST] == counts[_MONTH_FIRST]:
        _reject_ambiguous(engine, relation, column, both)
    return best


def _epoch_format(engine: DuckDBEngine, relation: str, source: str) -> ValueFormat:
    """Return the format of numbers: dates such as 20240131, or the unit that the middle of the values suggests."""
    number = f"TRY_CAST({source} AS DOUBLE)"
    found = query_row(
        engine,
        f"""
        SELECT approx_quantile({number}, 0.5) AS middle,
               bool_and(regexp_full_match({source}, '{_COMPACT_DATE}')) FILTER ({number} IS NOT NULL) AS is_date
        FROM {relation}""",
    )
    if found["is_date"]:
        return ValueFormat("dates such as 20240131", _date_sql(source, ["%Y%m%d"]))
    unit, per_second = next(
        ((unit, per_second) for floor, unit, per_second in UNITS if (found["middle"] or 0) > floor), ("seconds", 1)
    )
    finite = f"CASE WHEN abs({number}) < 1e19 THEN {number} END"
    return ValueFormat(f"{unit} since 1970", f"CAST(floor({finite} / {per_second}) AS BIGINT)")


def _written_formats(source: str) -> list[ValueFormat]:
    iso = f"CAST(floor(epoch_us(TRY_CAST({source} AS TIMESTAMPTZ)) / 1000000) AS BIGINT)"
    written = [ValueFormat(name, _date_sql(source, formats)) for name, formats in _DATE_FORMATS.items()]
    return [ValueFormat("ISO dates and times", iso), *written]


def _date_sql(source: str, formats: Sequence[str]) -> str:
    listed = ", ".join(map(string_literal, formats))
    return f"CAST(floor(epoch_us(CAST(try_strptime({source}, [{listed}]) AS TIMESTAMPTZ)) / 1000000) AS BIGINT)"


def _count_read(engine: DuckDBEngine, relation: str, candidates: Sequence[ValueFormat]) -> dict[str, int]:
    counted = ", ".join(f"count({candidate.sql}) AS {quote_identifier(candidate.name)}" for candidate in candidates)
    return query_row(engine, f"SELECT {counted} FROM {relation}")


def _reject_ambiguous(engine: DuckDBEngine, relation: str, column: str, both: Sequence[ValueFormat]) -> None:
    first, second = (candidate.sql for candidate in both)
    value = f"any_value(CAST({quote_identifier(column)} AS VARCHAR))"
    example = query_value(engine, f"SELECT {value} FILTER ({first} <> {second}) FROM {relation}")
    if example is not None:
        raise DataError(
            f"column '{column}' has dates such as '{example}', which may be day/month or month/day; say which with"
            " --time-format '%d/%m/%Y' or '%m/%d/%Y'"
        )


def find_list_format(
    engine: DuckDBEngine, relation: str, column: str, column_type: str, given: str | None = None
) -> ValueFormat:
    """Return how a column writes lists of texts, and SQL for a list without blanks and repeated texts.

    Args:
        engine: has the relation.
        relation: its name.
        column: of the relation; RecBole's type in its name says that spaces separate.
        column_type: of the column.
        given: the separator; None: found out; empty: each value is one text.
    """
    source = quote_identifier(column)
    if column_type.endswith("[][]"):
        return ValueFormat("lists", _clean_list(f"flatten(CAST({source} AS VARCHAR[][]))"))
    if column_type.endswith("[]"):
        return ValueFormat("lists", _clean_list(f"CAST({source} AS VARCHAR[])"))
    source = f"CAST({source} AS VARCHAR)"
    separator = _list_separator(engine, relation, source, column) if given is None else given
    split = f"string_split({source}, {string_literal(separator)})" if separator else f"[{source}]"
    nested = f"flatten(TRY_CAST({source} AS VARCHAR[][]))"
    listed = f"""
        CASE WHEN {source} LIKE '[[%' THEN coalesce({nested}, {split})
             WHEN {source} LIKE '[%' THEN coalesce(TRY_CAST({source} AS VARCHAR[]), {split})
             WHEN {source} = {string_literal(_NO_GENRES)} THEN [] ELSE {split} END"""
    is_json = query_value(engine, f"SELECT coalesce(bool_and({source} LIKE '[%'), false) FROM {relation}")
    name = "lists" if is_json else f"split at {'spaces' if separator == ' ' else repr(separator)}" if separator else ""
    return ValueFormat(name or "one text each", _clean_list(listed))


def _list_separator(engine: DuckDBEngine, relation: str, source: str, column: str) -> str:
    if column.endswith(":token_seq"):
        return " "
    sample = f"(SELECT DISTINCT {source} AS value FROM {relation} WHERE {source} NOT LIKE '[%' LIMIT {_SAMPLE_ROWS})"
    for separator in ("|", ";"):
        if query_value(engine, f"SELECT bool_or(contains(value, '{separator}')) FROM {sample}"):
            return separator
    # A comma may be part of a name ("Clothing, Shoes & Jewelry"): it separates if the parts recur.
    parts = f"SELECT count(DISTINCT trim(part)) FROM (SELECT unnest(string_split(value, ',')) AS part FROM {sample})"
    has_comma = query_value(engine, f"SELECT bool_or(contains(value, ',')) FROM {sample}")
    values = query_value(engine, f"SELECT count(*) FROM {sample}")
    return "," if has_comma and query_value(engine, parts) <= values else ""


def _clean_list(sql: str) -> str:
    trimmed = f"list_transform({sql}, lambda part: trim(part))"
    cleaned = f"list_filter({trimmed}, lambda part: part IS NOT NULL AND part <> '')"
    return f"coalesce(list_filter({cleaned}, lambda part, place: list_position({cleaned}, part) = place), [])"


def find_id_format(engine: DuckDBEngine, relation: str, column: str, column_type: str) -> ValueFormat:
    """Return how a column writes ids, and SQL for an id as text without blanks around it.

    Whole numbers that became fractions, such as 12.0, since a value was missing, are whole numbers again.
    """
    source = f"nullif(trim(CAST({quote_identifier(column)} AS VARCHAR)), '')"
    if column_type.endswith(("INT", "INTEGER")):
        return ValueFormat("whole numbers", source)
    found = query_row(
        engine,
        f"""
        SELECT coalesce(bool_and(regexp_full_match({source}, '-?[0-9]+')), false) AS whole,
               coalesce(bool_and(regexp_full_match({source}, '-?[0-9]+[.]0+')), false) AS fractions
        FROM {relation} WHERE {source} IS NOT NULL""",
    )
    if found["fractions"]:
        return ValueFormat("whole numbers written as 12.0", f"regexp_replace({source}, '[.]0+$', '')")
    return ValueFormat("whole numbers" if found["whole"] else "text", source)


def vector_sql(column: str, column_type: str) -> str:
    """Return SQL that reads a list of numbers: an array, JSON, or numbers with ``|``, a comma or a space between."""
    source = quote_identifier(column)
    if column_type.endswith("]"):
        return f"CAST({source} AS FLOAT[])"
    plain = f"regexp_replace(trim(CAST({source} AS VARCHAR), '[] '), '[|, ;]+', ',', 'g')"
    return f"TRY_CAST('[' || {plain} || ']' AS FLOAT[])"


def number_sql(column: str, column_type: str) -> str:
    """Return SQL that reads a number; a comma may stand for the point."""
    source = quote_identifier(column)
    if column_type == "VARCHAR":
        return f"TRY_CAST(replace({source}, ',', '.') AS DOUBLE)"
    return f"TRY_CAST({source} AS DOUBLE)"
