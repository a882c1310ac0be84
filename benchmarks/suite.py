"""Run the subjects one after another, and write a record of each."""

import json
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import SEED
from benchmarks.child_process import run_in_child
from benchmarks.machine import MeasurementContext, machine
from multitudes.atomic import write_text

# Each subject with its threads; None: every core. A server gives each request one thread, and so do its measurements.
SUBJECTS: dict[str, int | None] = {
    "start": None,
    "train": None,
}


def run(names: tuple[str, ...], out: Path, quick: bool, threads: int | None = None) -> None:
    """Measure the subjects, and write each record to ``out`` as soon as it is complete.

    On a busy machine threads mostly wait for each other: use ``threads`` = 1 there.
    """
    for name in names:
        print(f"{name}: begins", file=sys.stderr, flush=True)
        record = measure_subject(name, quick, threads or SUBJECTS[name])
        save_record(record, out)
        print(f"{name}: {record['seconds']} s, in {out}", file=sys.stderr, flush=True)


def measure_subject(name: str, quick: bool, threads: int | None) -> dict[str, Any]:
    """Measure a subject in its own process, and return the record."""
    circumstances = MeasurementContext()
    with TemporaryDirectory(prefix="multitudes-bench-") as folder:
        outcome = run_in_child(subject_figures, threads, name=name, quick=quick, folder=folder)
    return {
        "name": name,
        "quick": quick,
        **circumstances.head(),
        "seeds": [SEED],
        "threads": threads or machine()["cores"],
        "seconds": round(outcome.seconds, 1),
        "figures": outcome.value,
    }


def subject_figures(name: str, quick: bool, folder: str) -> dict[str, Any]:
    """Return the figures of a subject."""
    from benchmarks.timing import print_progress  # noqa: PLC0415 (the parent stays small: it imports no numpy)

    subject = import_module(f"benchmarks.{name}")
    result: dict[str, Any] = subject.measure(
        subject.QUICK if quick else subject.FULL, Path(folder), print_progress(name)
    )
    return result


def save_record(record: dict[str, Any], out: Path) -> None:
    """Add a record to the file, in place of an earlier one of the same subject."""
    kept = json.loads(out.read_text(encoding="utf-8")) if out.exists() else []
    kept = [other for other in kept if other["name"] != record["name"]] + [record]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, json.dumps(kept, indent=1, allow_nan=False) + "\n")
