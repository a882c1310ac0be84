"""A readout of many rows: seconds, processor seconds and peak memory, in a separate process."""

from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from benchmarks import SEED
from benchmarks.child_process import run_in_child
from benchmarks.timing import round_figure
from multitudes_lab.experiments.config import ReadoutConfig
from multitudes_lab.experiments.readout import analyse_experiment

DAY_S = 86_400
START = 1_767_225_600  # 2026-01-01
DAYS, BEFORE = 28, 14  # of the experiment, and of the outcomes before it
METRICS = ("saves", "saves/sessions", "hides")


class Sizes(NamedTuple):
    """Number of outcome rows, and of users."""

    rows: int
    users: int


FULL = Sizes(100_000_000, 1_000_000)
QUICK = Sizes(200_000, 5_000)


def measure(sizes: Sizes, folder: Path) -> dict[str, Any]:
    """Return time and memory of a readout of these sizes."""
    made = run_in_child(make, folder=str(folder), rows=sizes.rows, users=sizes.users)
    read = run_in_child(read_one, folder=str(folder))
    return {
        **sizes._asdict(),
        "metrics": list(METRICS),
        "memory_limit": ReadoutConfig().memory_limit,
        "outcomes_mib": round_figure(made.value),
        "seconds": round_figure(read.seconds),
        "cpu_s": round_figure(read.cpu_s),
        "peak_mib": round_figure(read.peak_mib),
        "lift": read.value,
    }


def make(folder: str, rows: int, users: int) -> float:
    """Write an experiment without a difference; return the size of the outcomes in MiB."""
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(":memory:", config={"memory_limit": "2GB", "temp_directory": str(out / "spill")}) as engine:
        engine.execute(f"""
            COPY (SELECT range AS user_id, CASE WHEN hash(range, {SEED}) % 2 = 0 THEN 'control' ELSE 'new' END AS arm,
                         {START} + hash(range, {SEED + 1}) % {DAYS // 2 * DAY_S} AS timestamp,
                         CASE WHEN range % 3 = 0 THEN 'casual' ELSE 'core' END AS cohort
                  FROM range({users})) TO '{out}/exposures.parquet'""")
        engine.execute(f"""
            COPY (SELECT CAST(floor({users} * pow((hash(range, {SEED + 2}) % 1000000) / 1e6, 2)) AS BIGINT) AS user_id,
                         {START - BEFORE * DAY_S} + range * {(DAYS + BEFORE) * DAY_S} // {rows} AS timestamp,
                         CASE hash(range, {SEED + 3}) % 10 WHEN 0 THEN 'hides' WHEN 1 THEN 'sessions'
                              WHEN 2 THEN 'sessions' ELSE 'saves' END AS metric, 1.0 AS value
                  FROM range({rows})) TO '{out}/outcomes.parquet'""")
    return (out / "outcomes.parquet").stat().st_size / 2**20


def read_one(folder: str) -> dict[str, float | None]:
    """Analyse it as ``multitudes readout`` does; return the lifts."""
    tables = Path(folder) / "exposures.parquet", Path(folder) / "outcomes.parquet"
    found = analyse_experiment(*tables, ReadoutConfig(control="control", metrics=METRICS))
    return {metric: arms["new"].lift for metric, arms in found.metrics.items()}
