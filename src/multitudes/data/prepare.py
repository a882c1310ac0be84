"""Prepare a data set: read and clean its tables, order, split and number events, and write the prepared folder."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from pydantic import Field

from multitudes.atomic import create_folder
from multitudes.config import Config
from multitudes.data import event_arrays, manifest, splits
from multitudes.data.arrays import RaggedArray, write_array, write_ragged, write_table, write_vectors
from multitudes.data.clean.attribution import NO_LOGS, FeedbackLogs
from multitudes.data.clean.events import EventRules
from multitudes.data.clean.tables import CleanData, clean_tables
from multitudes.data.column_names import ColumnMap
from multitudes.data.engine import Engine, quote_identifier
from multitudes.data.engine_config import EngineConfig, open_configured_engine
from multitudes.data.event_arrays import EventArrays
from multitudes.data.features import Features, encode
from multitudes.data.incremental import open_base, write_events
from multitudes.data.location import reject_url
from multitudes.data.prepared import PreparedData
from multitudes.data.splits import SplitRule
from multitudes.errors import DataError, MultitudesError, UsageError
from multitudes.progress import Progress, silent


class ArrowTable(Protocol):
    """A table that offers its rows in Arrow's C stream: a DataFrame of pandas or Polars, a Table of Arrow."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any: ...  # noqa: ANN401


Frame = ArrowTable | pl.LazyFrame


class PrepareConfig(Config):
    """Settings of ``prepare``."""

    split: SplitRule = Field(
        "time", description="time: cuts common to all users; user: each user's last events; leave_one_out: the last two"
    )
    validation_share: float = Field(0.1, gt=0, lt=0.5, description="share of the events for validation")
    test_share: float = Field(0.1, gt=0, lt=0.5, description="share of the events for testing")
    ties: event_arrays.TieOrder = Field(
        "file", description="order of a user's events of one time: as in the file, or shuffled (files sorted by item)"
    )
    min_item_count: int = Field(
        1, ge=0, description="training events that an item needs for the vocabulary; the others become the unknown item"
    )
    min_topic_items: int = Field(1, ge=1, description="items that a topic needs; a topic of fewer is left out")
    positive_actions: dict[str, float] = Field(
        default_factory=dict, description="weight of each action as a positive; empty: 1 for all but the negative ones"
    )
    negative_actions: tuple[str, ...] = Field(
        ("hide", "dislike", "block", "report"), description="actions that show no interest: unusable in a history"
    )
    min_rating: float | None = Field(
        None, description="events rated below stay in the history but are no positives; unset: all are positives"
    )
    follows_from_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of each user's first events, if followed topics were derived from them; 0: they were stated",
    )
    memory_limit: str = Field("4GB", description="memory of the engine; what does not fit is spilled to the disk")
    threads: int = Field(0, ge=0, le=1024, description="threads of the engine; 0: every core. Never changes the result")


# Settings that cannot change the result are not in the manifest.
_NOT_RECORDED = {"memory_limit", "threads"}
_STEPS = 10


