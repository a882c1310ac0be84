"""Read a file of items or of item ids for an existing release, with the same checks as the tables of a data set."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import polars as pl

from multitudes.data import tables
from multitudes.data.clean import items_and_users
from multitudes.data.duck import Advice, open_engine
from multitudes.data.engine import Engine, quote_identifier
from multitudes.data.location import parse_location
from multitudes.data.tables import Table
from multitudes.errors import DataError, UsageError

_MEMORY = "2GB"
_ADVICE = Advice("give fewer items in one file", "free some, or set TMPDIR to a folder on a larger disk")


class ItemsFile(NamedTuple):
    """The items of a file and the repairs."""

    # One row for each id, ascending: item_id, title, topics (each once, in the order given), embedding, other columns.
    items: pl.DataFrame
    repairs: dict[str, int]  # the count of each, without zeros


def read_items(file: Path, id_type: pl.DataType) -> ItemsFile:
    """Read a canonical items table; ``id_type`` is the type of the ids of the data set.

    Raises:
        DataError: the file cannot be read, lacks a column, or its ids are of another type.
        UsageError: there is no such file, or its format is unknown.
    """
    with _load(file, "items") as (engine, table):
        repairs, _ = items_and_users.clean_items(engine, table)
        extra = "".join(f", item.{quote_identifier(column)}" for column in table.extra)
        found = engine.frame(f"""
            SELECT item.item_id, title, coalesce(topics, []) AS topics, embedding{extra}
            FROM item
            LEFT JOIN (SELECT item_id, list(topic ORDER BY place) AS topics FROM item_topic GROUP BY item_id) AS named
            USING (item_id)
            ORDER BY item.item_id""")
    return ItemsFile(_cast_ids(found, id_type, file), {name: count for name, count in repairs.items() if count})


def read_item_ids(file: Path, id_type: pl.DataType) -> pl.DataFrame:
    """Read the column item_id of a table, each id once, ascending.

    Raises:
        DataError: the file cannot be read, has no such column or no id, or its ids are of another type.
        UsageError: there is no such file, or its format is unknown.
    """
    with _load(file, "item_ids") as (engine, _):
        sql = "SELECT DISTINCT item_id FROM item_ids_raw WHERE item_id IS NOT NULL ORDER BY item_id"
        found = _cast_ids(engine.frame(sql), id_type, file)
    if not found.height:
        raise DataError(f"{file}: every item_id is null; expected at least one id")
    return found


@contextmanager
def _load(given: Path, name: str) -> Iterator[tuple[Engine, Table]]:
    file = parse_location(given)
    if not file.is_file() or file.suffix not in tables.SUFFIXES:
        problem = "is a folder" if file.is_dir() else "is no table" if file.is_file() else "no such file"
        raise UsageError(f"{file}: {problem}; give one file that ends in {', '.join(tables.SUFFIXES)}")
    with (
        tempfile.TemporaryDirectory(prefix="multitudes-items-") as scratch,
        open_engine(Path(scratch), _MEMORY, threads=0, advice=_ADVICE) as engine,
    ):
        yield engine, tables.load_table(engine, name, file)


def _cast_ids(found: pl.DataFrame, id_type: pl.DataType, file: Path) -> pl.DataFrame:
    """Return the rows with ids of the data set's type; 7 in a CSV file may be either type."""
    given = found["item_id"].dtype
    if given == id_type:
        return found
    if file.suffix == ".csv" and id_type == pl.String:
        return found.with_columns(pl.col("item_id").cast(pl.String)).sort("item_id")
    type_names = {True: "integers", False: "text"}
    raise DataError(
        f"{file}: column 'item_id' is {type_names[given.is_integer()]}; expected {type_names[id_type.is_integer()]},"
        " as in this release"
    )
