"""A new day behind the earlier ones: what a prepared folder keeps for that, and when it may be used.

``sound.parquet`` holds the events of a run after their cleaning and before anything that hangs on all of them: one row
for each, with its row in the file, and whether its action is negative and it was flagged. A later run reads it in place
of the earlier tables. Numbers, splits and counts are made anew of all events, so its result is that of one run over all
tables, byte for byte: ``inputs`` in the manifest alone says that there were several.

That holds because every new event is later than every earlier one. So no copy and no order goes across days, and what
was counted adds up. Whatever would need the earlier rows again is refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pyarrow import ArrowInvalid, parquet

from multitudes.data.clean.attribution import FeedbackLogs
from multitudes.data.engine import Engine, query_value
from multitudes.data.prepared import PreparedData
from multitudes.data.tables import Table
from multitudes.errors import ArtefactError, DataError, UsageError

EVENTS_FILE = "sound.parquet"
MANIFEST_KEY = "appendable"  # in the manifest
EVENT_COLUMNS = "row, user_id, item_id, time, action, rating, source, request_id, event_id, negative, flagged"
# Repairs of rows, which were made before and are not found again; the others are counted anew over all events.
_SUMMED_REPAIRS = (
    "events_with_nulls",
    "duplicate_events",
    "unsorted_events",
    "events_without_action",
    "repeated_events",
)
_CHUNK_ROWS = 262_144
_MANIFEST_FIELDS = {"rows", "columns", "last"}  # what the manifest says
_ADVICE = "prepare all tables in one run"


class BaseData(NamedTuple):
    """The earlier days of a data set."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def events_file(self) -> Path:
        """Their sound events."""
        return self.folder / EVENTS_FILE

    @property
    def n_events(self) -> int:
        """How many these are."""
        return int(self.manifest["counts"]["events"])

    @property
    def n_rows(self) -> int:
        """The rows of their events tables, behind which the new rows are numbered."""
        return int(self.manifest[MANIFEST_KEY]["rows"])


def open_base(folder: Path, config: Mapping[str, Any], logs: FeedbackLogs) -> BaseData:
    """Open a prepared folder to put new events behind it.

    Raises:
        ArtefactError: it is damaged.
        UsageError: it kept no events, was made with other settings, or what is asked for needs the earlier rows.
    """
    manifest = PreparedData.open(folder).manifest
    if MANIFEST_KEY not in manifest:
        raise UsageError(f"{folder}: keeps no events to append to; prepare its tables once more, with --appendable")
    for key, given in config.items():
        before = manifest["config"].get(key)
        if before != given:
            raise UsageError(f"{folder}: was prepared with {key} = {before!r}, not {given!r}; give the same settings")
    if logs.served is not None:
        raise UsageError(f"--served explains events of all days, so it cannot be appended; {_ADVICE}")
    for reason, there in (
        ("follows_from_share: the first share of a history grows with it", config["follows_from_share"] > 0),
        ("an order without times, so there is no later day", manifest["ordered_only"]),
        ("events in the future, which were dropped and may have come to pass", "future_events" in manifest["repairs"]),
    ):
        if there:
            raise UsageError(f"{folder}: cannot be appended to ({reason}); {_ADVICE}")
    if not manifest[MANIFEST_KEY].keys() >= _MANIFEST_FIELDS:
        raise ArtefactError(f"{folder}/manifest.json: damaged, or of an earlier version; {_ADVICE}")
    _check_file(folder / EVENTS_FILE, manifest["counts"]["events"])
    return BaseData(folder, manifest)


def reject_other_tables(earlier: BaseData, tables: Mapping[str, Table], kinds: Mapping[str, str]) -> None:
    """Refuse tables that do not continue the earlier ones.

    Raises:
        DataError: ids of another kind, other columns of events, or no items.
    """
    events, known = tables["events"], earlier.manifest[MANIFEST_KEY]["columns"]
    if sorted(events.columns) != known:
        raise DataError(
            f"{events.file}: has the columns {', '.join(sorted(events.columns))}; expected {', '.join(known)}"
        )
    for column, kind in kinds.items():
        before = earlier.manifest["id_kinds"][column]
        if kind != before:
            raise DataError(f"{events.file}: '{column}' is {kind}; the earlier days have {before}. Write it so")
    if "items" not in tables:
        raise DataError(
            f"{events.file}: no items table beside it; expected the items of all days, the earlier ones too"
        )


def reject_earlier_times(engine: Engine, earlier: BaseData, table: Table, past: str) -> None:
    """Refuse new events that are no later than all earlier ones.

    Raises:
        DataError: one is not.
    """
    last = earlier.manifest[MANIFEST_KEY]["last"]
    first = query_value(engine, f"SELECT min(timestamp) FROM events_raw WHERE {past}")
    if first <= last:
        raise DataError(
            f"{table.file}: the first event is at {first}; expected events later than {last}, the last one of"
            f" {earlier.folder}. Leave out what is there already, or {_ADVICE}"
        )


def total_repairs(repairs: Mapping[str, int], earlier: BaseData) -> dict[str, int]:
    """Return the repairs of all days."""
    before = earlier.manifest["repairs"]
    return {name: count + (before.get(name, 0) if name in _SUMMED_REPAIRS else 0) for name, count in repairs.items()}


def write_events(engine: Engine, folder: Path) -> None:
    """Write ``sound`` into a folder, in the order of the rows."""
    batches = engine.batches(f"SELECT {EVENT_COLUMNS} FROM sound ORDER BY row", _CHUNK_ROWS)
    first = next(batches)
    with parquet.ParquetWriter(
        folder / EVENTS_FILE, first.schema, compression="zstd", write_page_checksum=True
    ) as writer:
        writer.write_batch(first)
        for batch in batches:
            writer.write_batch(batch)


def manifest_entry(engine: Engine, rows: int, table: Table) -> dict[str, Any]:
    """Return what the manifest says for a later day: rows, columns, and the time of the last event."""
    return {"rows": rows, "columns": sorted(table.columns), "last": query_value(engine, "SELECT max(time) FROM sound")}


def _check_file(file: Path, events: int) -> None:
    try:
        with parquet.ParquetFile(file, page_checksum_verification=True) as opened:
            found, columns = opened.metadata.num_rows, opened.schema_arrow.names
            for _ in opened.iter_batches(_CHUNK_ROWS):  # each page against its checksum: the engines do not look
                pass
    except FileNotFoundError:
        raise ArtefactError(f"{file}: missing; {_ADVICE}") from None
    except (ArrowInvalid, OSError):
        raise ArtefactError(f"{file}: damaged or cut short; {_ADVICE}") from None
    if found != events:
        raise ArtefactError(f"{file}: {found:,} events; expected {events:,} as in the manifest; {_ADVICE}")
    if columns != EVENT_COLUMNS.split(", "):
        raise ArtefactError(f"{file}: has the columns {', '.join(columns)}; expected {EVENT_COLUMNS}; {_ADVICE}")