def prepare(
    data: str | Path | None = None,
    out: str | Path | None = None,
    config: PrepareConfig | None = None,
    progress: Progress = silent,
    *,
    events: Frame | None = None,
    items: Frame | None = None,
    users: Frame | None = None,
    columns: Mapping[str, str] | None = None,
    logs: FeedbackLogs = NO_LOGS,
    engine: EngineConfig | None = None,
    append: Path | None = None,
    appendable: bool = False,
    overwrite: bool = False,
    now: int | None = None,
) -> PreparedData:
    """Prepare the tables in the folder ``data``, or those given as frames, as the new folder ``out``.

    Equal tables and settings give equal bytes. ``multitudes.data.prepared`` describes the format.

    Args:
        data: folder with events, items and users; a path, or a URL such as ``s3://bucket/shop``. None: ``events``.
        out: the folder to create.
        config: the settings; the defaults if None.
        progress: called with the steps done.
        events: the events as a pandas, Polars or Arrow table, in place of ``data``.
        items: the items, beside ``events``.
        users: the users and the topics that they follow, beside ``events``.
        columns: column of a table → canonical column, or "" for a column that is not used; the others are as they are.
        logs: the logs of a service, which add events and the topics that sourced them.
        engine: the SQL engine, with the same result; None: DuckDB on this machine.
        append: the prepared folder of earlier days, whose events come before these; it is not changed.
        appendable: whether later days can be appended; always true with ``append``.
        overwrite: replace ``out`` if it is a prepared folder.
        now: the time in seconds after which events are in the future; by default the time of the clock.

    Returns:
        The prepared folder, opened.

    Raises:
        DataError: the data cannot be used, or cannot be split as asked.
        UsageError: ``data`` is not a folder, there is neither ``data`` nor ``events``, or ``out`` is missing or exists.
        MissingError: memory or disk space ran out.
        UnavailableError: the store of a URL does not answer, or rejects the credentials.
    """
    given = {"events": events, "items": items, "users": users}
    frames = {name: frame for name, frame in given.items() if frame is not None}
    if out is None or (data is None) == (events is None) or (frames and events is None):
        raise UsageError(
            "expected a folder of tables or events=, and out=: prepare('shop', 'prepared'), or"
            " prepare(events=frame, items=frame, out='prepared')"
        )
    out, config, column_map = Path(out), config or PrepareConfig(), ColumnMap(columns)
    recorded = config.model_dump(mode="json", exclude=_NOT_RECORDED)
    earlier = None if append is None else open_base(Path(append), recorded, has_served=logs.served is not None)
    appendable = appendable or earlier is not None
    rules = EventRules(config.negative_actions, config.follows_from_share, now, config.min_topic_items)
    reject_url(out)
    with create_folder(out, "manifest.json", overwrite) as folder, _folder_of_frames(frames, folder) as tables:
        with open_configured_engine(engine, config.memory_limit, config.threads, folder) as database:
            cleaned = clean_tables(
                database,
                tables if data is None else Path(data),
                rules,
                lambda done, _, note="": progress(done, _STEPS, note),
                logs,
                earlier,
                appendable=appendable,
                column_map=column_map,
            )
            table = cleaned.tables["events"]
            entry = write_events(database, folder, table, earlier) if appendable else {}
            if cleaned.ordered_only and config.split == "time":
                raise DataError(
                    f"{table.file}: the timestamps of every user are the positions 0 to n - 1, an order without times;"
                    " expected times for the split 'time'. Choose split = 'leave_one_out' or 'user'"
                )
            actions = event_arrays.number_actions(database)
            counter = _write_events(database, cleaned, config, folder, progress)
            if not counter.positives_I.any():
                raise DataError(
                    f"{table.file}: no training event is a positive; the actions are {', '.join(actions)}."
                    " Check positive_actions, negative_actions and min_rating"
                )
            progress(9, _STEPS, "writing features")
            features = _write_features(database, cleaned, folder)
            record = manifest.build_manifest(database, cleaned, recorded, actions, counter, features) | entry
            if earlier is not None:
                record["inputs"]["earlier"] = earlier.manifest["inputs"]
            if column_map:
                record["columns"] = column_map.columns
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
    return PreparedData.open(out)


def _write_events(
    engine: Engine, cleaned: CleanData, config: PrepareConfig, folder: Path, progress: Progress
) -> manifest.EventCounter:
    """Write the events, and the ids and topics of users and items; return the counts of events."""
    arrays = EventArrays(folder, engine.value("SELECT count(*) FROM member"))
    progress(5, _STEPS, "ordering events")
    with engine.translate_read_errors(cleaned.tables["events"].file):
        sql = event_arrays.ordered_events_sql(config.ties, config.positive_actions, config.min_rating)
        arrays.write_ordered(engine, sql)
    engine.drop("event", "events_raw")
    progress(6, _STEPS, "numbering items")
    split = splits.split_function(config.split, config.validation_share, config.test_share, arrays.times)
    trained = arrays.write_splits(split, engine.value("SELECT count(*) FROM known_item"))
    number_I = event_arrays.number_items(engine, trained.events_I, config.min_item_count)
    progress(7, _STEPS, "writing items and users")
    _write_names(engine, folder)
    followed_topics, item_topics = _write_topics(engine, folder)
    progress(8, _STEPS, "numbering events")
    recent_after = None if cleaned.ordered_only or trained.last_time is None else trained.last_time - manifest.RECENT_S
    counter = manifest.EventCounter(followed_topics, item_topics, recent_after)
    for users, columns in arrays.write_items(number_I):
        counter.add(users, columns)
    write_array(folder / "item_count.npy", counter.positives_I)
    write_array(folder / "item_recent_count.npy", counter.recent_I)
    return counter


