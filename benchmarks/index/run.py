"""What is measured, part by part: each in a process of its own, kept as soon as it is there, never done twice."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import SEED
from benchmarks.child_process import run_in_child
from benchmarks.index import changes, files, requests, world
from benchmarks.index.corpus import Kind
from benchmarks.machine import MeasurementContext
from benchmarks.records import read_list, replace_record
from benchmarks.timing import round_figure

_EXACT_ROWS = 200_000_000  # items compared in all by each way of asking an exact index: it is slow, and hardly varies
_FEWEST = 20  # requests
WORLD = "world"  # the part that makes a corpus
ENGINES = ("exact", "inverted")
PARTS = ("build", "open", "requests", "topics", "changes")
# A server: time is what the caller waits; processor time and memory are those of the client alone.
MILVUS = "milvus"
_MILVUS_PARTS = ("build", "requests", "topics")
Record = dict[str, Any]


class Plan(NamedTuple):
    """What is measured on what."""

    kinds: Sequence[Kind]
    items: Sequence[int]
    width: int
    engines: Sequence[str]
    parts: Sequence[str]
    users: int
    rounds: int
    milvus: str | None = None  # where a server is


class Step(NamedTuple):
    """One part of one engine over one corpus; the part ``world`` belongs to no engine."""

    kind: Kind
    items: int
    width: int
    engine: str
    part: str

    @property
    def corpus(self) -> str:
        """Name of the corpus's folder."""
        return f"{self.kind}-{self.items}x{self.width}"

    def __str__(self) -> str:
        """Say it in words."""
        return f"{self.items:,} {self.kind} {self.engine} {self.part}"


def steps(plan: Plan) -> Iterator[Step]:
    """Return every step, in the order in which they need each other."""
    for items in plan.items:
        for kind in plan.kinds:
            of = (kind, items, plan.width)
            yield Step(*of, "", WORLD)
            for engine in (*plan.engines, *([MILVUS] if plan.milvus else [])):
                parts = _MILVUS_PARTS if engine == MILVUS else PARTS
                yield from (Step(*of, engine, part) for part in parts if part in ("build", *plan.parts))


def run(plan: Plan, work: Path, out: Path, again: bool = False) -> None:
    """Measure what ``out`` does not have yet, and keep each record as soon as it is there.

    Args:
        plan: what is measured.
        work: folder for corpora and indexes; they are kept, for a run that goes on.
        out: the records, as JSON.
        again: measure the parts of the plan once more; a corpus or an index that is there is taken as it is.
    """
    todo = _pending_steps(plan, read_list(out), work, again)
    for number, step in enumerate(todo, 1):
        print(f"part {number} of {len(todo)}: {step}", file=sys.stderr, flush=True)
        replace_record(out, measure_step(step, plan, work), lambda record: record["step"])


def measure_step(step: Step, plan: Plan, work: Path) -> Record:
    """Return the record of one step."""
    circumstances = MeasurementContext()
    function, arguments = _call(step, plan, work)
    outcome = run_in_child(function, 1, **arguments)
    return {
        "step": step._asdict(),
        "settings": _settings(step, plan),
        **circumstances.head(),
        "seeds": [SEED],
        "seconds": round_figure(outcome.seconds),
        "peak_mib": round_figure(outcome.peak_mib),
        "figures": outcome.value,
    }


def _pending_steps(plan: Plan, records: list[Record], work: Path, again: bool) -> list[Step]:
    """Return the steps that are not done; what was made anew is measured anew."""
    todo: list[Step] = []
    renewed: set[tuple[str, str]] = set()
    for step in steps(plan):
        made_of = {(step.corpus, ""), (step.corpus, step.engine)}
        if made_of & renewed or not _is_done(step, records, plan, work) or (again and step.part in plan.parts):
            todo.append(step)
            if step.part in (WORLD, "build"):
                renewed.add((step.corpus, step.engine))
    return todo


def _is_done(step: Step, records: list[Record], plan: Plan, work: Path) -> bool:
    """Say whether a step's figures are there, and its files where later steps need them."""
    same = [r for r in records if r["step"] == step._asdict() and r["settings"] == _settings(step, plan)]
    needed = {WORLD: work / step.corpus / "best.npy", "build": work / step.corpus / step.engine / "index.json"}
    return bool(same) and (step.part not in needed or needed[step.part].exists())


def _settings(step: Step, plan: Plan) -> dict[str, Any]:
    """Return the sizes on which the figures of a step depend, and the server of a collection."""
    if step.part == WORLD:
        return {"users": plan.users}
    if step.part == "build":
        return {"uri": plan.milvus} if step.engine == MILVUS else {}
    users = plan.users
    if step.engine == "exact":
        users = min(users, max(_FEWEST, _EXACT_ROWS // step.items))
    if step.part == "open":
        return {"users": users}
    return {"users": users, "rounds": 1 if step.engine == "exact" and step.items > 100_000 else plan.rounds}


def _call(step: Step, plan: Plan, work: Path) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the function of a step and its arguments."""
    folder, sizes = work / step.corpus, _settings(step, plan)
    if step.part == WORLD:
        of = {"kind": step.kind, "items": step.items, "width": step.width}
        return world.make, {"folder": str(folder), **of, **sizes}
    where = {"world": str(folder), "index": str(folder / step.engine)}
    if step.part == "open":
        return files.measure_opening, where | sizes
    where["engine"] = step.engine
    if step.part == "changes":
        return changes.measure, where | sizes | {"kind": step.kind}
    if step.part == "build":
        return files.build, where | sizes
    return (requests.measure if step.part == "requests" else requests.measure_topics), where | sizes
