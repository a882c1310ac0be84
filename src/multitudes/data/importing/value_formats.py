"""How times, lists and numbers are written in a column, found by reading it, and the SQL that reads them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from multitudes.data.duck import DuckDBEngine
from multitudes.data.engine import quote_identifier, string_literal
from multitudes.data.timestamps import UNITS
from multitudes.errors import DataError

_SAMPLE_ROWS = 10_000
EARLIEST_S, LATEST_S = 473_385_600, 4_102_444_800  # 1985 to 2100
_SHARE_OF_PATHS = 0.5  # of the values of a column of paths such as "Food > Fruit"
_NO_GENRES = "(no genres listed)"  # how MovieLens writes an empty list
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_COMPACT_DATE = "(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])"
_DAY_FIRST, _MONTH_FIRST = "day/month/year", "month/day/year"


def _with_clocks(*dates: str) -> tuple[str, ...]:
    return tuple(date + clock for date in dates for clock in _CLOCKS)


_DATE_FORMATS = {
    _DAY_FIRST: _with_clocks("%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%d/%m/%y", "%d.%m.%y"),
    _MONTH_FIRST: _with_clocks("%m/%d/%Y", "%m-%d-%Y", "%m/%d/%y"),
    "year.month.day": _with_clocks("%Y.%m.%d", "%Y. %m. %d.", "%Y-%m-%d", "%Y/%m/%d"),
    "dates with the name of the month": _with_clocks(
        "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y"
    ),
    "month day, year": ("%m %d, %Y",),
    "weekday month day time year": ("%a %b %d %H:%M:%S %Y",),
    "weekday month day time zone year": ("%a %b %d %H:%M:%S %z %Y",),
    "day/month/year:time zone": ("%d/%b/%Y:%H:%M:%S %z",),
}


class Column(NamedTuple):
    """A column of a relation, and questions about its values."""

    engine: DuckDBEngine
    relation: str
    name: str
    type: str

    @property
    def sql(self) -> str:
        """Its values as they are."""
        return quote_identifier(self.name)

    @property
    def text(self) -> str:
        """Its values as texts."""
        return f"CAST({self.sql} AS VARCHAR)"

    @property
    def sample(self) -> "Column":
        """The column in the first rows of its relation."""
        return self._replace(relation=f"(SELECT * FROM {self.relation} LIMIT {_SAMPLE_ROWS})")

    def ask(self, aggregate: str) -> Any:  # noqa: ANN401
        """Return an aggregate of its relation."""
        return self.engine.value(f"SELECT {aggregate} FROM {self.relation}")


class ValueFormat(NamedTuple):
    """How the values of a column are written."""

    name: str  # for people; empty where there is nothing to say
    sql: str  # reads a value; null for one that is written in another way


def find_time_format(column: Column, given: str | None = None) -> ValueFormat | None:
    """Return how most values of a column write times, and SQL for the seconds since 1970; None: no value is a time.

    ``given`` is the format, as ``strftime`` has it; None: found out.

    Raises:
        DataError: the column may be day/month/year and month/day/year.
    """
    if column.type.startswith(("TIMESTAMP", "DATE")):
        return ValueFormat(column.type.lower(), _seconds_sql(f"CAST({column.sql} AS TIMESTAMP)"))
    text = f"trim({column.text})"
    if given is not None:
        return ValueFormat(given, _date_sql(text, [given]))
    candidates = [
        _epoch_format(column, text),
        ValueFormat("ISO dates and times", _seconds_sql(f"TRY_CAST({text} AS TIMESTAMPTZ)")),
        *(ValueFormat(name, _date_sql(text, formats)) for name, formats in _DATE_FORMATS.items()),
    ]
    counts = _count_read(column.sample, candidates)
    candidates = [candidate for candidate in candidates if counts[candidate.name]]
    if not candidates:
        return None
    counts = _count_read(column, candidates)
    best = max(candidates, key=lambda candidate: counts[candidate.name])
    both = [candidate for candidate in candidates if candidate.name in {_DAY_FIRST, _MONTH_FIRST}]
    if best in both and len(both) == 2 and counts[_DAY_FIRST] == counts[_MONTH_FIRST]:
        example = column.ask(f"any_value({column.text}) FILTER ({both[0].sql} <> {both[1].sql})")
        if example is not None:
            raise DataError(
                f"column '{column.name}' has dates such as '{example}', which may be day/month or month/day; say which"
                " with --time-format '%d/%m/%Y' or '%m/%d/%Y'"
            )
    return best


def _epoch_format(column: Column, text: str) -> ValueFormat:
    """Return the format of numbers: dates such as 20240131, or the unit that the middle of the values suggests.

    A number of another unit is no time: it is after the year 5138, or far below the others, such as a 0 among dates.
    """
    number = f"TRY_CAST({text} AS DOUBLE)"
    if column.ask(f"bool_and(regexp_full_match({text}, '{_COMPACT_DATE}')) FILTER ({number} IS NOT NULL)"):
        return ValueFormat("dates such as 20240131", _date_sql(text, ["%Y%m%d"]))
    middle = column.ask(f"approx_quantile({number}, 0.5)") or 0
    unit, per_second = next(((unit, per_second) for floor, unit, per_second in UNITS if middle > floor), ("seconds", 1))
    earliest, latest_smaller, latest = EARLIEST_S * per_second, LATEST_S * per_second / 1000, 1e11 * per_second
    between = column.ask(f"avg(CAST({number} BETWEEN {latest_smaller} AND {earliest} AS INTEGER))")
    are_dates = middle > earliest and between < 0.01  # as a clock that starts with the log has not
    of_unit = f"CASE WHEN {number} BETWEEN {earliest if are_dates else -latest} AND {latest} THEN {number} END"
    return ValueFormat(f"{unit} since 1970", f"CAST(floor({of_unit} / {per_second}) AS BIGINT)")


def _date_sql(text: str, formats: Sequence[str]) -> str:
    listed = ", ".join(map(string_literal, formats))
    return _seconds_sql(f"CAST(try_strptime({text}, [{listed}]) AS TIMESTAMPTZ)")


def _seconds_sql(moment: str) -> str:
    return f"CAST(floor(epoch_us({moment}) / 1000000) AS BIGINT)"


def _count_read(column: Column, candidates: Sequence[ValueFormat]) -> dict[str, int]:
    counted = ", ".join(f"count({candidate.sql}) AS {quote_identifier(candidate.name)}" for candidate in candidates)
    return column.engine.record(f"SELECT {counted} FROM {column.relation}")


def find_list_format(column: Column, given: str | None = None) -> ValueFormat:
    """Return how a column writes lists of texts, and SQL for a list without blanks and repeated texts.

    ``given`` is the separator; None: found out; empty: each value is one text.
    """
    if column.type.endswith("[][]"):
        return ValueFormat("lists", _clean_list(f"flatten(CAST({column.sql} AS VARCHAR[][]))"))
    if column.type.endswith("[]"):
        return ValueFormat("lists", _clean_list(f"CAST({column.sql} AS VARCHAR[])"))
    text = column.text
    separator = _list_separator(column) if given is None else given
    split = f"string_split({text}, {string_literal(separator)})" if separator else f"[{text}]"
    name = f"split at {'spaces' if separator == ' ' else repr(separator)}" if separator else "one text each"
    if given is None and (column.sample.ask(f"avg(CAST(contains({text}, '>') AS INTEGER))") or 0) >= _SHARE_OF_PATHS:
        steps = "list_transform(string_split(path, '>'), lambda step: trim(step))"
        levels = f"list_transform({steps}, lambda step, n: array_to_string({steps}[:n], ' > '))"
        split = f"flatten(list_transform({split}, lambda path: {levels}))"
        name = f"paths, {name}: each level is a topic" if separator else "paths: each level is a topic"
    listed = f"""
        CASE WHEN {text} LIKE '[[%' THEN coalesce(flatten(TRY_CAST({text} AS VARCHAR[][])), {split})
             WHEN {text} LIKE '[%' THEN coalesce(TRY_CAST({text} AS VARCHAR[]), {split})
             WHEN {text} = {string_literal(_NO_GENRES)} THEN [] ELSE {split} END"""
    is_json = column.ask(f"bool_and({text} LIKE '[%')")
    return ValueFormat("lists" if is_json else name, _clean_list(listed))


def _list_separator(column: Column) -> str:
    if column.name.endswith(":token_seq"):  # RecBole's type
        return " "
    text = column.text
    distinct = f"SELECT DISTINCT {text} AS value FROM {column.relation} WHERE {text} NOT LIKE '[%'"
    rows = f"({distinct} ORDER BY hash(value) LIMIT {_SAMPLE_ROWS})"  # the same ones, in whatever order they are read
    values = column._replace(relation=rows)
    for separator in ("|", ";"):
        if values.ask(f"bool_or(contains(value, '{separator}'))"):
            return separator
    # A comma may be part of a name ("Clothing, Shoes & Jewelry"): it separates if the parts recur.
    if not values.ask("bool_or(contains(value, ','))"):
        return ""
    parts = values._replace(relation=f"(SELECT unnest(string_split(value, ',')) AS part FROM {rows})")
    return "," if parts.ask("count(DISTINCT trim(part))") <= values.ask("count(*)") else ""


def _clean_list(sql: str) -> str:
    trimmed = f"list_transform({sql}, lambda part: trim(part))"
    cleaned = f"list_filter({trimmed}, lambda part: part IS NOT NULL AND part <> '')"
    return f"coalesce(distinct_in_order({cleaned}), [])"


def find_id_format(column: Column) -> ValueFormat:
    """Return how a column writes ids, and SQL for an id as text without blanks around it.

    Whole numbers that became fractions, such as 12.0, since a value was missing, are whole numbers again.
    """
    text = f"nullif(trim({column.text}), '')"
    if column.type.endswith(("INT", "INTEGER")) or column.ask(f"bool_and(regexp_full_match({text}, '-?[0-9]+'))"):
        return ValueFormat("whole numbers", text)
    if column.ask(f"bool_and(regexp_full_match({text}, '-?[0-9]+[.]0+'))"):
        return ValueFormat("whole numbers written as 12.0", f"regexp_replace({text}, '[.]0+$', '')")
    return ValueFormat("text", text)


def vector_sql(column: Column) -> str:
    """Return SQL that reads a list of numbers: an array, JSON, or numbers with ``|``, a comma or a space between."""
    if column.type.endswith("]"):
        return f"TRY_CAST({column.sql} AS FLOAT[])"
    plain = f"regexp_replace(trim({column.text}, '[] '), '[|, ;]+', ',', 'g')"
    return f"TRY_CAST('[' || {plain} || ']' AS FLOAT[])"


def number_sql(column: Column) -> str:
    """Return SQL that reads a number; a comma may stand for the point."""
    source = f"replace({column.sql}, ',', '.')" if column.type == "VARCHAR" else column.sql
    return f"TRY_CAST({source} AS DOUBLE)"
