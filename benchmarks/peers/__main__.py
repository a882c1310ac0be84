"""``python -m benchmarks.peers PREPARED…``: this library and others, trained until validation stops rising.

Every system tries a few settings (``systems``), each until the hit rate on validation has not risen for some passes,
and is shown with the best. A finished trial is a folder in ``--work`` and is not repeated, so the command can be
stopped and goes on; one that the time limit ended is repeated if more time is given. The record of a set is written
anew after every trial.

::

    WORK/SET/SYSTEM/TRIAL/trial.json      settings, figures and costs; appears when the trial is finished
                          measures.npz    what each user got from the lists of the best pass
"""

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import ROOT, MeasurementContext, machine
from benchmarks.peers.exchange import Settings
from benchmarks.peers.export import evaluated_users, export_task
from benchmarks.peers.systems import BASE, REFERENCE, SYSTEMS, System, Trial
from benchmarks.peers.trials import Data, Finished, run_trial
from benchmarks.records import read_records, save_record
from multitudes.atomic import replace_folder, write_json
from multitudes.data.prepared import PreparedData
from multitudes.errors import MultitudesError
from multitudes.evaluation.list_metrics import ItemFacts
from multitudes.evaluation.outcomes import (
    RESAMPLES,
    ListKey,
    Measures,
    methods_and_differences,
    target_measures,
)
from multitudes.report.formatting import negate

RESULTS = ROOT / "benchmarks" / "results" / "peers.json"
FIGURES = ("hr@10", "hr@100", "ndcg@100")


def main() -> None:
    """Run what is missing, and keep the records."""
    for number in (signal.SIGINT, signal.SIGTERM):  # either keeps what a trial has so far; a background job ignores one
        signal.signal(number, signal.default_int_handler)
    given = _arguments()
    systems = [system for system in SYSTEMS if system.name in given.systems]
    if any(not system.is_ours for system in systems) and not given.python.exists():
        sys.exit(f"{given.python}: the peers' virtual environment is missing; make bench-peers makes it")
    try:
        for folder in given.prepared:
            _run_set(PreparedData.open(folder), systems, given)
    except MultitudesError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.partition("\n")[0])
    parser.add_argument("prepared", nargs="+", type=Path, help="prepared folders; the name of a folder names its set")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file with the records of all sets")
    parser.add_argument("--work", type=Path, default=ROOT / ".peers", help="folder of finished trials")
    parser.add_argument(
        "--systems",
        nargs="+",
        metavar="NAME",
        choices=[system.name for system in SYSTEMS],
        default=[system.name for system in SYSTEMS if system.default],
        help="in quotes; default: all but ComiRec-DR",
    )
    parser.add_argument("--trials", type=int, default=4, help="most settings that a system tries; the first ones")
    parser.add_argument("--cpu-s", type=float, default=3600, help="of training in one trial; then no pass begins")
    parser.add_argument("--python", type=Path, default=ROOT / ".venv-peers" / "bin" / "python")
    return parser.parse_args()


def _run_set(prepared: PreparedData, systems: list[System], given: argparse.Namespace) -> None:
    """Run what is missing of one set, and keep its record after every trial."""
    name, held = prepared.path.name, evaluated_users(prepared)
    data, settings = Data(prepared, held, export_task(prepared, held)), BASE._replace(cpu_s=given.cpu_s)
    trials = [(system, trial) for system in systems for trial in system.trials[: given.trials]]
    for number, (system, trial) in enumerate(trials, 1):
        folder = trial_folder(given.work / name, system, trial)
        if is_finished(folder, given.cpu_s):
            continue
        context = MeasurementContext()
        print(f"{name}: {number} of {len(trials)}, {system.name} {folder.name}", file=sys.stderr, flush=True)
        record, lists = run_trial(system, trial, settings, data, given.python)
        head = {key: value for key, value in context.head(("multitudes",)).items() if key != "machine"}
        keep_trial(folder, Finished(record | {"run": head}, lists))
        _save(given, name, data, settings)
        if record["stopped"] == "interrupted":
            raise KeyboardInterrupt
    _save(given, name, data, settings)


def _save(given: argparse.Namespace, name: str, data: Data, settings: Settings) -> None:
    """Write the record of a set; systems that were measured with another ``--work`` stay in it."""
    earlier = read_records(given.out).get("validation", {}).get(name)
    save_record(given.out, "validation", name, with_earlier(set_record(given.work / name, data, settings), earlier))


