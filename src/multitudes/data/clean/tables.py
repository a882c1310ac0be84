"""Read the tables of a data set, clean them, and count every repair.

The engine then has these tables:

============== ========================================================================================================
item           item_id, title, embedding (finite or null), usable (has topics or an embedding), and feature columns
known_item     item_id, item (number among all items, from 1, by id), usable
item_topic     item_id, topic, place (in the order of the list)
topic          topic, number (from 1, by name)
event          file_row, user_id, item_id, time, action, rating, source, request_id, negative, flagged, item (0 =
               unknown), known (its item is in the items table), valid
action_summary every action and source of an event: action, source, events
user_summary   every user with an event: user_id, events, first, last (times), any_valid, unknown_items
known_from     user_id, time after which the user's followed topics are known
member         every user of either table: user_id, number (from 0, by id), and feature columns
follow         user_id, topic, place; only topics that an item has
============== ========================================================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from multitudes.data import tables
from multitudes.data.clean.attribution import NO_LOGS, FeedbackLogs, attribute_events
from multitudes.data.clean.events import EventRules, aggregate_events, clean_events, is_order_only
from multitudes.data.clean.items_and_users import clean_items, clean_users
from multitudes.data.column_names import ColumnMap
from multitudes.data.engine import Engine
from multitudes.data.incremental import BaseData, check_tables_fit
from multitudes.data.tables import Table
from multitudes.errors import DataError, UsageError
from multitudes.ids import IdType
from multitudes.progress import Progress, amount, silent, step_progress

# The repairs: a name and a sentence for each, counted in every report and manifest.
REPAIRS: Mapping[str, str] = {
    "events_with_nulls": "events without user_id, item_id or timestamp: dropped",
    "duplicate_events": "events equal to another in every column: dropped",
    "repeated_events": "events with an earlier event_id of the same user and item: dropped",
    "future_events": "events more than a day later than now: dropped",
    "unsorted_events": "events earlier than the one above of the same user: sorted",
    "events_without_action": "events with a null action: kept, as action 'unknown'",
    "events_of_unknown_items": "events of items that the items table lacks: kept, unusable, never a target",
    "unknown_source_interests": "events whose source_interest is no topic of any item: kept, without a source",
    "items_with_nulls": "items without item_id: dropped",
    "duplicate_items": "items equal to another in every column: dropped",
    "items_without_topics": "items without a topic: kept",
    "items_without_features": "items with neither topics nor embedding: kept, unusable in histories",
    "broken_embeddings": "embeddings with NaN, infinity or null: taken as missing",
    "users_with_nulls": "users without user_id: dropped",
    "duplicate_users": "users equal to another in every column: dropped",
    "users_not_in_table": "users of events that the users table lacks: kept, without followed topics",
    "users_without_events": "users without any event: kept, known by their followed topics only",
    "users_with_only_invalid_events": "users without a usable event: kept, without implicit interests",
    "follows_of_unknown_topics": "follows of topics that no item has, or too few: dropped",
}


@dataclass(frozen=True)
class CleanData:
    """A summary of the clean tables."""

    tables: Mapping[str, Table]  # events, items and users, those that exist
    inputs: Mapping[str, Table]  # all that was read, by the name of its file, or "logged events" and "served"
    id_types: Mapping[str, IdType]  # of user_id and item_id
    repairs: Mapping[str, int]  # the count of each, without zeros
    attribution: Mapping[str, int]  # events by how they were attributed to served candidates; empty without logs
    warnings: tuple[str, ...]  # sentences for people
    ordered_only: bool  # whether timestamps are positions instead of times
    embedding_width: int  # 0 without embeddings
    missing: Mapping[str, Mapping[str, int]]  # nulls of each table and column with any, if they were counted


def clean_tables(
    engine: Engine,
    data: Path,
    rules: EventRules,
    progress: Progress = silent,
    logs: FeedbackLogs = NO_LOGS,
    earlier: BaseData | None = None,
    *,
    appendable: bool = False,
    column_map: ColumnMap | None = None,
    with_nulls: bool = False,
) -> CleanData:
    """Read the tables in the folder of a data set and its logs, and create the tables above in the engine.

    The events are appended to those of ``earlier``; ``appendable`` lets later ones be appended to the result.
    ``with_nulls`` counts nulls, for which every column is read.

    Raises:
        DataError: an error that cannot be repaired without guessing.
        UsageError: ``data`` is not a folder, a log is missing, or the run cannot be appended.
    """
    column_map = column_map or ColumnMap()
    engine.rename_columns(column_map)
    loaded, inputs = _load_tables(engine, data, logs, progress)
    if sentences := column_map.unused_columns():
        raise UsageError("; ".join(sentences))
    if earlier is not None and "events" in loaded and "logged" in loaded:
        raise UsageError("--events cannot be appended together with the data's own events; give one of them")
    id_types = {column: tables.table_id_type(engine, loaded, column) for column in ("user_id", "item_id")}
    served, logged = loaded.pop("served", None), loaded.pop("logged", None)
    if logged is not None:
        loaded["events"] = tables.append_logged(engine, loaded["events"], logged)
    if earlier is not None:
        check_tables_fit(earlier, loaded, id_types)
    nulls = {name: tables.count_nulls(engine, table) for name, table in loaded.items()} if with_nulls else {}
    progress(len(inputs), len(inputs) + 2, "checking items")
    repairs, width = clean_items(engine, loaded.get("items"), rules.min_topic_items)
    progress(len(inputs) + 1, len(inputs) + 2, "checking events")
    with engine.translate_read_errors(loaded["events"].file):  # each of these may read the file
        repairs |= clean_events(engine, loaded["events"], rules, earlier, appendable=appendable)
        attribution = {} if served is None else attribute_events(engine, served, logs.attribution_window_s)
        repairs |= aggregate_events(engine) | clean_users(engine, loaded.get("users"))
        ordered_only = is_order_only(engine)
    return CleanData(
        tables=loaded,
        inputs=inputs,
        id_types=id_types,
        repairs={name: count for name, count in repairs.items() if count},
        attribution=attribution,
        warnings=tuple(_warnings(engine, loaded)),
        ordered_only=ordered_only,
        embedding_width=width,
        missing={name: counts for name, counts in nulls.items() if counts},
    )


def _load_tables(
    engine: Engine, data: Path, logs: FeedbackLogs, progress: Progress
) -> tuple[dict[str, Table], dict[str, Table]]:
    """Load the tables, and return them by the name of their relation and by that of their file."""
    files = tables.find_tables(data, events_needed=logs.events is None)
    loaded, inputs, problems = dict[str, Table](), dict[str, Table](), list[str]()
    for done, (name, file) in enumerate(files.items()):
        engine.fetch(file, step_progress(progress, done, len(files) + 2))
        progress(done, len(files) + 2, f"reading {file.name}")
        try:
            loaded[name] = inputs[file.name] = tables.load_table(engine, name, file)
        except DataError as error:  # what is wrong with the other tables is said too
            problems.append(str(error))
    if problems:
        raise DataError("; ".join(problems))
    events_log = "logged" if "events" in loaded else "events"
    for log, given, table, into in (
        ("logged events", logs.events, "events", events_log),
        ("served", logs.served, "served", "served"),
    ):
        if given is not None:
            file = tables.resolve_table(given)
            engine.fetch(file, step_progress(progress, len(files), len(files) + 2))
            loaded[into] = inputs[log] = tables.load_table(engine, table, file, into)
    return loaded, inputs


def _warnings(engine: Engine, loaded: Mapping[str, Table]) -> list[str]:
    warnings = []
    if "items" not in loaded:
        warnings.append("there is no items table: items are those of the events, without topics or features")
    elif not engine.value("SELECT bool_or(usable) FROM item"):
        warnings.append("no item has topics or an embedding: validity follows from actions and flags only")
    if "users" not in loaded:
        warnings.append("there is no users table: nobody follows anything")
    elif not engine.value("SELECT count(*) FROM follow"):
        warnings.append("no user follows a topic that an item has: there will be no explicit interests")
    return warnings


def repair_text(name: str, count: int, texts: Mapping[str, str] = REPAIRS) -> str:
    """Return a repair with its count, for people; ``texts`` has the sentence of each name."""
    noun, rest = texts[name].split("s ", 1)
    return f"{amount(count, noun)} {rest}"
