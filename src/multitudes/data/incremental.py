"""Append later days to a prepared folder: the events that it keeps for that, and the checks before they are used.

``sound.parquet`` holds the events of a run after the repairs of single rows, and before any step that depends on all
events: one row for each event, with its row number in the file, whether its action is negative, and whether it was
flagged invalid. A later run reads it in place of the earlier tables. It computes numbers, splits and counts from all
events, so its result equals that of one run over all tables, byte for byte; only ``inputs`` in the manifest differs.

This holds because every new event is later than every earlier one: duplicates and order never span two runs, and the
counts of repairs add up. Data or settings that would need the earlier rows again are rejected.
"""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from pyarrow import ArrowInvalid, parquet

from multitudes.data.arrays import BATCH_ROWS
from multitudes.data.engine import Engine
from multitudes.data.prepared import PreparedData
from multitudes.data.tables import Table
from multitudes.errors import ArtefactError, DataError, UsageError

EVENTS_FILE = "sound.parquet"
MANIFEST_KEY = "appendable"
EVENT_COLUMNS = "row, user_id, item_id, time, action, rating, source, request_id, event_id, negative, flagged"
# Repairs of single rows, which only the run that read them sees; the others are counted again over all events.
_SUMMED_REPAIRS = (
    "events_with_nulls",
    "duplicate_events",
    "unsorted_events",
    "events_without_action",
    "repeated_events",
)
_MANIFEST_FIELDS = {"rows", "columns", "last"}  # of the manifest's entry
_ADVICE = "prepare all tables in one run"


class BaseData(NamedTuple):
    """A prepared folder to which later events are appended."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def n_rows(self) -> int:
        """The number of rows of its events tables; the numbers of new rows begin after it."""
        return int(self.manifest[MANIFEST_KEY]["rows"])


def open_base(folder: Path, config: Mapping[str, Any], *, has_served: bool) -> BaseData:
    """Open a prepared folder to append events to it; ``config`` and a log of served candidates are of the new run.

    Raises:
        ArtefactError: the folder is damaged.
        UsageError: it was prepared without --appendable or with other settings, or the run would need earlier rows.
    """
    manifest = PreparedData.open(folder).manifest
    if MANIFEST_KEY not in manifest:
        raise UsageError(f"{folder}: cannot be appended to; prepare its tables again, with --appendable")
    for key, given in config.items():
        before = manifest["config"].get(key)
        if before != given:
            raise UsageError(f"{folder}: was prepared with {key} = {before!r}, not {given!r}; give the same settings")
    if has_served:
        raise UsageError(f"--served cannot be appended, since it attributes events of all days; {_ADVICE}")
    for reason, applies in (
        ("follows_from_share: the first share of a history grows with it", config["follows_from_share"] > 0),
        ("an order without times, so there is no later day", manifest["ordered_only"]),
        ("events in the future, which were dropped and may be past by now", "future_events" in manifest["repairs"]),
    ):
        if applies:
            raise UsageError(f"{folder}: cannot be appended to ({reason}); {_ADVICE}")
    if not manifest[MANIFEST_KEY].keys() >= _MANIFEST_FIELDS:
        raise ArtefactError(f"{folder}/manifest.json: damaged, or of an earlier version; {_ADVICE}")
    _check_file(folder / EVENTS_FILE, manifest["counts"]["events"])
    return BaseData(folder, manifest)


def check_tables_fit(earlier: BaseData, tables: Mapping[str, Table], id_types: Mapping[str, str]) -> None:
    """Check that new tables have the columns and id types of the earlier ones.

    Raises:
        DataError: ids have another type, events have other columns, or there is no items table.
    """
    events, columns = tables["events"], earlier.manifest[MANIFEST_KEY]["columns"]
    if sorted(events.columns) != columns:
        raise DataError(
            f"{events.file}: has the columns {', '.join(sorted(events.columns))}; expected {', '.join(columns)}"
        )
    for column, id_type in id_types.items():
        before = earlier.manifest["id_kinds"][column]
        if id_type != before:
            raise DataError(
                f"{events.file}: '{column}' is {id_type}; the earlier days have {before}. Write it as {before}"
            )
    if "items" not in tables:
        raise DataError(
            f"{events.file}: no items table beside it; expected the items of all days, including the earlier ones"
        )


def reject_earlier_times(engine: Engine, earlier: BaseData, table: Table, row_condition: str) -> None:
    """Check that all new events that meet ``row_condition`` are later than all earlier events.

    Raises:
        DataError: an event is not.
    """
    last = earlier.manifest[MANIFEST_KEY]["last"]
    first = engine.value(f"SELECT min(timestamp) FROM events_raw WHERE {row_condition}")
    if first <= last:
        raise DataError(
            f"{table.file}: the first event is at {first}; expected events later than {last}, the last one of"
            f" {earlier.folder}. Leave out events that it already has, or {_ADVICE}"
        )


def total_repairs(repairs: Mapping[str, int], earlier: BaseData) -> dict[str, int]:
    """Return the counts of repairs over the earlier and the new events."""
    before = earlier.manifest["repairs"]
    return {name: count + (before.get(name, 0) if name in _SUMMED_REPAIRS else 0) for name, count in repairs.items()}


def write_events(engine: Engine, folder: Path, table: Table, earlier: BaseData | None) -> dict[str, Any]:
    """Write the table ``clean_event`` into a folder, in the order of its rows; return the manifest's entry.

    It has the number of rows of the events tables, their columns, and the time of the last event.
    """
    batches = engine.batches(f"SELECT {EVENT_COLUMNS} FROM clean_event ORDER BY row", BATCH_ROWS)
    first = next(batches)
    file = folder / EVENTS_FILE
    with parquet.ParquetWriter(file, first.schema, compression="zstd", write_page_checksum=True) as writer:
        for batch in chain([first], batches):
            writer.write_batch(batch)
    rows = table.rows + (0 if earlier is None else earlier.n_rows)
    last = engine.value("SELECT max(time) FROM clean_event")
    return {MANIFEST_KEY: {"rows": rows, "columns": sorted(table.columns), "last": last}}


def _check_file(file: Path, events: int) -> None:
    try:
        with parquet.ParquetFile(file, page_checksum_verification=True) as parquet_file:
            rows, columns = parquet_file.metadata.num_rows, parquet_file.schema_arrow.names
            # Reading compares each page with its checksum, which the engines do not.
            for _ in parquet_file.iter_batches(BATCH_ROWS):
                pass
    except FileNotFoundError:
        raise ArtefactError(f"{file}: missing; {_ADVICE}") from None
    except (ArrowInvalid, OSError):
        raise ArtefactError(f"{file}: damaged or cut short; {_ADVICE}") from None
    if rows != events:
        raise ArtefactError(f"{file}: {rows:,} events; expected {events:,} as in the manifest; {_ADVICE}")
    if columns != EVENT_COLUMNS.split(", "):
        raise ArtefactError(f"{file}: has the columns {', '.join(columns)}; expected {EVENT_COLUMNS}; {_ADVICE}")
