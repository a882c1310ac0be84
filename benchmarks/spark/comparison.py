"""The same tables prepared by DuckDB and by Spark, each in its own process: seconds, memory, and differing files.

Linux only: the figures of the JVM come from /proc.
"""

import json
import os
from pathlib import Path
from typing import Any

from benchmarks.child_process import ChildResult, peak_mib, run_in_child
from benchmarks.machine import ROOT
from benchmarks.timing import round_figure
from multitudes.data.engine_config import EngineConfig
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.table_files import table_sha256
from multitudes_spark.session import SparkConfig

RESULTS = ROOT / "benchmarks" / "results" / "spark.json"
PACKAGES = ("multitudes", "duckdb", "pyspark", "sqlglot", "polars", "pyarrow")
NOW = 2**31  # both engines use the same time, after which an event is in the future


def compare_engines(data: Path, folder: Path, config: PrepareConfig, spark: SparkConfig) -> dict[str, Any]:
    """Return the cost of each engine to prepare ``data``, each in its own process, and the files that differ."""
    settings = config.model_dump(mode="json")
    duckdb, other = folder / "duckdb", folder / "spark"
    by_duckdb = run_in_child(prepare_in_child, data=str(data), out=str(duckdb), config=settings, spark=None)
    by_spark = run_in_child(
        prepare_in_child, data=str(data), out=str(other), config=settings, spark=spark.model_dump(mode="json")
    )
    files, different = differing_files(duckdb, other)
    return {
        "events": json.loads((duckdb / "manifest.json").read_text(encoding="utf-8"))["counts"]["events"],
        "config": settings,
        "spark": spark.model_dump(mode="json"),
        "files": files,
        "differing": different,
        "duckdb": _figures(by_duckdb),
        "spark_took": _figures(by_spark),
        "times_duckdb": {
            "seconds": round_figure(by_spark.seconds / by_duckdb.seconds),
            "cpu_s": round_figure(_figures(by_spark)["cpu_s"] / _figures(by_duckdb)["cpu_s"]),
        },
    }


def prepare_in_child(data: str, out: str, config: dict[str, Any], spark: dict[str, Any] | None) -> dict[str, float]:
    """Prepare, and return the cost of the JVM besides this process; zero without Spark."""
    engine = None if spark is None else EngineConfig(kind="spark", options=spark)
    prepare(data, out, PrepareConfig.model_validate(config), engine=engine, now=NOW)
    machines = _children()
    return {"cpu_s": sum(map(_cpu_s, machines)), "peak_mib": sum(map(peak_mib, machines))}


def _children() -> list[int]:
    return [int(child) for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii").split()]


def _cpu_s(process: int) -> float:
    user, system = Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _figures(outcome: ChildResult) -> dict[str, float]:
    return {
        "seconds": round_figure(outcome.seconds),
        "cpu_s": round_figure(outcome.cpu_s + outcome.value["cpu_s"]),
        "peak_mib": round_figure(outcome.peak_mib + outcome.value["peak_mib"]),
    }


def differing_files(one: Path, other: Path) -> tuple[int, list[str]]:
    """Return how many files there are, and which are not byte for byte the same in both folders."""
    names = sorted({file.name for made in (one, other) for file in made.iterdir()})
    return len(names), [name for name in names if _digest(one / name) != _digest(other / name)]


def _digest(file: Path) -> str | None:
    return table_sha256(file) if file.is_file() else None
