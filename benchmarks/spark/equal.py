"""``python -m benchmarks.spark.equal FOLDER …``: list differing files, for data sets in one Spark session.

A running JVM is several times as fast as one that starts, so this measures no times.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from pyspark.sql import SparkSession

from benchmarks.machine import MeasurementContext
from benchmarks.records import save_record
from benchmarks.spark.comparison import NOW, PACKAGES, RESULTS, differing_files
from multitudes.data.engine_config import EngineConfig
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes_spark.session import SparkConfig


def main() -> None:
    """Compare, and keep what was found; end with 1 where the engines differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spark.equal", description="Compare Spark with DuckDB.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="events, items and users")
    parser.add_argument("--split", nargs="+", default=["user"], help="time, user or leave_one_out")
    parser.add_argument("--memory", default="2g", help="of Spark's driver")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    spark = SparkConfig(master="local[2]", memory=given.memory)
    session = (
        SparkSession.builder.master(spark.master)
        .config("spark.driver.memory", spark.memory)
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    found = [_compare_files(data, split, spark, given.out) for data in given.folders for split in given.split]
    session.stop()
    sys.exit(1 if any(found) else 0)


def _compare_files(data: Path, split: str, spark: SparkConfig, out: Path) -> list[str]:
    """Return the names of the files that differ."""
    circumstances = MeasurementContext()
    config = PrepareConfig.model_validate({"split": split, "ties": "shuffle", "threads": 1})
    with tempfile.TemporaryDirectory(prefix="multitudes-spark-", dir=out.parent) as name:
        folder = Path(name)
        made = prepare(data, folder / "duckdb", config, now=NOW)
        prepare(data, folder / "spark", config, engine=EngineConfig(kind="spark", options=spark.model_dump()), now=NOW)
        files, different = differing_files(folder / "duckdb", folder / "spark")
        figures = {"events": made.manifest["counts"]["events"], "files": files, "differing": different}
    print(f"{data.name}, {split}: {json.dumps(figures)}", file=sys.stderr, flush=True)
    save_record(out, "equal", f"{data.name}, {split}", {**circumstances.head(PACKAGES), "figures": figures})
    return different


if __name__ == "__main__":
    main()
