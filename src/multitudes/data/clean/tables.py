"""From the tables as they were read to tables that hold what they promise, with every repair counted.

========== =========================================================================================================
item       item_id, title, embedding (finite or null), usable (has topics or an embedding), and feature columns
known_item item_id, item (number among all items, from 1, by id), usable
item_topic item_id, topic, place (in the order of the list)
topic      topic, number (from 1, by name)
event      file_row, user_id, item_id, time, action, rating, source, request_id, negative, flagged, item (0 = unknown),
           known (the item is), valid
acted      action, unknown_items, unknown_sources (events of each); every action
active     user_id, events, first, last (times), any_valid; every user of an event
known_from user_id, time: the moment at which the user's follows are known
member     user_id, number (from 0, by id), and feature columns; every user of either table
follow     user_id, topic, place; only topics that an item has
========== =========================================================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from multitudes.data import tables
from multitudes.data.clean import attribution as sources
from multitudes.data.clean import events, items_and_users
from multitudes.data.clean.attribution import FeedbackLogs
from multitudes.data.clean.events import EventRules
from multitudes.data.engine import Engine, query_value
from multitudes.data.incremental import BaseData, reject_other_tables
from multitudes.data.tables import Table
from multitudes.errors import UsageError
from multitudes.ids import IdType
from multitudes.progress import Progress, silent


@dataclass(frozen=True)
class CleanData:
    """What is known once the tables stand.

    Attributes:
        tables: events, items and users; what is not there is missing.
        inputs: every table that was read, by the name of its file or by what it is.
        kinds: "int64" or "string", of user_id and item_id.
        repairs: how often each was made; none that was not.
        sources: how many events found their source in what was served, by way; empty where nothing was given.
        warnings: sentences.
        ordered_only: the timestamps are positions, not times.
        embedding_width: 0 without embeddings.
    """

    tables: Mapping[str, Table]
    inputs: Mapping[str, Table]
    id_types: Mapping[str, IdType]
    repairs: Mapping[str, int]
    attribution: Mapping[str, int]
    warnings: tuple[str, ...]
    ordered_only: bool
    embedding_width: int


def clean_tables(
    engine: Engine,
    data: Path,
    rules: EventRules,
    progress: Progress = silent,
    logs: FeedbackLogs = sources.NO_LOGS,
    earlier: BaseData | None = None,
    *,
    keep: bool = False,
) -> CleanData:
    """Read the folder ``data``, and the logs beside it, and build the tables above in the engine.

    Raises:
        DataError: something cannot be repaired without guessing.
        UsageError: ``data`` is no folder, a log is not there, or what is asked for cannot be appended.
    """
    found, inputs = _load_tables(engine, data, logs, progress)
    if earlier is not None and "events" in found and "logged" in found:
        raise UsageError("--events beside the data's own events cannot be appended; give one of them")
    kinds = {column: tables.table_id_type(engine, found, column) for column in ("user_id", "item_id")}
    served, logged = found.pop("served", None), found.pop("logged", None)
    if logged is not None:
        found["events"] = tables.append_table(engine, "events", found["events"], logged, "logged")
    if earlier is not None:
        reject_other_tables(earlier, found, kinds)
    progress(len(inputs), len(inputs) + 2, "checking items")
    repairs, width = items_and_users.clean_items(engine, found.get("items"))
    progress(len(inputs) + 1, len(inputs) + 2, "checking events")
    with engine.translate_read_errors(found["events"].file):  # which may lie where it was, and be read by each of these
        repairs |= events.clean_events(engine, found["events"], rules, earlier, keep=keep)
        explained = {} if served is None else sources.attribute_events(engine, served, logs.attribution_window_s)
        repairs |= events.aggregate_events(engine) | items_and_users.clean_users(engine, found.get("users"))
        ordered_only = events.is_order_only(engine)
    return CleanData(
        tables=found,
        inputs=inputs,
        id_types=kinds,
        repairs={name: count for name, count in repairs.items() if count},
        attribution=explained,
        warnings=tuple(_warnings(engine, found)),
        ordered_only=ordered_only,
        embedding_width=width,
    )


def _load_tables(
    engine: Engine, data: Path, logs: FeedbackLogs, progress: Progress
) -> tuple[dict[str, Table], dict[str, Table]]:
    """Return the tables, by the name of their relation and by that of their file."""
    files = tables.find_tables(data, events_needed=logs.events is None)
    found, inputs = {}, {}
    for done, (name, file) in enumerate(files.items()):
        engine.fetch(file, _fetch_progress(progress, done, len(files) + 2))
        progress(done, len(files) + 2, f"reading {file.name}")
        found[name] = inputs[file.name] = tables.load_table(engine, name, file)
    noting = _fetch_progress(progress, len(files), len(files) + 2)
    if logs.events is not None:
        behind = "logged" if "events" in found else "events"
        file = tables.resolve_table(logs.events)
        engine.fetch(file, noting)
        found[behind] = inputs["logged events"] = tables.load_table(engine, "events", file, behind)
    if logs.served is not None:
        file = tables.resolve_table(logs.served)
        engine.fetch(file, noting)
        found["served"] = inputs["served"] = tables.view_table(engine, "served", file)
    return found, inputs


def _fetch_progress(progress: Progress, done: int, total: int) -> Progress:
    """Return a progress that says what of a table has come, within one step of ``progress``."""
    return lambda come, all_, note="": progress(done, total, f"{note}, {come:,} of {all_:,} MiB")


def _warnings(engine: Engine, found: Mapping[str, Table]) -> list[str]:
    warnings = []
    if "items" not in found:
        warnings.append("there is no items table: items are those of the events, without topics or features")
    elif not query_value(engine, "SELECT bool_or(usable) FROM item"):
        warnings.append("no item has topics or an embedding: validity follows from actions and flags only")
    if "users" not in found:
        warnings.append("there is no users table: nobody follows anything")
    elif not query_value(engine, "SELECT count(*) FROM follow"):
        warnings.append("no user follows a topic that an item has: there will be no explicit interests")
    return warnings
