"""Which column of a file is which of ours: as a person says, by its name, by its place or by its content."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from multitudes.data.column_names import ColumnMap, guess_by_name, normalise
from multitudes.data.duck import DuckDBEngine
from multitudes.data.engine import query_row, query_value, quote_identifier
from multitudes.data.importing import value_formats
from multitudes.data.importing.config import ImportConfig
from multitudes.data.importing.sources import Source
from multitudes.data.importing.value_formats import ValueFormat
from multitudes.data.schemas import COLUMN_ROLES, REQUIRED_COLUMNS
from multitudes.errors import DataError

_SAMPLE_ROWS = 10_000
_SHARE_OF_TIMES = 0.9  # of the values of a column that is taken as the time for its content
_EARLIEST_S, _LATEST_S = 473_385_600, 4_102_444_800  # 1985 to 2100
_RATING_VALUES = 20  # a column of at most as many numbers may be a rating
_NO_FEATURE = re.compile(r"(id|ids|url|uri|link|image|imageurl|index|uuid)$|^unnamed|^column\d+$")
_SIMPLE_TYPES = ("VARCHAR", "BOOL", "FLOAT", "DOUBLE", "DECIMAL", "TINY", "SMALL", "INT", "BIG", "HUGE", "U")
_OWN_NAMES = ("source_number", "file_row", "unusable_because")  # of columns that an import adds
_SHARE_OF_NESTED = 0.1  # of the values of a column that is no feature, since it holds lists or objects
_AMAZON_ITEM, _AMAZON_USER = "(B0[0-9A-Z]{8}|[0-9]{9}[0-9X])", "A[0-9A-Z]{9,}"


@dataclass(frozen=True)
class ColumnGuess:
    """How a file becomes a table.

    Attributes:
        source: the file.
        table: events, items or users.
        columns: canonical column → column of the file.
        formats: canonical column → how its values are written.
        features: name of a feature → column of the file.
        unused: the other columns.
        problems: what is missing or wrong, in sentences.
        describes_items: whether it reads items from a file of events.
    """

    source: Source
    table: str
    columns: Mapping[str, str]
    formats: Mapping[str, ValueFormat]
    features: Mapping[str, str]
    unused: tuple[str, ...]
    problems: tuple[str, ...]
    describes_items: bool = False

    @property
    def relation(self) -> str:
        """The name of the relation of its rows after reading."""
        return f"{'described' if self.describes_items else 'converted'}_{self.source.number}"


def choose_table(engine: DuckDBEngine, source: Source, columns: ColumnMap) -> str:
    """Return the table that a file probably is: events have users and items, items no users, users no items.

    Of files without a header, events have times.
    """
    if not source.has_names and not columns:
        return "events" if any(_is_time(engine, source, column) for column in source.types) else "items"
    found = guess_by_name("events", source.types) if source.has_names else {}
    canonical = {*found, *columns.renames("events", source.types).values()}
    if "item_id" in canonical and "user_id" not in canonical:
        return "items"
    if "user_id" in canonical and "item_id" not in canonical and "timestamp" not in canonical:
        return "users"
    return "events"


def guess_columns(
    engine: DuckDBEngine, source: Source, table: str, column_map: ColumnMap, config: ImportConfig
) -> ColumnGuess:
    """Find the columns of a table in a file, and how their values are written."""
    problems: list[str] = []
    try:
        renames = column_map.renames(table, source.types)
    except DataError as error:
        return ColumnGuess(source, table, {}, {}, {}, (), (f"{source.name}: {error}",))
    columns = {canonical: column for column, canonical in renames.items() if canonical}
    free = [column for column in source.types if column not in renames]
    by_name = guess_by_name(table, free) if source.has_names else {}
    columns |= {canonical: column for canonical, column in by_name.items() if canonical not in columns}
    _add_by_content(engine, source, table, columns, set(renames), config)
    needed = REQUIRED_COLUMNS[table] - ({"timestamp"} if config.file_order else set())
    needed -= {"topics", "followed_topics"}  # empty lists stand for them
    problems += _missing(source, [canonical for canonical in COLUMN_ROLES[table] if canonical in needed - set(columns)])
    formats = {}
    for canonical, column in columns.items():
        try:
            formats[canonical] = _find_format(engine, source, table, canonical, column, config)
        except DataError as error:
            problems.append(f"{source.name}: {error}")
    columns = {canonical: columns[canonical] for canonical in COLUMN_ROLES[table] if canonical in columns}
    others = [column for column in source.types if column not in columns.values()]
    features = {} if table == "events" else dict(_features(engine, source, others, set(renames)))
    unused = tuple(column for column in others if column not in features.values())
    return ColumnGuess(source, table, columns, formats, features, unused, tuple(problems))


def described_columns(guess: ColumnGuess, column_map: ColumnMap) -> tuple[dict[str, str], dict[str, str]]:
    """Return the columns of an events file that describe the item: those that a person names, and those of such names.

    Each is canonical column → column of the file, for the topics and the title.
    """
    wanted = {"topics", "title"}
    named = {ours: column for column, ours in column_map.renames("items", guess.unused).items() if ours in wanted}
    by_name = guess_by_name("items", guess.unused) if guess.source.has_names else {}
    return named, {ours: column for ours, column in by_name.items() if ours in wanted - set(named)}


def _missing(source: Source, missing: Collection[str]) -> list[str]:
    """Return a sentence if columns are missing."""
    if not missing:
        return []
    options = " ".join(f"--map COLUMN={canonical}" for canonical in missing)
    order = ", or pass --file-order if each user's rows are in the order in which they happened"
    items = ". A file of items is given with --items" if "user_id" in missing and "item_id" not in missing else ""
    return [
        f"{source.name}: no column for {' and '.join(missing)} among {', '.join(source.types)}; name it with {options}"
        f"{order if 'timestamp' in missing else ''}{items}"
    ]


def _add_by_content(
    engine: DuckDBEngine,
    source: Source,
    table: str,
    columns: dict[str, str],
    taken: Collection[str],
    config: ImportConfig,
) -> None:
    """Add the columns that only their content tells."""
    free = [column for column in source.types if column not in columns.values() and column not in taken]
    if table == "events" and "timestamp" not in columns and not config.file_order:
        time = next((column for column in free if _is_time(engine, source, column)), None)
        if time is not None:
            columns["timestamp"] = time
            free.remove(time)
    if not source.has_names:
        columns |= _by_place(engine, source, table, free, columns)
    elif table == "events" and len({"user_id", "item_id"} - set(columns)) == 1:
        ids = [column for column in free if _recurs(engine, source, column)]
        if len(ids) == 1:
            columns[next(iter({"user_id", "item_id"} - set(columns)))] = ids[0]


def _by_place(
    engine: DuckDBEngine, source: Source, table: str, free: list[str], known: Collection[str]
) -> dict[str, str]:
    """Return the columns of a file without a header: user, item, rating; item, title, topics; or user."""
    ids = {"events": ["user_id", "item_id"], "items": ["item_id"], "users": ["user_id"]}[table]
    ids = [canonical for canonical in ids if canonical not in known]
    found = dict(zip(ids, free, strict=False))
    others = free[len(found) :]
    if table == "events":
        ratings = [column for column in others if _is_rating(engine, source, column)]
        found |= dict(zip(["rating"], ratings, strict=False))
        if len(ids) == 2 and len(free) >= 2 and _is_amazon_2018(engine, source, free):
            found |= {"user_id": free[1], "item_id": free[0]}
    elif table == "items":
        texts = [column for column in others if not _is_number(engine, source, column)]
        topics = next((column for column in texts if _matches(engine, source, column, ".*[|].*", 0)), None)
        title = next((column for column in texts if column != topics), None)
        found |= {name: column for name, column in (("title", title), ("topics", topics)) if column}
    return {canonical: column for canonical, column in found.items() if canonical not in known}


def _find_format(
    engine: DuckDBEngine, source: Source, table: str, canonical: str, column: str, config: ImportConfig
) -> ValueFormat:
    role, column_type = COLUMN_ROLES[table][canonical], source.types[column]
    quoted = quote_identifier(column)
    if role == "time":
        found = value_formats.find_time_format(engine, source.relation, column, column_type, config.time_format)
        if found is None:
            example = query_value(engine, f"SELECT any_value(CAST({quoted} AS VARCHAR)) FROM {source.relation}")
            raise DataError(
                f"column '{column}' is no time, such as {example!r}; expected seconds since 1970 or dates. Name the"
                f" column with --map COLUMN={canonical}, or its format with --time-format"
            )
        return found
    if role == "id":
        return value_formats.find_id_format(engine, source.relation, column, column_type)
    if role == "texts":
        return value_formats.find_list_format(engine, source.relation, column, column_type, config.list_separator)
    if role == "vector":
        return ValueFormat("numbers", value_formats.vector_sql(column, column_type))
    if role == "number":
        return ValueFormat("numbers", value_formats.number_sql(column, column_type))
    if role == "flag":
        return ValueFormat("true or false", f"TRY_CAST({quoted} AS BOOLEAN)")
    return ValueFormat("", f"nullif(trim(CAST({quoted} AS VARCHAR)), '')")


def _features(
    engine: DuckDBEngine, source: Source, others: list[str], taken: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield the columns that describe an item or a user, by the name of the feature; ids and addresses do not."""
    names = set[str]()
    for column in others:
        name = column.partition(":")[0] if source.name.endswith((".item", ".user")) else column
        reserved = name.lower() in {*COLUMN_ROLES["items"], *COLUMN_ROLES["users"], *_OWN_NAMES, *names}
        if column in taken or reserved or _NO_FEATURE.search(normalise(column)):
            continue
        if _is_simple(source.types[column]) and not _matches(engine, source, column, "[{\\[].*", _SHARE_OF_NESTED):
            names.add(name.lower())
            yield name, column


