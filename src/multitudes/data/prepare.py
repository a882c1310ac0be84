"""From tables to the prepared folder: read, judge, order, split, number, write."""

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from multitudes.config import Config
from multitudes.data import manifest, numbering, splits, summary
from multitudes.data.address import Place, refuse_address
from multitudes.data.arrays import write_array, write_ragged, write_table, write_vectors
from multitudes.data.clean.events import Rules
from multitudes.data.clean.sources import NONE, Logs
from multitudes.data.clean.tables import Clean, clean
from multitudes.data.duck import open_engine
from multitudes.data.earlier import KEY, Earlier, keep, open_earlier, record_of
from multitudes.data.engine import Engine, quoted, value
from multitudes.data.event_arrays import EventArrays
from multitudes.data.features import Features, encode
from multitudes.data.folder import new_folder
from multitudes.data.prepared import Prepared
from multitudes.data.ragged import Ragged
from multitudes.data.spark_config import SparkConfig
from multitudes.data.spark_session import open_spark
from multitudes.data.splits import SplitRule
from multitudes.errors import DataError
from multitudes.progress import Progress, silent


class PrepareConfig(Config):
    """How tables become a prepared folder."""

    split: SplitRule = Field(
        "time", description="time: cuts common to all users; user: each user's last events; leave_one_out: the last two"
    )
    validation_share: float = Field(0.1, gt=0, lt=0.5, description="share of the events for validation")
    test_share: float = Field(0.1, gt=0, lt=0.5, description="share of the events for testing")
    ties: numbering.Ties = Field(
        "file", description="order of a user's events of one time: as in the file, or shuffled (files sorted by item)"
    )
    seed: int = Field(0, ge=0, description="seed of the shuffle of ties")
    min_item_count: int = Field(
        1, ge=0, description="training events that an item needs to be numbered; the others become the unknown item"
    )
    positive_actions: dict[str, float] = Field(
        default_factory=dict, description="weight of each action as a positive; empty: 1 for all but the negative ones"
    )
    negative_actions: tuple[str, ...] = Field(
        ("hide", "dislike", "block", "report"), description="actions that are no interest: unusable in a history"
    )
    min_rating: float | None = Field(
        None, description="events rated below stay in the history but are no positives; unset: all are positives"
    )
    follows_from_share: float = Field(
        0.0, ge=0, lt=1, description="first share of each user's events that gave the follows, if nobody stated them"
    )
    recent_s: int = Field(7 * 86_400, gt=0, description="seconds before the end of training that count as recent")
    memory_limit: str = Field("4GB", description="memory of the engine; what does not fit is spilled to the disk")
    threads: int = Field(0, ge=0, le=1024, description="threads of the engine; 0: every core. Never changes the result")


# What cannot change the result is not part of it.
_NOT_RECORDED = {"memory_limit", "threads"}
_STEPS = 10


def prepare(
    data: str | Path,
    out: str | Path,
    config: PrepareConfig | None = None,
    progress: Progress = silent,
    *,
    logs: Logs = NONE,
    spark: SparkConfig | None = None,
    append: Path | None = None,
    appendable: bool = False,
    overwrite: bool = False,
    now: int | None = None,
) -> Prepared:
    """Prepare the tables in the folder ``data`` as the new folder ``out``, whose format ``prepared`` describes.

    Equal tables and configuration give equal bytes.

    Args:
        data: folder with events, items and users; a path, or an address such as ``s3://bucket/shop``.
        out: the folder to make.
        config: see ``PrepareConfig``.
        progress: called with the steps done.
        logs: what a service has written, which adds events and tells the topics that sourced them.
        spark: run on Spark as it says, with the same result; None: on this machine, by DuckDB.
        append: the prepared folder of earlier days, whose events stand before these; it stays as it is.
        appendable: keep the sound events, so that later days can be appended; what was appended always is.
        overwrite: replace ``out`` if it is a prepared folder.
        now: the time in seconds after which events are in the future; the clock's by default.

    Raises:
        DataError: the data cannot be used, or cannot be split as asked.
        UsageError: ``data`` is no folder, or ``out`` exists.
        MissingError: memory or disk space ran out.
        UnavailableError: the store of an address does not answer, or refuses who asks.
    """
    data, out, config = Path(data), Path(out), config or PrepareConfig()
    recorded = config.model_dump(mode="json", exclude=_NOT_RECORDED)
    earlier = None if append is None else open_earlier(Path(append), recorded, logs)
    keeps = appendable or earlier is not None
    rules = Rules(config.negative_actions, config.follows_from_share, int(time.time()) if now is None else now)
    with new_folder(out, "manifest.json", overwrite) as folder:
        with opened(config, spark, folder) as engine:
            cleaned = clean(
                engine,
                data,
                rules,
                lambda done, _, note="": progress(done, _STEPS, note),
                logs,
                earlier,
                keep=keeps,
            )
            kept = _keep(engine, cleaned, earlier, folder) if keeps else {}
            if cleaned.ordered_only and config.split == "time":
                raise _no_times(cleaned.tables["events"].file)
            actions = numbering.actions(engine)
            tally = _write_events(engine, cleaned, config, folder, progress)
            if not tally.positives_I.any():
                raise _no_positives(cleaned.tables["events"].file, actions)
            progress(9, _STEPS, "writing features")
            features = _write_features(engine, cleaned, folder)
            record = manifest.of(engine, cleaned, recorded, actions, tally, features) | kept
            if earlier is not None:
                record["inputs"]["earlier"] = earlier.manifest["inputs"]
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
    return Prepared.open(out)


