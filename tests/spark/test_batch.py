"""The executors of Spark give the answers that one process gives, each user once."""

import os
import shutil
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from tests.release.small_release import publish_small

from multitudes.batch_inference.recommender import BatchConfig, BatchRecommender
from multitudes_spark.batch import recommend

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
