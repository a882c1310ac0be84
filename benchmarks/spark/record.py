"""Where the figures of Spark are kept."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from multitudes.disk import write_json

RESULTS = ROOT / "benchmarks" / "results" / "spark.json"
PACKAGES = ("multitudes", "duckdb", "pyspark", "sqlglot", "polars", "pyarrow")


def keep(out: Path, part: str, name: str, record: Mapping[str, Any]) -> None:
    """Put a record into ``out``, in the place of an earlier one of the same tables."""
    kept = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    kept.setdefault(part, {})[name] = record
    write_json(out, kept)
