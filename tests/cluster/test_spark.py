"""Spark prepares what DuckDB prepares, byte for byte."""

import shutil
from typing import Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("pyspark", reason="needs pyspark: make test-cluster")

from multitudes.data.clean.attribution import FeedbackLogs
from multitudes.data.engine import Extent
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.validate import validate
from multitudes.errors import ArtefactError, DataError
from multitudes_spark.engine import read_batches
from multitudes_spark.session import open_spark
from tests.cluster.engines import by
from tests.cluster.hostile import differing, write_hostile
from tests.data.tables import NOW, events, write

WAYS: dict[str, dict[str, Any]] = {
    "time": {
        "ties": "shuffle",
        "follows_from_share": 0.3,
        "min_rating": 3.0,
        "positive_actions": {"save": 0.1, "it's": 2.5, "": 1},
    },
    "user": {"min_item_count": 3, "validation_share": 0.15},
    "leave_one_out": {"negative_actions": ("hide", "it's")},
}


def both(folder, data, spark, settings, **others):
    """Prepare by both engines and return the files that differ."""
    config = PrepareConfig.model_validate({"threads": 1, **settings})
    prepare(data, folder / "duckdb", config, now=NOW, **others)
    prepare(data, folder / "spark", config, now=NOW, engine=by(spark), **others)
    return differing(folder / "duckdb", folder / "spark")


@pytest.mark.parametrize("split", WAYS)
def test_hostile_tables_prepare_to_the_same_bytes(tmp_path, spark, split):
    data = write_hostile(tmp_path / "data")
    assert both(tmp_path, data, spark, {"split": split, **WAYS[split]}) == []


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_what_is_no_parquet_is_read_to_the_same(tmp_path, spark, suffix):
    data = write_hostile(tmp_path / "data")
    table = pl.concat([pl.read_parquet(part) for part in sorted((data / "events").iterdir())])
    shutil.rmtree(data / "events")
    if suffix == ".csv":
        table.write_csv(data / "events.csv")
    else:
        table.drop("rating").write_ndjson(data / "events.jsonl")
    assert both(tmp_path, data, spark, {"split": "user"}) == []


def test_validate_says_the_same(tmp_path, spark):
    data = write_hostile(tmp_path / "data")
    assert validate(data, now=NOW, engine=by(spark)) == validate(data, now=NOW)


def test_what_was_served_explains_the_same_events(tmp_path, spark):
    data = write_hostile(tmp_path / "data")
    table = pl.concat([pl.read_parquet(part) for part in sorted((data / "events").iterdir())]).drop_nulls("timestamp")
    served = table.select(
        "user_id",
        "item_id",
        pl.col("timestamp") - 5,
        request_id="event_id",
        rank=pl.lit(1),
        condition=pl.when(pl.col("action") == "save").then(pl.lit("art")),
    )
    (tmp_path / "served").mkdir()
    served.drop_nulls(["user_id", "item_id"]).write_parquet(tmp_path / "served" / "part.parquet")
    assert both(tmp_path, data, spark, {"split": "user"}, logs=FeedbackLogs(served=tmp_path / "served")) == []


def test_a_part_that_is_cut_short_is_named(tmp_path, spark):
    data = write_hostile(tmp_path / "data")
    part = data / "events" / "c-2.parquet"
    part.write_bytes(part.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"c-2\.parquet: cannot be read"):
        prepare(data, tmp_path / "out", now=NOW, engine=by(spark))
    assert not (tmp_path / "out").exists()


def test_a_day_is_appended_to_the_same(tmp_path, spark):
    data, later = write(tmp_path / "first"), write(tmp_path / "later", events=events(timestamp=range(1_000, 1_006)))
    config = PrepareConfig(split="user", ties="shuffle", threads=1)
    for name, engine in (("duckdb", None), ("spark", by(spark))):
        one = prepare(data, tmp_path / f"{name}-1", config, now=NOW, engine=engine, appendable=True)
        prepare(later, tmp_path / f"{name}-2", config, now=NOW, engine=engine, append=one.path)
    different = differing(tmp_path / "duckdb-2", tmp_path / "spark-2")
    assert [name for name in different if name != "sound.parquet"] == []


