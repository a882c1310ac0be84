"""``python -m benchmarks.page``: records/speed.md, from the JSON of ``python -m benchmarks.train`` alone."""

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.markdown import format_number, format_spread, table
from benchmarks.train import RESULTS
from multitudes.atomic import write_text

_HEAD = """# The speed of training

Written by `python -m benchmarks.page` from `benchmarks/results/speed.json`; do not edit. Measure on your own machine
with `make bench`.

{when}, {threads} thread(s), on {cpu}, {cores} cores, {memory_gib} GiB, {os}. {packages}. Seed {seed}. Load {before} to
{after}: the number of processes that wanted a core in the last minute, before and after; where it is above the number
of cores, others were at work and times by the wall are too long. *CPU* is processor time, of all threads together.

A planted world; a target is one positive to be predicted. A figure is the median over epochs, with minimum–maximum; the
first epoch is a warm-up and not counted in targets/s.
"""


def page(record: Mapping[str, Any]) -> str:
    """Return the page for a record."""
    packages = ", ".join(f"{name} {version}" for name, version in record["versions"].items() if version)
    about = record["machine"] | record["load"] | {"packages": packages, "seed": record["seeds"][0]}
    runs = record["figures"]["runs"]
    rows = [
        [
            run["case"],
            run["method"],
            *(f"{run[name]:,}" for name in ("width", "history", "batch_size", "window")),
            format_number(run["mean_history"]),
            format_spread(run["targets_per_s"]),
            format_number(run["step_ms"]),
            format_number(run["step_cpu_ms"]),
            format_number(run["peak_mib"]),
        ]
        for run in runs
    ]
    head = [
        "case",
        "method",
        "d",
        "L",
        "batch",
        "window",
        "mean history",
        "targets/s",
        "ms a step",
        "CPU ms a step",
        "peak MiB",
    ]
    labels = [f"{run['method']}, {run['case']}" for run in runs]
    lines = [
        *table(head, rows),
        "Share of the time of all steps:",
        "",
        *_parts_table(labels, [run["parts"] for run in runs]),
    ]
    return "\n".join([_HEAD.format(**record, **about), *lines])


def _parts_table(labels: list[str], parts: list[dict[str, float]]) -> list[str]:
    """Return a table with a row for each part, the largest first, and a column with its share for each run."""
    largest = {name: max(own.get(name, 0.0) for own in parts) for own in parts for name in own}
    names = sorted(largest, key=lambda name: (name == "rest", -largest[name]))
    return table(["part", *labels], [[n, *(f"{own[n]:.1%}" if n in own else "" for own in parts)] for n in names])


if __name__ == "__main__":
    record = json.loads(RESULTS.read_text(encoding="utf-8"))
    write_text(ROOT / "records" / "speed.md", page(record))