def _keep(engine: Engine, cleaned: Clean, earlier: Earlier | None, folder: Path) -> dict[str, Any]:
    """Write the sound events, and return what the manifest says of them."""
    events = cleaned.tables["events"]
    keep(engine, folder)
    kept = record_of(engine, events.rows + (0 if earlier is None else earlier.rows), events)
    return {KEY: kept}


@contextmanager
def opened(config: PrepareConfig, spark: SparkConfig | None, beside: Path | None = None) -> Iterator[Engine]:
    """Yield the engine that was asked for, and take what it spills away; ``beside`` is the folder for that."""
    folder = beside
    if spark is not None and spark.scratch is not None:
        refuse_address(spark.scratch)
        folder = spark.scratch
    with tempfile.TemporaryDirectory(prefix="multitudes-engine-", dir=folder) as scratch:
        if spark is None:
            with open_engine(Path(scratch), config.memory_limit, config.threads) as engine:
                yield engine
        else:
            with open_spark(Path(scratch), spark) as engine:
                yield engine


def _no_times(events: Place) -> DataError:
    return DataError(
        f"{events}: the timestamps of every user are the positions 0 to n - 1, an order"
        " without times; expected times for the split 'time'. Choose split = 'leave_one_out' or 'user'"
    )


def _no_positives(events: Place, actions: list[str]) -> DataError:
    return DataError(
        f"{events}: no training event is a positive; the actions are {', '.join(actions)}."
        " Check positive_actions, negative_actions and min_rating"
    )


def _write_events(
    engine: Engine, cleaned: Clean, config: PrepareConfig, folder: Path, progress: Progress
) -> summary.Tally:
    """Write the events, and the names and topics of what they are numbered by; return what was counted of them."""
    arrays = EventArrays(folder, value(engine, "SELECT count(*) FROM member"))
    progress(5, _STEPS, "ordering events")
    with engine.reading(cleaned.tables["events"].file):
        arrays.order(engine, numbering.ordered(config.ties, config.seed, config.positive_actions, config.min_rating))
    engine.drop("event", "events_raw")
    progress(6, _STEPS, "numbering items")
    split = splits.rule(config.split, config.validation_share, config.test_share, arrays.times)
    trained = arrays.part(split, value(engine, "SELECT count(*) FROM known_item"))
    number_I = numbering.items(engine, trained.events_I, config.min_item_count)
    progress(7, _STEPS, "writing items and users")
    _write_names(engine, folder)
    follows, topics = _write_topics(engine, folder)
    progress(8, _STEPS, "numbering events")
    recent_after = None if cleaned.ordered_only or trained.last is None else trained.last - config.recent_s
    tally = summary.Tally(follows, topics, recent_after)
    for users, columns in arrays.number(number_I):
        tally.add(users, columns)
    write_array(folder / "item_count.npy", tally.positives_I)
    write_array(folder / "item_recent_count.npy", tally.recent_I)
    return tally


def _write_names(engine: Engine, folder: Path) -> None:
    tables = {
        "users": "SELECT user_id FROM member ORDER BY number",
        "items": "SELECT item_id, title FROM item_number JOIN item USING (item_id) ORDER BY number",
        "topics": "SELECT topic FROM topic ORDER BY number",
    }
    for name, sql in tables.items():
        write_table(folder / f"{name}.parquet", engine.frame(sql))


def _write_topics(engine: Engine, folder: Path) -> tuple[Ragged, Ragged]:
    """Write the topics that users follow and those of items, and return both."""
    of_users = """
        SELECT member.number AS row, topic.number AS value
        FROM follow JOIN member USING (user_id) JOIN topic USING (topic) ORDER BY row, place"""
    of_items = """
        SELECT item_number.number AS row, topic.number AS value
        FROM item_topic JOIN item_number USING (item_id) JOIN topic USING (topic) ORDER BY row, place"""
    users = value(engine, "SELECT count(*) FROM member")
    items = value(engine, "SELECT count(*) FROM item_number")
    width = value(engine, "SELECT count(*) FROM topic") + 1
    return (
        Ragged(
            *write_ragged(engine, of_users, folder / "follow_offset.npy", folder / "follow_topic.npy", users), width
        ),
        Ragged(
            *write_ragged(engine, of_items, folder / "item_topic_offset.npy", folder / "item_topic.npy", items + 1),
            width,
        ),
    )


def _write_features(engine: Engine, cleaned: Clean, folder: Path) -> dict[str, Features]:
    if cleaned.embedding_width:
        write_vectors(
            engine,
            "SELECT embedding FROM item_number JOIN item USING (item_id) ORDER BY number",
            folder / "item_embedding.npy",
            value(engine, "SELECT count(*) FROM item_number"),
            cleaned.embedding_width,
        )
    items = encode(
        _extra(engine, cleaned, "items", "item_number JOIN item USING (item_id) ORDER BY item_number.number")
    )
    users = encode(_extra(engine, cleaned, "users", "member ORDER BY number"))
    blank = np.zeros((1, items.matrix.shape[1]), dtype=np.float32)
    write_array(folder / "item_feature.npy", np.concatenate([blank, items.matrix]))
    write_array(folder / "user_feature.npy", users.matrix)
    return {"items": items, "users": users}


def _extra(engine: Engine, cleaned: Clean, table: str, source: str) -> pl.DataFrame:
    columns = cleaned.tables[table].extra if table in cleaned.tables else ()
    selected = ", ".join(quoted(column) for column in columns)
    rows = engine.frame(f"SELECT {selected or '0 AS none'} FROM {source}")
    return rows if columns else pl.DataFrame(height=rows.height)
