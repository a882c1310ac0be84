"""``python -m benchmarks.service.page``: records/service-speed.md, from the JSON of a run alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.markdown import format_number, format_spread, table
from benchmarks.service.run import STAGE
from benchmarks.service.stage_costs import STAGES
from multitudes.atomic import write_text

RESULTS = ROOT / "benchmarks" / "results" / "service.json"
REST = "HTTP and threads"
_WORDS = Path(__file__).with_name("words.md")
_HEAD = """# The speed of the service

Written by `python -m benchmarks.service.page` from `benchmarks/results/service.json`; do not edit. Measure on your own
machine with `make bench-service`; `python -m benchmarks.service --help` names sizes.

"""
_MEASURED = {
    "p50_ms": "p50, ms",
    "p90_ms": "p90, ms",
    "p99_ms": "p99, ms",
    "cpu_ms": "CPU ms a request",
    "per_s": "answers/s at most",
    "per_cpu_s": "answers per CPU s",
}
Record = Mapping[str, Any]


def page(records: list[dict[str, Any]]) -> str:
    """Return the page."""
    lines = [_HEAD + _WORDS.read_text(encoding="utf-8")]
    records = sorted(
        records, key=lambda one: (-one["sizes"]["items"], -one["plan"]["rate"], one["plan"].get("workers", 1))
    )
    for record in records:
        lines += [f"## {_title(record)}", "", _note(record), ""]
        lines += [*_loads(record), *_stages(record), *_process(record)]
    return "\n".join(lines).rstrip() + "\n"


def _title(record: Record) -> str:
    """Say of what size a record is."""
    workers = record["plan"].get("workers", 1)
    many = f", {workers} processes" if workers > 1 else ""
    return f"{record['sizes']['items']:,} items, {record['plan']['rate']:g} requests a second{many}"


def _note(record: Record) -> str:
    """Say where, when and how it was measured."""
    machine, plan, load, cores = record["machine"], record["plan"], record["load"], record["cores"]
    busy = max(value or 0 for value in load.values()) > machine["cores"] + 1  # the run itself wants one or two
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items() if version)
    shared = "each may use every core" if cores["service"] == cores["load"] else f"the service on {cores['service']}"
    lines = [
        f"{record['when']}, {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['os']}.",
        f"{versions}. Seed {record['seeds'][0]}. {plan['rounds']} rounds of {plan['seconds']:g} s for each load;",
        f"n = {plan['n']}; service and load on one machine, {shared}.",
        f"Load of the machine {load['before']} before and {load['after']} after.",
    ]
    if busy:
        lines.append("**Others were at work: believe CPU, not the clock.**")
    return "\n".join(lines)


def _loads(record: Record) -> list[str]:
    plan, figures = record["plan"], record["figures"]
    methods, ratio = figures["methods"], figures["joint_over_single"]
    rows = [
        [words, *(format_spread(one[name]) for one in methods.values()), format_spread(ratio[name])]
        for name, words in _MEASURED.items()
    ]
    lost = {"errors": "requests without an answer", "degraded": "answers with less than all"}
    rows += [[words, *(format_number(one[name]) for one in methods.values()), ""] for name, words in lost.items()]
    text = (
        f"The first four at {plan['rate']:g} requests a second that come at random moments; a time counts from when a"
        f" request was due. At most: {plan['clients']} clients that wait for their answers. Median of the rounds"
        " (least–most)."
    )
    return ["### Under load", "", text, "", *table(["", *methods, "joint ÷ single"], rows)]


def _stages(record: Record) -> list[str]:
    methods = record["figures"]["methods"]
    columns = [read(one) for one in methods.values() for read in (_cpu_ms, _wall_ms)]
    rows = [
        [stage, *(format_number(round(column[stage], 3)) if stage in column else "" for column in columns)]
        for stage in dict.fromkeys(stage for column in columns for stage in column)
    ]
    rows.append(["**all**", *(format_number(round(sum(column.values()), 3)) for column in columns)])
    head = ["stage", *(f"{method}, {clock}" for method in methods for clock in ("CPU ms", "ms"))]
    text = (
        "Of the processor: each part called alone; *HTTP and threads* is what the process took beyond them. By the"
        " clock: what the service says of itself under load, where those that are answered together share it."
    )
    return ["### Where the time goes", "", text, "", *table(head, rows)]


def _cpu_ms(one: Record) -> dict[str, float]:
    """Return the processor's milliseconds of each stage, and of what is in none of them."""
    within = one["inside_cpu_ms"]
    stages = {stage: within["stages"][stage]["median"] for stage in STAGES}
    return stages | {REST: max(0.0, one["cpu_ms"]["median"] - within["all"]["median"])}


def _wall_ms(one: Record) -> dict[str, float]:
    """Return the milliseconds of each stage by the clock, as a service under load says."""
    return {name.removeprefix(STAGE): value["median"] for name, value in one.items() if name.startswith(STAGE)}


def _process(record: Record) -> list[str]:
    rows = []
    for method, one in record["figures"]["methods"].items():
        memory = one["memory_mib"]
        rows.append(
            [
                method,
                f"{format_number(one['ready_s'])} ({format_number(one['ready_cpu_s'])})",
                *(format_number(memory[name]) for name in ("all", "own", "files")),
                format_number(one["index_mib"]),
                format_number(one["inside_cpu_ms"]["answer_bytes"] / 1024),
            ]
        )
    head = ["", "ready, s (CPU)", "resident MiB", "own", "pages of files", "index files, MiB", "an answer, KiB"]
    return ["### The process", "", *table(head, rows)]


if __name__ == "__main__":
    write_text(ROOT / "records" / "service-speed.md", page(json.loads(RESULTS.read_text(encoding="utf-8"))))