def _write_names(engine: Engine, folder: Path) -> None:
    for name, columns in (
        ("users", "user_id FROM member"),
        ("items", "item_id, title FROM item_number JOIN item USING (item_id)"),
        ("topics", "topic FROM topic"),
    ):
        write_table(folder / f"{name}.parquet", engine.frame(f"SELECT {columns} ORDER BY number"))


def _write_topics(engine: Engine, folder: Path) -> tuple[RaggedArray, RaggedArray]:
    """Write the topics that users follow and those of items; return both."""
    width = engine.value("SELECT count(*) FROM topic") + 1
    arrays = []
    for table, owner, key, first_row, values in (
        ("follow", "member", "user_id", 0, "follow_topic"),
        ("item_topic", "item_number", "item_id", 1, "item_topic"),
    ):
        sql = f"""
            SELECT {owner}.number AS row, topic.number AS value
            FROM {table} JOIN {owner} USING ({key}) JOIN topic USING (topic) ORDER BY row, place"""
        rows = first_row + engine.value(f"SELECT count(*) FROM {owner}")
        arrays.append(write_ragged(engine, sql, folder / f"{table}_offset.npy", folder / f"{values}.npy", rows, width))
    return arrays[0], arrays[1]


def _write_features(engine: Engine, cleaned: CleanData, folder: Path) -> dict[str, Features]:
    if cleaned.embedding_width:
        write_vectors(
            engine,
            "SELECT embedding FROM item_number JOIN item USING (item_id) ORDER BY number",
            folder / "item_embedding.npy",
            engine.value("SELECT count(*) FROM item_number"),
            cleaned.embedding_width,
        )
    numbered = "item_number JOIN item USING (item_id) ORDER BY item_number.number"
    items = _encode_extra_columns(engine, cleaned, "items", numbered)
    users = _encode_extra_columns(engine, cleaned, "users", "member ORDER BY number")
    blank = np.zeros((1, items.matrix.shape[1]), dtype=np.float32)
    write_array(folder / "item_feature.npy", np.concatenate([blank, items.matrix]))
    write_array(folder / "user_feature.npy", users.matrix)
    return {"items": items, "users": users}


def _encode_extra_columns(engine: Engine, cleaned: CleanData, table: str, source: str) -> Features:
    columns = cleaned.tables[table].extra if table in cleaned.tables else ()
    selected = ", ".join(quote_identifier(column) for column in columns)
    rows = engine.frame(f"SELECT {selected or '0 AS none'} FROM {source}")
    return encode(rows if columns else pl.DataFrame(height=rows.height))


@contextmanager
def _folder_of_frames(frames: Mapping[str, Frame], beside: Path) -> Iterator[Path]:
    """Yield a folder in ``beside`` with each frame as the table of its name; it is deleted at the end.

    Errors name the frame, not its file, and the argument ``columns`` in place of the option ``--map``.

    Raises:
        UsageError: one is no table.
    """
    with tempfile.TemporaryDirectory(prefix="multitudes-frames-", dir=beside) as folder:
        for name, frame in frames.items():
            _collect_frame(frame, name).write_parquet(Path(folder) / f"{name}.parquet")
        try:
            yield Path(folder)
        except MultitudesError as error:
            message = str(error)
            for name in frames:
                message = message.replace(f"{folder}/{name}.parquet", name)
            text, options, names = message.partition("--map ")
            pairs = ", ".join("{!r}: {!r}".format(*pair.split("=")) for pair in names.split(" --map ") if options)
            raise type(error)(f"{text}columns={{{pairs}}}" if options else message) from None


def _collect_frame(frame: Frame, name: str) -> pl.DataFrame:
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if not hasattr(frame, "__arrow_c_stream__"):
        raise UsageError(f"{name}: expected a table of pandas, Polars or Arrow, got {type(frame).__name__}")
    table = pl.DataFrame(frame)
    return table.drop(column for column in table.columns if column.startswith("__index_level_"))  # the index of pandas
