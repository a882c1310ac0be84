"""Which column of a file is which of ours: as a person says, by its name, by its place or by its content."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from multitudes.data.column_names import ColumnMap, guess_by_name, normalise
from multitudes.data.duck import DuckDBEngine
from multitudes.data.engine import quote_identifier
from multitudes.data.importing import value_formats
from multitudes.data.importing.config import ImportConfig
from multitudes.data.importing.sources import Source
from multitudes.data.importing.value_formats import Column, ValueFormat
from multitudes.data.schemas import COLUMN_ROLES, REQUIRED_COLUMNS
from multitudes.errors import DataError

_SHARE_OF_TIMES = 0.9  # of the values of a column that is taken as the time for its content
_RATING_VALUES = 20  # a column of at most as many numbers may be a rating
_NO_FEATURE = re.compile(r"(id|ids|url|uri|link|image|imageurl|index|uuid)$|^unnamed|^column\d+$")
_SIMPLE_TYPES = ("VARCHAR", "BOOL", "FLOAT", "DOUBLE", "DECIMAL", "TINY", "SMALL", "INT", "BIG", "HUGE", "U")
_OWN_NAMES = ("source_number", "file_row", "unusable_because")  # of columns that an import adds
_SHARE_OF_NESTED = 0.1  # of the values of a column that is no feature, since it holds lists or objects
_MAX_TOPICS_PER_ITEM = 1.3  # of one column of an events table: with more, it tells of the event
_AMAZON_ITEM, _AMAZON_USER = "(B0[0-9A-Z]{8}|[0-9]{9}[0-9X])", "A[0-9A-Z]{9,}"


@dataclass(frozen=True)
class ColumnGuess:
    """How a file becomes a table."""

    source: Source
    table: str  # events, items or users
    columns: Mapping[str, str]  # canonical column → column of the file
    formats: Mapping[str, ValueFormat]  # canonical column → how its values are written
    features: Mapping[str, str]  # name of a feature → column of the file
    unused: tuple[str, ...]  # the other columns
    problems: tuple[str, ...]  # what is missing or wrong, in sentences
    describes_items: bool = False  # whether it reads items from a file of events

    @property
    def relation(self) -> str:
        """The name of the relation of its rows after reading."""
        return f"{'described' if self.describes_items else 'converted'}_{self.source.number}"


def choose_table(engine: DuckDBEngine, source: Source, columns: ColumnMap) -> str:
    """Return the table that a file probably is: events have users and items, items no users, users no items.

    Of files without a header, events have times.
    """
    if not source.has_names and not columns:
        return "events" if any(_is_time(source.column(engine, name)) for name in source.types) else "items"
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
    try:
        renames = column_map.renames(table, source.types)
    except DataError as error:
        return ColumnGuess(source, table, {}, {}, {}, (), (f"{source.name}: {error}",))
    columns = {canonical: column for column, canonical in renames.items() if canonical}
    free = {column: source.column(engine, column) for column in source.types if column not in renames}
    if source.has_names:
        columns = guess_by_name(table, free) | columns
    needed = REQUIRED_COLUMNS[table] - ({"timestamp"} if config.file_order else set())
    for column in columns.values():
        free.pop(column, None)
    columns |= _find_by_content(source, table, free, columns, needed)
    columns = {canonical: columns[canonical] for canonical in COLUMN_ROLES[table] if canonical in columns}
    needed -= {"topics", "followed_topics", *columns}  # empty lists stand for topics
    problems = _missing(source, [canonical for canonical in COLUMN_ROLES[table] if canonical in needed])
    formats = {}
    for canonical, column in columns.items():
        try:
            formats[canonical] = _find_format(source.column(engine, column), table, canonical, config)
        except DataError as error:
            problems.append(f"{source.name}: {error}")
    others = [column for column in source.types if column not in columns.values()]
    features = {} if table == "events" else dict(_features(engine, source, others, renames))
    unused = tuple(column for column in others if column not in features.values())
    return ColumnGuess(source, table, columns, formats, features, unused, tuple(problems))


def guess_described_items(
    engine: DuckDBEngine, guess: ColumnGuess, column_map: ColumnMap, config: ImportConfig
) -> ColumnGuess | None:
    """Return the guess that reads items from an events file that describes them.

    None: it is of another table, does not, or a column differs from event to event of an item.
    """
    if guess.table != "events":
        return None
    source, item = guess.source, guess.formats["item_id"]
    renames = column_map.renames("items", guess.unused)
    chosen = {ours: column for column, ours in renames.items() if ours in {"topics", "title"}}
    found = guess_by_name("items", guess.unused) if source.has_names else {}
    if not source.has_names and not chosen and (topics := _topics_by_content(engine, guess)) is not None:
        found = {"topics": topics}
    for ours in {"topics", "title"} & found.keys() - chosen.keys():
        if _describes_item(source.column(engine, found[ours]), item.sql):
            chosen[ours] = found[ours]
    if not chosen:
        return None
    chosen = {ours: chosen[ours] for ours in COLUMN_ROLES["items"] if ours in chosen}
    formats = {ours: _find_format(source.column(engine, name), "items", ours, config) for ours, name in chosen.items()}
    return replace(
        guess,
        table="items",
        columns={"item_id": guess.columns["item_id"], **chosen},
        formats={"item_id": item, **formats},
        unused=(),
        describes_items=True,
    )


def _missing(source: Source, missing: Collection[str]) -> list[str]:
    """Return a sentence if columns are missing."""
    if not missing:
        return []
    options = " ".join(f"--map COLUMN={canonical}" for canonical in missing)
    order = ", or pass --file-order if each user's rows are in the order in which they happened"
    items = ". A file of items is given with --items" if "user_id" in missing and "item_id" not in missing else ""
    return [
        f"{source.name}: no column for {' and '.join(missing)} among {', '.join(source.types)} ({source.read_as});"
        f" name it with {options}{order if 'timestamp' in missing else ''}{items}"
    ]


def _find_by_content(
    source: Source, table: str, free: dict[str, Column], known: Collection[str], needed: Collection[str]
) -> dict[str, str]:
    """Return the columns that only their content or their place tells: canonical column → column of the file."""
    found = {}
    if table == "events" and "timestamp" in set(needed) - set(known):
        time = next((name for name, column in free.items() if _is_time(column)), None)
        if time is not None:
            found["timestamp"] = time
            del free[time]
    if not source.has_names:
        return found | _find_by_place(table, list(free.values()), known)
    lacking = [canonical for canonical in ("user_id", "item_id") if canonical in set(needed) - set(known)]
    if table == "events" and len(lacking) == 1:
        ids = [name for name, column in free.items() if _is_id(column)]
        found |= dict.fromkeys(lacking, ids[0]) if len(ids) == 1 else {}
    return found


def _find_by_place(table: str, free: list[Column], known: Collection[str]) -> dict[str, str]:
    """Return the columns of a file without a header: user, item, rating; item, title, topics; or user."""
    ids = {"events": ["user_id", "item_id"], "items": ["item_id"], "users": ["user_id"]}[table]
    ids = [canonical for canonical in ids if canonical not in known]
    found = dict(zip(ids, free, strict=False))
    others = free[len(found) :]
    if table == "events":
        found |= dict(zip(["rating"], filter(_is_rating, others), strict=False))
        amazon = list(zip(free, (_AMAZON_ITEM, _AMAZON_USER), strict=False))  # in 2018 the item came first
        if len(ids) == len(amazon) == 2 and all(_matches(column, pattern) for column, pattern in amazon):
            found |= {"item_id": free[0], "user_id": free[1]}
    elif table == "items":
        texts = [column for column in others if not _is_number(column)]
        topics = next((column for column in texts if _matches(column, ".*[|].*", 0)), None)
        title = next((column for column in texts if column != topics), None)
        found |= {name: column for name, column in (("title", title), ("topics", topics)) if column}
    return {canonical: column.name for canonical, column in found.items() if canonical not in known}


def _find_format(column: Column, table: str, canonical: str, config: ImportConfig) -> ValueFormat:
    role = COLUMN_ROLES[table][canonical]
    if role == "time":
        found = value_formats.find_time_format(column, config.time_format)
        if found is None:
            raise DataError(
                f"column '{column.name}' is no time, such as {column.ask(f'any_value({column.text})')!r}; expected"
                f" seconds since 1970 or dates. Name the column with --map COLUMN={canonical}, or its format with"
                " --time-format"
            )
        return found
    if role == "id":
        return value_formats.find_id_format(column)
    if role == "texts":
        return value_formats.find_list_format(column, config.list_separator)
    if role == "number":
        return ValueFormat("numbers", value_formats.number_sql(column))
    if role == "vector":
        sql = value_formats.vector_sql(column)
        is_none = f"{column.sql} IS NOT NULL AND ({sql} IS NULL OR len({sql}) > 0 AND list_count({sql}) = 0)"
        if wrong := column.ask(f"any_value({column.text}) FILTER ({is_none})"):
            raise DataError(
                f"column '{column.name}' has a value that is no vector, {wrong!r:.60}; expected numbers, such as"
                f" 0.5|-2, or nothing. To leave the column out: --map {column.name}="
            )
        return ValueFormat("lists of numbers", sql)
    if role == "flag":
        return ValueFormat("true or false", f"TRY_CAST({column.sql} AS BOOLEAN)")
    return ValueFormat("", f"nullif(trim({column.text}), '')")


def _features(
    engine: DuckDBEngine, source: Source, others: list[str], taken: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield the columns that describe an item or a user, by the name of the feature; ids and addresses do not."""
    names = {*COLUMN_ROLES["items"], *COLUMN_ROLES["users"], *_OWN_NAMES}
    for column in others:
        name = column.partition(":")[0] if source.name.endswith((".item", ".user")) else column
        is_simple = source.types[column].startswith(_SIMPLE_TYPES) and not source.types[column].endswith("]")
        if column in taken or name.lower() in names or _NO_FEATURE.search(normalise(column)) or not is_simple:
            continue
        if not _matches(source.column(engine, column), "[{\\[].*", _SHARE_OF_NESTED):
            names.add(name.lower())
            yield name, column


