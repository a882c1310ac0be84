"""``python -m benchmarks.spark FOLDER …``: prepare tables with DuckDB and with Spark, and record the cost as JSON.

Runs where multitudes-spark is installed.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import MeasurementContext
from benchmarks.records import save_record
from benchmarks.spark.comparison import PACKAGES, RESULTS, compare_engines
from multitudes.data.prepare import PrepareConfig
from multitudes_spark.session import SparkConfig


def main() -> None:
    """Measure, and keep what was measured of other tables; end with 1 where the engines differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spark", description="Compare Spark with DuckDB.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="events, items and users")
    parser.add_argument("--split", default="user", help="time, user or leave_one_out")
    parser.add_argument("--ties", default="shuffle", help="file or shuffle")
    parser.add_argument("--cores", type=int, default=2, help="of both engines")
    parser.add_argument("--memory", default="2g", help="of Spark's driver")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    config = PrepareConfig(split=given.split, ties=given.ties, threads=given.cores)
    spark = SparkConfig(master=f"local[{given.cores}]", memory=given.memory)
    equal = True
    for data in given.folders:
        circumstances = MeasurementContext()
        with tempfile.TemporaryDirectory(prefix="multitudes-spark-", dir=given.out.parent) as folder:
            figures = compare_engines(data, Path(folder), config, spark)
        print(f"{data.name}, {given.split}: {json.dumps(figures)}", file=sys.stderr, flush=True)
        save_record(
            given.out, "took", f"{data.name}, {given.split}", {**circumstances.head(PACKAGES), "figures": figures}
        )
        equal = equal and not figures["differing"]
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