def _is_simple(column_type: str) -> bool:
    return not column_type.endswith("]") and column_type.startswith(_SIMPLE_TYPES)


def _is_time(engine: DuckDBEngine, source: Source, column: str) -> bool:
    try:
        found = value_formats.find_time_format(engine, _sample(source), column, source.types[column])
    except DataError:  # day/month or month/day: a time in any case
        return True
    if found is None:
        return False
    plausible = f"avg(CAST(coalesce({found.sql} BETWEEN {_EARLIEST_S} AND {_LATEST_S}, false) AS INTEGER))"
    return bool(query_value(engine, f"SELECT {plausible} FROM {_sample(source)}") >= _SHARE_OF_TIMES)


def topics_by_content(engine: DuckDBEngine, guess: ColumnGuess) -> str | None:
    """Return the unused column of an events file that probably names the category of its items.

    It has texts, several items to each. Of two, such as an id and a name, it is the one of shorter texts. None: no
    column is like that.
    """
    found = []
    for column in guess.unused:
        quoted, item = quote_identifier(column), quote_identifier(guess.columns["item_id"])
        counts = query_row(
            engine,
            f"SELECT count(DISTINCT {quoted}) AS n, count(DISTINCT {item}) AS items,"
            f" avg(length(CAST({quoted} AS VARCHAR))) AS length FROM {_sample(guess.source)}",
        )
        if 1 < counts["n"] <= counts["items"] / 2 and not _is_number(engine, guess.source, column):
            found.append((counts["length"], column))
    return min(found)[1] if found else None