def with_earlier(record: dict[str, Any], earlier: dict[str, Any] | None) -> dict[str, Any]:
    """Return a record with the systems that only an earlier one of the same data and settings has."""
    if earlier is None or any(record[name] != earlier[name] for name in ("users", "targets", "data", "settings")):
        return record
    systems = dict(record["systems"])
    reference, before = (one["systems"].get(REFERENCE, {}).get("figures") for one in (record, earlier))
    for name, one in earlier["systems"].items():
        if len(one["trials"]) > len(systems.get(name, {"trials": ()})["trials"]):
            # A difference to another trial of the reference is none to this one.
            systems[name] = one if reference in (before, None) else one | {"minus_reference": {}}
    return record | {"systems": {one.name: systems[one.name] for one in SYSTEMS if one.name in systems}}


def trial_folder(work: Path, system: System, trial: Trial) -> Path:
    """Return where a trial is kept."""
    settings = ",".join(f"{name}={value}" for name, value in trial.items())
    return work / system.name.replace(" ", "-") / (settings or "default")


def is_finished(folder: Path, cpu_s: float) -> bool:
    """Return whether a trial needs no more time than it had."""
    if not (folder / "trial.json").exists():
        return False
    record = json.loads((folder / "trial.json").read_text(encoding="utf-8"))
    return record["stopped"] in ("solved", "converged", "epochs") or (
        record["stopped"] == "time" and record["cpu_limit_s"] >= cpu_s
    )


def keep_trial(folder: Path, finished: Finished) -> None:
    """Write a finished trial; the folder appears complete or not at all."""
    with replace_folder(folder) as partial:
        arrays = {f"{name}@{n}": values for n, measures in finished.lists.items() for name, values in measures.items()}
        np.savez(partial / "measures.npz", **arrays)  # type: ignore[arg-type]
        write_json(partial / "trial.json", finished.record)


def read_trial(folder: Path) -> Finished:
    record = json.loads((folder / "trial.json").read_text(encoding="utf-8"))
    lists: dict[int, Measures] = {}
    with np.load(folder / "measures.npz", allow_pickle=False) as arrays:
        for key in arrays.files:
            name, n = key.split("@")
            lists.setdefault(int(n), {})[name] = arrays[key]
    return Finished(record, lists)


def set_record(work: Path, data: Data, settings: Settings) -> dict[str, Any]:
    """Return the record of a set from the trials in its folder: each system with its best trial by HR@100.

    Differences are paired by user, and between ``REFERENCE`` and the others where that has a trial.
    """
    systems: dict[str, dict[str, Any]] = {}
    lists: dict[ListKey, Measures] = {}
    for system in SYSTEMS:
        trials = [
            read_trial(folder)
            for folder in (trial_folder(work, system, trial) for trial in system.trials)
            if (folder / "trial.json").exists()
        ]
        hits = [trial.lists[100]["hits"].sum() if trial.lists else 0 for trial in trials]
        rates = [float(count / len(data.held.target)) for count in hits]
        if not trials:
            continue
        best = trials[int(np.argmax(rates))]
        told = [trial.record | {"hr@100": round(rate, 6)} for trial, rate in zip(trials, rates, strict=True)]
        systems[system.name] = best.record | {"trials": told}
        lists |= {ListKey(system.name, n): measures for n, measures in best.lists.items()}
    quality, differences = _figures(lists, data)
    for name, record in systems.items():
        record |= {"figures": quality.get(name, {}), "minus_reference": differences.get(name, {})}
    return {
        "users": len(data.held),
        "targets": len(data.held.target),
        "data": {"users": data.task.n_users, "items": data.task.n_items, "training_events": len(data.task.train.item)},
        "machine": machine(),
        "settings": {name: value for name, value in settings._asdict().items() if name != "cpu_s"},
        "resamples": RESAMPLES,
        "reference": REFERENCE,
        "systems": systems,
    }


def _figures(lists: dict[ListKey, Measures], data: Data) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the figures of each system, and those of each minus the reference's, paired by user."""
    reference = ListKey(REFERENCE, 100)
    own = reference if reference in lists else next(iter(lists), reference)
    targets = target_measures(data.held, ItemFacts.from_prepared(data.prepared))
    if not lists:
        return {}, {}
    quality, own_minus = methods_and_differences(lists, targets, own.method)
    chosen = {name: {figure: found[figure] for figure in FIGURES} for name, found in quality.items()}
    if own != reference:
        return chosen, {}
    return chosen, {name: {figure: negate(found[figure]) for figure in FIGURES} for name, found in own_minus.items()}


if __name__ == "__main__":
    main()