def _topics_by_content(engine: DuckDBEngine, guess: ColumnGuess) -> str | None:
    """Return the unused column of an events file that probably names the category of its items.

    It has texts, several items to each. Of two, such as an id and a name, it is the one of shorter texts. None: no
    column is like that.
    """
    found, item = [], quote_identifier(guess.columns["item_id"])
    for column in (guess.source.column(engine, name).sample for name in guess.unused):
        n = f"count(DISTINCT {column.text})"
        if column.ask(f"{n} > 1 AND 2 * {n} <= count(DISTINCT {item})") and not _is_number(column):
            found.append((column.ask(f"avg(length({column.text}))"), column.name))
    return min(found)[1] if found else None


def _is_time(column: Column) -> bool:
    try:
        found = value_formats.find_time_format(column.sample)
    except DataError:  # day/month or month/day: a time in any case
        return True
    if found is None:
        return False
    plausible = f"coalesce({found.sql} BETWEEN {value_formats.EARLIEST_S} AND {value_formats.LATEST_S}, false)"
    return bool(column.sample.ask(f"avg(CAST({plausible} AS INTEGER))") >= _SHARE_OF_TIMES)


def _is_number(column: Column) -> bool:
    return bool(column.sample.ask(f"count(*) = count({value_formats.number_sql(column)})"))


