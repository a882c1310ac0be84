"""``python -m benchmarks.spark.page docs/spark.md``: write the tables of costs and of equal data sets."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reference.markdown import replace_table

from benchmarks.machine import ROOT
from benchmarks.markdown import format_number, table

BEGIN = "<!-- speed: written by `python -m benchmarks.spark.page docs/spark.md` -->"
EQUAL = "<!-- equal: written by `python -m benchmarks.spark.page docs/spark.md` -->"
RESULTS = ROOT / "benchmarks" / "results" / "spark.json"
_CLOCKS = ("cpu_s", "seconds")


def update_page(page: str, results: Mapping[str, Any]) -> str:
    """Return a page with the figures between their marks."""
    page = replace_table(BEGIN, "\n".join(speed_table(results["took"])).strip(), page)
    return replace_table(EQUAL, "\n".join(equality_table(results["equal"])).strip(), page)


def speed_table(took: Mapping[str, Any]) -> Iterator[str]:
    """Yield what both engines took, from the smallest tables to the largest."""
    head = ["events", *(f"{clock}, {who}" for clock in ("CPU s", "seconds") for who in ("DuckDB", "Spark", "ratio"))]
    head += ["peak MiB, DuckDB", "Spark", "load", "files that differ"]
    records = sorted(took.values(), key=lambda record: record["figures"]["events"])
    yield from table(head, [_row(record) for record in records])


def equality_table(compared: Mapping[str, Any]) -> Iterator[str]:
    """Yield which sets were compared."""
    rows = [
        [name, _events(record), str(record["figures"]["files"]), _differing(record)]
        for name, record in sorted(compared.items())
    ]
    yield from table(["set, split", "events", "files", "that differ"], rows)


def _events(record: Mapping[str, Any]) -> str:
    return f"{record['figures']['events']:,}"


def _row(record: Mapping[str, Any]) -> list[str]:
    figures = record["figures"]
    duckdb, spark, ratio = figures["duckdb"], figures["spark_took"], figures["times_duckdb"]
    clocks = [format_number(one[clock]) for clock in _CLOCKS for one in (duckdb, spark, ratio)]
    peaks = [format_number(one["peak_mib"]) for one in (duckdb, spark)]
    load = f"{record['load']['before']:g} to {record['load']['after']:g}"
    return [_events(record), *clocks, *peaks, load, _differing(record)]


def _differing(record: Mapping[str, Any]) -> str:
    return ", ".join(record["figures"]["differing"]) or "none"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    record = json.loads(RESULTS.read_text(encoding="utf-8"))
    page.write_text(update_page(page.read_text(encoding="utf-8"), record), encoding="utf-8")
