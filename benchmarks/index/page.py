"""``python -m benchmarks.index.page``: records/index.md, from kept JSON alone."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from benchmarks.index.run import WORLD, Record
from benchmarks.index.world import DEPTH
from benchmarks.machine import ROOT
from benchmarks.markdown import format_number, format_spread, table
from multitudes.atomic import write_text

RESULTS = ROOT / "benchmarks" / "results" / "index.json"
_HEAD = """# Index: tables

Written by `python -m benchmarks.index.page` from `benchmarks/results/index.json`; do not edit. Measure on your own
machine with `make bench-index`; `python -m benchmarks.index --help` names sizes and parts. What follows from it:
[index.md](../docs/index.md).

"""


_ORDER = ("", "exact", "inverted", "milvus")  # of engines in tables; a corpus has none
Parts = Mapping[str, Mapping[str, Any]]  # figures of an engine by part; under "record" the whole records by part


class Corpus(NamedTuple):
    """What was measured over one corpus."""

    items: int
    kind: str
    world: Mapping[str, Any]
    engines: dict[str, Parts]

    def __str__(self) -> str:
        """Name it."""
        return f"{self.items:,} {self.kind} vectors"


def corpora(records: Iterable[Record]) -> list[Corpus]:
    """Return the records by corpus, engine and part, the small corpora first; none on which nothing was measured."""
    found: dict[tuple[Any, ...], Corpus] = {}
    for record in sorted(records, key=lambda record: _ORDER.index(record["step"]["engine"])):
        step = record["step"]
        key = (step["items"], step["kind"] == "clustered", step["width"])
        corpus = found.setdefault(key, Corpus(step["items"], step["kind"], {}, {}))
        if step["part"] == WORLD:
            found[key] = corpus._replace(world=record)
            continue
        parts: dict[str, Any] = corpus.engines.setdefault(step["engine"], {"record": {}})  # type: ignore[assignment]
        parts[step["part"]] = record["figures"]
        parts["record"][step["part"]] = record
    return [found[key] for key in sorted(found) if found[key].engines]


def page(records: list[Record]) -> str:
    """Return the tables of all records."""
    lines = [_HEAD]
    for corpus in corpora(records):
        lines += [f"## {corpus}", "", _note(corpus), "", *_requests(corpus), *_files(corpus), *_changes(corpus)]
        lines += _levels(corpus)
    return "\n".join(lines).rstrip() + "\n"


def _note(corpus: Corpus) -> str:
    """Say on what and when a corpus was measured."""
    taken = [record for parts in corpus.engines.values() for record in parts["record"].values()]
    taken.sort(key=lambda record: str(record["when"]))
    first = taken[0]
    machine, loads = first["machine"], [record["load"][when] for record in taken for when in ("before", "after")]
    known = [load for load in loads if load is not None]
    versions = ", ".join(
        f"{name} {first['versions'][name]}" for name in ("python", "numpy", "faiss-cpu") if first["versions"].get(name)
    )
    commits = " to ".join(dict.fromkeys(str(taken[place]["versions"].get("commit")) for place in (0, -1)))
    cosine = corpus.world["figures"]["mean_cosine"] if corpus.world else float("nan")
    return (
        f"{first['when'][:10]}, {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, one thread;"
        f" load {min(known, default=0)} to {max(known, default=0)}. {versions}, commit {commits}, seed"
        f" {first['seeds'][0]}. Mean cosine between two vectors of a user: {cosine:.2f}."
        + (" **Others were at work: believe CPU, not the wall.**" if max(known, default=0) > machine["cores"] else "")
    )


def _requests(corpus: Corpus) -> list[str]:
    rows = []
    for engine, parts in corpus.engines.items():
        asked = parts.get("requests", {})
        within = {f"topic of {case}": one for case, one in parts.get("topics", {}).items()}
        for way, one in {**asked, **within}.items():
            rows.append([engine, way, *_times(one)])
    text = (
        "A request: vectors × results of each. *Shared* divides the results among the vectors. A topic is asked for by"
        f" 12 vectors, {DEPTH} results of each. Times in milliseconds."
    )
    head = ["engine", "request", "p50", "p90", "p99", "CPU p50", "CPU p90", "recall"]
    return [text, "", *table(head, rows)] if rows else []


def _times(one: Record) -> list[str]:
    wall = [format_number(one["ms"][p]["median"]) for p in ("p50", "p90", "p99")]
    cpu = [format_number(one["cpu_ms"][percentile]["median"]) for percentile in ("p50", "p90")]
    return [*wall, *cpu, f"{one['recall']:.3f}"]


def _files(corpus: Corpus) -> list[str]:
    rows = []
    for engine, parts in corpus.engines.items():
        if "build" not in parts or "open" not in parts:
            continue
        built, opened = parts["build"], parts["open"]
        codes = sum(mib for name, mib in built["mib"].items() if name.endswith((".faiss", ".bin")))
        rows.append(
            [
                engine,
                format_number(built["seconds"]),
                format_number(built["cpu_s"]),
                format_number(parts["record"]["build"]["peak_mib"]),
                format_number(codes),
                format_number(sum(built["mib"].values())),
                format_spread(opened["ms"]["wall"]),
                format_spread(opened["verified_ms"]["wall"]),
                format_number(opened["opened_mib"]["own"]),
                format_number(opened["answered_mib"]["own"]),
                format_number(opened["answered_mib"]["files"]),
            ]
        )
    head = ["engine", "build s", "CPU s", "peak MiB", "codes MiB", "all files MiB", "open ms", "verified ms"]
    head += ["opened: own MiB", "answered: own MiB", "pages of files MiB"]
    text = (
        "Built and tuned; opened without and with its checksums verified; memory that opening takes, and that answering"
        " all users adds: of the process itself, and pages of files, which the system may take back."
    )
    return [text, "", *table(head, rows)] if rows else []


def _changes(corpus: Corpus) -> list[str]:
    rows, changed, at_once = [], 0, 0
    for engine, parts in corpus.engines.items():
        if "changes" not in parts:
            continue
        one = parts["changes"]
        changed, at_once = one["changed"], one["at_once"]
        rows.append(
            [
                engine,
                format_spread(one["add_ms"]["cpu"]),
                format_spread(one["remove_ms"]["cpu"]),
                *(
                    f"{format_number(one[when]['cpu_ms']['p50']['median'])} ({one[when]['recall']:.3f})"
                    for when in ("before", "after")
                ),
            ]
        )
    head = ["engine", f"add {at_once:,}, CPU ms", f"remove {at_once:,}, CPU ms", "search before, CPU ms (recall)"]
    head += [f"after {changed:,} changes"]
    text = f"Items that come and go. A search is 12 × {DEPTH}."
    return [text, "", *table(head, rows)] if rows else []


def _levels(corpus: Corpus) -> list[str]:
    rows = [
        [
            engine,
            f"{level['depth']:,}",
            f"{level['effort']:,}",
            f"{level['proposals']:,}",
            *(f"{level[name]:.3f}" for name in ("recall", "at_least", "checked")),
        ]
        for engine, parts in corpus.engines.items()
        for level in parts.get("build", {}).get("info", {}).get("tuning", {}).get("levels", [])
    ]
    head = ["engine", "depth", "effort", "proposals", "recall", "at least (95 %)", "on held-out users"]
    return ["As tuned:", "", *table(head, rows)] if rows else []


if __name__ == "__main__":
    write_text(ROOT / "records" / "index.md", page(json.loads(RESULTS.read_text(encoding="utf-8"))))
