"""The trials, one after another, each in a process of its own, and the record of each."""

import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.child_process import run_in_child
from benchmarks.machine import MeasurementContext
from benchmarks.records import read_list, replace_record
from benchmarks.timing import print_progress

from reliability import SEED
from reliability.claims import SkippedError, TrialResult

# In the order in which an operator would ask.
TRIALS: dict[str, str] = {
    "overload": "More is asked than can be answered",
    "store": "The store of user states hangs, is cut off, or dies",
    "lies": "The store of user states lies",
    "swaps": "Releases change under load",
    "durability": "kill −9 after events were acknowledged",
    "drain": "SIGTERM under load",
    "damage": "Files of a release are damaged",
    "halfopen": "Clients that connect and never finish a request",
    "cases": "Requests generated from the published description",
    "publishing": "kill −9 while publishing",
    "access": "Requests without permission, and bodies beyond every limit",
    "smuggled": "Requests in the bodies of others",
    "unread": "Clients that never read their answers",
    "shares": "A client that wants everything",
    "batches": "Batches of the largest answers",
    "writers": "Heavy writers of events",
    "neighbours": "Clients that take all they can, beside modest ones",
    "outside": "A tower that reads a file of its own",
    "stuck": "Releases that never answer",
    "altered_releases": "Releases that were changed on purpose",
    "unsigned": "What nobody signed, where a key is trusted",
    "items_over_releases": "Items come and go, and releases too",
    "clock": "The clock of the machine jumps",
    "damaged_log": "A damaged log, and users who ask to be erased",
    "erasure": "Erased users come back by other ways",
    "revoked": "A revoked key in a container",
    "key_race": "Keys made at the same time",
    "guards": "Forwarded requests, escapes and damaged stores",
    "fuzz": "Inputs changed at random",
    "soak": "Load for a long time",
}
SOAK_SECONDS = 900.0  # at full size
TIMED = ("soak", "fuzz")  # trials that take as long as they are told
_PACKAGES = ("multitudes", "fastapi", "uvicorn", "numpy", "onnxruntime", "redis", "schemathesis")


def run(names: tuple[str, ...], out: Path, scale: float, *, again: bool, seconds: float | None = None) -> bool:
    """Make the trials and keep each record in ``out`` as soon as it is there; return whether all claims were shown.

    What ``out`` has already at that scale is not made again, unless ``again``. ``seconds``: of timed trials, in place
    of those of the scale.
    """
    shown = True
    for name in names:
        kept = [one for one in read_list(out) if (one["name"], one["scale"]) == (name, scale)]
        record = kept[0] if kept and not again else None
        if record is None:
            print(f"{name}: begins", file=sys.stderr, flush=True)
            record = make_record(name, scale, seconds if name in TIMED else None)
            replace_record(out, record, lambda one: one["name"])
        shown &= report(record)
    return shown


def make_record(name: str, scale: float, seconds: float | None = None) -> dict[str, Any]:
    """Return the record of a trial."""
    circumstances = MeasurementContext()
    with TemporaryDirectory(prefix="multitudes-reliability-") as folder:
        outcome = run_in_child(run_trial, 1, name=name, scale=scale, folder=folder, seconds=seconds)
    return {
        "name": name,
        "scale": scale,
        **circumstances.head(_PACKAGES),
        "seed": SEED,
        "seconds": round(outcome.seconds, 1),
        **outcome.value,
    }


def run_trial(name: str, scale: float, folder: str, seconds: float | None = None) -> dict[str, Any]:
    """Make a trial and return what it found, as JSON has it."""
    trial = import_module(f"reliability.{name}").trial
    try:
        outcome = trial(scale, Path(folder), print_progress(name), **({} if seconds is None else {"seconds": seconds}))
    except SkippedError as error:
        outcome = TrialResult([], {}, str(error))
    claims = [{**claim._asdict(), "shown": claim.shown} for claim in outcome.claims]
    return {"claims": claims, "figures": outcome.figures, "skipped": outcome.skipped}


def report(record: dict[str, Any]) -> bool:
    """Say what a trial found; return whether all that it claims was shown."""
    for claim in record["claims"]:
        control = f"{claim['control']}: {claim['control_figure']:g}"
        word = "shown" if claim["shown"] else "NOT SHOWN"
        line = f"{record['name']}: {claim['text']}: {claim['figure']:g} ({claim['bound']}; {control}) {word}"
        print(line, file=sys.stderr)
    if record["skipped"]:
        print(f"{record['name']}: skipped: {record['skipped']}", file=sys.stderr)
    print(f"{record['name']}: {record['seconds']} s", file=sys.stderr, flush=True)
    return all(claim["shown"] for claim in record["claims"])