def _is_rating(column: Column) -> bool:
    """Return whether a column has few numbers, whole or half and none below zero, unlike coordinates and time zones."""
    n = value_formats.number_sql(column)
    fits = f"bool_and({n} >= 0 AND 2 * {n} = floor(2 * {n}))"
    return _is_number(column) and bool(column.sample.ask(f"count(DISTINCT {n}) <= {_RATING_VALUES} AND {fits}"))


def _is_id(column: Column) -> bool:
    """Return whether the values of a column come again, as ids of users or items do; few values are no ids."""
    n = f"count(DISTINCT {column.sql})"
    return bool(column.sample.ask(f"{n} > {_RATING_VALUES} AND {n} < count({column.sql})"))


def _describes_item(column: Column, item: str) -> bool:
    """Return whether the column is the same in most events of an item, given the SQL of the item."""
    known = column._replace(relation=f"{column.relation} WHERE {item} IS NOT NULL AND {column.text} IS NOT NULL")
    is_same = f"count(DISTINCT ({item}, {column.text})) <= {_MAX_TOPICS_PER_ITEM} * count(DISTINCT {item})"
    return bool(known.ask(f"count(DISTINCT {column.text}) > 1 AND {is_same}"))


def _matches(column: Column, pattern: str, share: float = 1.0) -> bool:
    """Return whether some values of a column match, and at least ``share`` of them."""
    matched = f"coalesce(avg(CAST(regexp_full_match({column.text}, '{pattern}') AS INTEGER)), 0)"
    found = column.sample.ask(matched)
    return bool(found > 0 and found >= share)
