"""The executors of Spark give the answers that one process gives, each user once."""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from tests.release.small_release import publish_small

from multitudes.batch_inference.recommender import BatchConfig, BatchRecommender
from multitudes.errors import ArtefactError
from multitudes.release.delta_log import release_identity
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.item_updates import remove_items
from multitudes_spark.batch import _recommend_partition, _updates, recommend

CONFIG = BatchConfig(n=4, vectors=True)
USERS = {
    "user_id": ["ann", "bob", "eve", "new", "zed"],
    "history": [None, None, None, [101, 111], None],
    "followed_topics": [None, None, None, ["Crime"], None],
}


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    publish_small(tmp_path / "releases")
    return tmp_path / "releases"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_executors_answer_as_one_process_does(releases: Path, tmp_path: Path):
    sql = pytest.importorskip("pyspark.sql", reason="pyspark is not installed")
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("there is no Java")
    pl.DataFrame(USERS).write_parquet(tmp_path / "users.parquet")
    builder = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    for address in ("bindAddress", "host"):
        builder = builder.config(f"spark.driver.{address}", "127.0.0.1")
    spark = builder.getOrCreate()
    try:
        users = spark.read.parquet(str(tmp_path / "users.parquet")).repartition(3)
        recommend(users, releases, CONFIG).write.parquet(str(tmp_path / "out"))
    finally:
        spark.stop()
    got = pl.read_parquet(tmp_path / "out" / "*.parquet").sort("user_id").to_dicts()
    assert got == BatchRecommender(releases, CONFIG).recommend(pa.table(USERS)).to_pylist()


def test_a_worker_that_stays_opens_the_release_of_the_next_job(releases: Path, tmp_path: Path):
    """Spark keeps workers; the next job may find other items, or another release, at the same path."""
    folder = ReleaseStore(releases).folder()

    def job() -> partial[Iterator[pa.RecordBatch]]:
        return partial(_recommend_partition, str(folder), release_identity(folder), _updates(folder), CONFIG)

    def items(run: Callable[..., Iterator[pa.RecordBatch]]) -> set[int]:
        (batch,) = run(iter(pa.table(USERS).to_batches()))
        return {candidate["item_id"] for found in batch.to_pydict()["candidates"] for candidate in found}

    first = job()
    gone = min(items(first))
    pl.DataFrame({"item_id": [gone]}).write_parquet(tmp_path / "gone.parquet")
    remove_items(releases, tmp_path / "gone.parquet")
    assert gone in items(first), "the control: the job goes on with what it began with"
    assert gone not in items(job())
    before = job()
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text() + " ")
    with pytest.raises(ArtefactError, match="not the release that the driver opened"):
        items(before)