def test_columns_of_other_names_are_mapped_alike(tmp_path, spark):
    data = write(tmp_path / "data", events=events().rename({"user_id": "uid"}), items=None)
    (data / "items.csv").write_text("item_id,genres,spare\n10,art,1\n20,art|food,2\n30,sea,3\n")
    config, columns = PrepareConfig(split="user", threads=1), {"uid": "user_id", "genres": "topics", "spare": ""}
    for name, engine in (("duckdb", None), ("spark", by(spark))):
        prepare(data, tmp_path / name, config, now=NOW, engine=engine, columns=columns)
    assert differing(tmp_path / "duckdb", tmp_path / "spark") == []


def test_a_table_that_is_replaced_and_shards_that_were_read_leave_the_disk(tmp_path, spark):
    def kept():
        return [folder.name for folder in tmp_path.glob("result-*")]

    with open_spark(tmp_path, spark) as engine:
        engine.create_table("counted", "SELECT 1 AS n")
        (first,) = kept()
        engine.create_table("counted", "SELECT n + 1 AS n FROM counted")
        assert len(kept()) == 1
        assert kept() != [first]
        assert sum(batch.num_rows for batch in engine.batches("SELECT n FROM counted", 10)) == 1
        assert engine.rows("SELECT n FROM counted") == [(2,)]
        assert len(kept()) == 1
        engine.drop("counted")
        assert kept() == []


def test_ranges_of_a_number_are_in_order_one_behind_the_other(tmp_path, spark):
    drawn = np.random.default_rng(0)
    table = pl.DataFrame({"number": drawn.integers(0, 40, 500), "time": drawn.integers(0, 9, 500), "row": range(500)})
    sql = "SELECT number, row FROM t ORDER BY t.number, t.time, md5_number_lower('0:' || row)"
    with open_spark(tmp_path, spark) as engine:
        engine.insert_frame("t", table)
        parted = list(engine.batches(sql, 64, Extent(rows=7_000_000, n_keys=40)))
        whole = list(engine.batches(sql, 64))
    assert len(parted) > len(whole)
    assert pl.DataFrame(pl.from_arrow(parted)).equals(pl.DataFrame(pl.from_arrow(whole)))


@pytest.mark.parametrize(("second", "so"), [([5, 9], True), ([None, 5], True), ([4, 9], False), ([9, 8], False)])
def test_times_that_rise_from_file_to_file_are_known_to(tmp_path, spark, second, so):
    (tmp_path / "events").mkdir()
    for name, times in (("a", [1, None, 5]), ("b", second)):
        pl.DataFrame({"timestamp": times}).write_parquet(tmp_path / "events" / f"{name}.parquet")
    with open_spark(tmp_path, spark) as engine:
        source = engine.file_relation("events", tmp_path / "events")
        engine.load("events_raw", f"SELECT * FROM {source}", tmp_path / "events")
        assert engine.is_sorted("events_raw", "timestamp", "true") is so
        assert not engine.is_sorted("events_raw", "other", "true")
        engine.create_table("events_raw", "SELECT 1 AS timestamp")
        assert not engine.is_sorted("events_raw", "timestamp", "true")


def test_a_shard_that_is_missing_or_cut_short_is_named(tmp_path):
    shard = tmp_path / "part-00001.parquet"
    with pytest.raises(ArtefactError, match=r"part-00001\.parquet: missing"):
        list(read_batches(shard, 10))
    events().write_parquet(shard)
    assert sum(batch.num_rows for batch in read_batches(shard, 10)) == len(events())
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(ArtefactError, match=r"part-00001\.parquet: damaged"):
        list(read_batches(shard, 10))
