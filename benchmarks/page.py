"""``python -m benchmarks.page``: records/speed.md, from the JSON of ``python -m benchmarks.train`` alone."""

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.cost import RESULTS as COST
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

_GPU_GFLOPS, _GPU_GB_PER_S, _BILLION_TARGETS = 60_000, 3_000, 3 * 680_000_000
_COST_HEAD = """
## FLOPs and bytes of a target

`python -m benchmarks.cost`, {when}: products of matrices forward and backward, and what operations read and write, by
target. The best GEMM of 512² in float32 reaches {gemm} GFLOP/s here. **Bold is assumed**, not measured: a GPU of
60 TFLOP/s in float32 and 3 TB/s, at the share of a GEMM that this machine reaches, or bound by bytes; *hours* are
those of three epochs of a billion events, of which 68 % are targets.
"""


def page(record: Mapping[str, Any], cost: Mapping[str, Any] | None = None) -> str:
    """Return the page for a record, and that of the cost of a target."""
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
    sizes = ["d", "L", "batch", "window", "mean history"]
    head = ["case", "method", *sizes, "targets/s", "ms a step", "CPU ms a step", "peak MiB"]
    labels = [f"{run['method']}, {run['case']}" for run in runs]
    lines = [
        *table(head, rows),
        "Share of the time of all steps:",
        "",
        *_parts_table(labels, [run["parts"] for run in runs]),
        *(cost_section(cost) if cost else []),
    ]
    return "\n".join([_HEAD.format(**record, **about), *lines])


def cost_section(cost: Mapping[str, Any]) -> list[str]:
    """Return the lines on FLOPs and bytes of a target, reached on this machine and assumed of a GPU."""
    gemm, rows = cost["gemm_gflops"], []
    for run in cost["runs"]:
        reached = run["flops"] * run["targets_per_s"] / 1e9
        # The time of a target is that of its products or of its bytes, whichever is longer.
        target_s = max(run["flops"] / (_GPU_GFLOPS * 1e9 * reached / gemm), run["bytes"] / (_GPU_GB_PER_S * 1e9))
        hours = [_BILLION_TARGETS / run["targets_per_s"] / 3600, _BILLION_TARGETS * target_s / 3600]
        sizes = (run["flops"] / 1e6, run["bytes"] / 1e6, run["targets_per_s"], reached)
        assumed = [f"**{format_number(value)}**" for value in (hours[0], 1 / target_s, hours[1])]
        rows.append([run["case"], run["method"], *map(format_number, sizes), f"{reached / gemm:.0%}", *assumed])
    head = [
        "case",
        "method",
        "MFLOP",
        "MB",
        "targets/s",
        "GFLOP/s",
        "of a GEMM",
        "hours",
        "GPU, targets/s",
        "GPU, hours",
    ]
    labels = [f"{run['method']}, {run['case']}" for run in cost["runs"]]
    return [
        *_COST_HEAD.format(gemm=format_number(gemm), **cost).splitlines(),
        "",
        *table(head, rows),
        *_parts_table(labels, [run["parts"] for run in cost["runs"]]),
    ]


def _parts_table(labels: list[str], parts: list[dict[str, float]]) -> list[str]:
    """Return a table with a row for each part, the largest first, and a column with its share for each run."""
    largest = {name: max(own.get(name, 0.0) for own in parts) for own in parts for name in own}
    names = sorted(largest, key=lambda name: (name == "rest", -largest[name]))
    return table(["part", *labels], [[n, *(f"{own[n]:.1%}" if n in own else "" for own in parts)] for n in names])


if __name__ == "__main__":
    record = json.loads(RESULTS.read_text(encoding="utf-8"))
    cost = json.loads(COST.read_text(encoding="utf-8"))
    write_text(ROOT / "records" / "speed.md", page(record, cost))
