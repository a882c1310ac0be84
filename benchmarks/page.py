"""``python -m benchmarks.page [RESULTS.json] [--out FILE]``: records/speed.md, from the JSON of runs alone."""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.markdown import format_number, format_spread, table, wall_and_cpu_cells
from multitudes.atomic import write_text

RESULTS = ROOT / "benchmarks" / "results" / "speed.json"
Figures = Mapping[str, Any]

_HEAD = """# Benchmarks

Written by `python -m benchmarks.page` from `{source}`; do not edit. Measure on your own machine
with `make bench`, or one subject with `python -m benchmarks NAME`.

Measured on {cpu}, {cores} cores, {memory_gib} GiB, {os}. {versions}. Seed {seeds}.

A figure is the median over repeats, with minimum–maximum where there are several. *Load* is the number of processes
that wanted a core in the last minute, before and after: where it is above the number of cores, others were at work and
times by the wall are too long. *CPU* is processor time, of all threads together; it hardly depends on the others.
"""


def page(records: list[dict[str, Any]], source: str) -> str:
    """Return the page for the records."""
    by_name = {record["name"]: record for record in records}
    named = ", ".join(f"{name} {version}" for name, version in records[0]["versions"].items() if version)
    head = _HEAD.format(source=source, versions=named, seeds=records[0]["seeds"][0], **records[0]["machine"])
    commit = records[0]["versions"].get("commit")
    sections = [_section(by_name[name], commit, *SECTIONS[name]) for name in SECTIONS if name in by_name]
    return "\n".join([head, *sections])


def _section(record: dict[str, Any], commit: str | None, title: str, body: Callable[[Figures], list[str]]) -> str:
    load, own = record["load"], record["versions"].get("commit")
    note = f"{record['when']}, {record['threads']} thread(s), load {load['before']} to {load['after']}"
    note += "." if own == commit else f", commit {own}."
    tiny = " **Tiny sizes (`--quick`): these figures say nothing.**" if record["quick"] else ""
    return "\n".join([f"## {title}", "", note + tiny, "", *body(record["figures"])])


def _start(figures: Figures) -> list[str]:
    rows = [[f"`{name}`", *wall_and_cpu_cells(ms)] for name, ms in figures["ms"].items()]
    return ["A fresh interpreter each time.", "", *table(["program", "ms", "CPU ms"], rows)]


def _train(figures: Figures) -> list[str]:
    runs = figures["runs"]
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
    return [
        "A planted world; a target is one positive to be predicted. The first epoch is a warm-up and not counted in"
        " targets/s.",
        "",
        *table(head, rows),
        "Share of the time of all steps:",
        "",
        *_parts_table(labels, [run["parts"] for run in runs]),
    ]


def _parts_table(labels: list[str], parts: list[dict[str, float]]) -> list[str]:
    """Return a table with a row for each part, the largest first, and a column with its share for each run."""
    largest = {name: max(own.get(name, 0.0) for own in parts) for own in parts for name in own}
    names = sorted(largest, key=lambda name: (name == "rest", -largest[name]))
    return table(["part", *labels], [[n, *(f"{own[n]:.1%}" if n in own else "" for own in parts)] for n in names])


SECTIONS: dict[str, tuple[str, Callable[[Figures], list[str]]]] = {
    "start": ("Start", _start),
    "train": ("Train", _train),
}


def main() -> None:
    """Write the page from a results file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description="Write the page of benchmarks.")
    parser.add_argument("results", nargs="?", type=Path, default=RESULTS, help="JSON of a run")
    parser.add_argument("--out", type=Path, default=ROOT / "records" / "speed.md")
    given = parser.parse_args()
    records = json.loads(given.results.read_text(encoding="utf-8"))
    write_text(given.out, page(records, f"benchmarks/results/{given.results.name}"))
    print(given.out)


if __name__ == "__main__":
    main()