def _is_number(engine: DuckDBEngine, source: Source, column: str) -> bool:
    number = f"TRY_CAST({quote_identifier(column)} AS DOUBLE)"
    return not query_value(engine, f"SELECT count(*) - count({number}) FROM {_sample(source)}")


def _is_rating(engine: DuckDBEngine, source: Source, column: str) -> bool:
    """Return whether a column has few numbers, whole or half and none below zero, unlike coordinates and time zones."""
    number = f"TRY_CAST({quote_identifier(column)} AS DOUBLE)"
    counts = query_row(
        engine,
        f"""
        SELECT count(*) - count({number}) AS others, count(DISTINCT {number}) AS n,
               bool_and({number} >= 0 AND 2 * {number} = floor(2 * {number})) AS fits FROM {_sample(source)}""",
    )
    return bool(not counts["others"] and counts["n"] <= _RATING_VALUES and counts["fits"])


def _recurs(engine: DuckDBEngine, source: Source, column: str) -> bool:
    """Return whether the values of a column come again, as ids of users or items do; few values are no ids."""
    quoted = quote_identifier(column)
    counts = query_row(engine, f"SELECT count({quoted}) AS n, count(DISTINCT {quoted}) AS ids FROM {_sample(source)}")
    return bool(_RATING_VALUES < counts["ids"] < counts["n"])


def _is_amazon_2018(engine: DuckDBEngine, source: Source, free: list[str]) -> bool:
    """Return whether the item is named before the user, as in Amazon's ratings of 2018."""
    return _matches(engine, source, free[0], _AMAZON_ITEM) and _matches(engine, source, free[1], _AMAZON_USER)


def _matches(engine: DuckDBEngine, source: Source, column: str, pattern: str, share: float = 1.0) -> bool:
    """Return whether some values of a column match, and at least ``share`` of them."""
    value = f"CAST({quote_identifier(column)} AS VARCHAR)"
    matched = f"coalesce(avg(CAST(regexp_full_match({value}, '{pattern}') AS INTEGER)), 0)"
    found = query_value(engine, f"SELECT {matched} FROM {_sample(source)}")
    return bool(found > 0 and found >= share)


def _sample(source: Source) -> str:
    return f"(SELECT * FROM {source.relation} LIMIT {_SAMPLE_ROWS})"
