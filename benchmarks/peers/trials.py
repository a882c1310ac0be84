"""A system with one setting, trained until validation falls, as figures for its record.

Everybody gets lists of ``Settings.places`` items without seen items; whoever has no list or a short one, such as users
without history, gets the items of the most users there, from whatever system.

Legend: B users · N places of a list.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.child_process import limited_environment, run_in_child
from benchmarks.machine import ROOT
from benchmarks.peers.exchange import Clock, Sequences, Settings, Task, lists_file, write_targets, write_task
from benchmarks.peers.export import evaluated_users
from benchmarks.peers.systems import System, Trial
from benchmarks.process import peak_mib
from benchmarks.records import read_epochs
from multitudes.batches.held_out import HeldOut, seen_items
from multitudes.config import parse
from multitudes.data.prepared import PreparedData
from multitudes.errors import DataError
from multitudes.evaluation.baselines import Baselines, fill_lists
from multitudes.evaluation.list_metrics import ItemFacts
from multitudes.evaluation.model_baselines import fit_model, list_items
from multitudes.evaluation.outcomes import ListKey, Measures, list_measures
from multitudes.evaluation.protocol import Evaluator
from multitudes.linear.interactions import interaction_matrix
from multitudes.linear.popularity import items_by_popularity, user_counts
from multitudes.linear.run import make_linear_run
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.scorer import catalogue
from multitudes.training.config import RunConfig
from multitudes.training.loop import train
from multitudes.training.runs import Run, open_run

BUDGETS = (10, 100)
# As in examples/linear.toml, the study behind records/linear.md.
_JOINT = {
    "method": "joint",
    "model": {"crossing": {"hidden": 0}},
    "train": {"batch_size": 64, "epoch_batches": 150, "epochs": 16, "patience": 4},
}


class Data(NamedTuple):
    """A data set as all systems get it."""

    prepared: PreparedData
    held: HeldOut
    task: Task


class Finished(NamedTuple):
    """A finished trial."""

    record: dict[str, Any]
    lists: dict[int, Measures]  # what each user got, by budget


def run_trial(system: System, trial: Trial, settings: Settings, data: Data, python: Path) -> Finished:
    """Train a system with one of its settings, and score it.

    Args:
        system: the system.
        trial: overrides ``settings``, and holds what its module reads beside them.
        settings: of all.
        data: the data set.
        python: interpreter of the peers' virtual environment.
    """
    with TemporaryDirectory(prefix="multitudes-peers-") as temporary:
        if system.is_ours:
            return _own_trial(system.variant, trial, settings, data, Path(temporary))
        return _peer_trial(system, trial, settings, data, python, Path(temporary))


def _peer_trial(system: System, trial: Trial, settings: Settings, data: Data, python: Path, folder: Path) -> Finished:
    settings = settings._replace(**{name: value for name, value in trial.items() if name in Settings._fields})
    write_task(data.task, settings, folder)
    write_targets(data.held.target_offset, data.held.target, folder)
    failure = _run_peer([str(python), "-W", "ignore", "-m", system.module, str(folder), system.variant], trial, folder)
    if failure and not (folder / "report.json").exists():
        return Finished({"settings": dict(trial), "stopped": "failed", "failed": failure}, {})
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    lists, hit_rates = _score_epochs(folder, len(report["epochs"]), data)
    best, spent = int(np.argmax(hit_rates)), np.cumsum([epoch["cpu_s"] for epoch in report["epochs"]])
    record = {
        "settings": dict(trial),
        "versions": report["versions"],
        "stopped": "failed" if failure else report.get("stopped", "interrupted"),
        "passes": len(report["epochs"]),
        "best_pass": 1 + best,
        "hit_rates": [round(rate, 4) for rate in hit_rates],
        "best_cpu_s": round(float(spent[best]), 2),
        "cpu_s": round(float(spent[-1]), 2),
        "peak_mib": round(report["peak_mib"]),
    }
    record |= {"failed": failure} if failure else {"cpu_limit_s": settings.cpu_s}
    return Finished(record, list_figures(lists[best], data.prepared, data.held))


def _score_epochs(folder: Path, epochs: int, data: Data) -> tuple[list[NDArray[np.int64]], list[float]]:
    """Return the lists of a peer after each epoch, and their hit rates; a DataError if a list is not valid."""
    facts, lists, hit_rates = ItemFacts.from_prepared(data.prepared), [], []
    for file in (lists_file(folder, 1 + epoch) for epoch in range(epochs)):
        lists.append(np.load(file, allow_pickle=False))
        check_lists(lists[-1], data.task.held, data.task.n_items, str(file))
        hit_rates.append(float(list_measures(lists[-1], data.held, facts)["hits"].sum() / len(data.held.target)))
    return lists, hit_rates


def check_lists(list_BN: NDArray[np.int64], seen: Sequences, n_items: int, name: str) -> None:
    """Reject lists that would be scored wrongly.

    Raises:
        DataError: an unknown item, an item twice, or an item that the user has seen; or a list too many or too few.
    """
    if list_BN.ndim != 2 or len(list_BN) != len(seen.user):
        raise DataError(f"{name}: lists of shape {list_BN.shape}; expected one for each of {len(seen.user)} users")
    if list_BN.min(initial=0) < 0 or list_BN.max(initial=0) > n_items:
        raise DataError(f"{name}: holds items beyond 1 to {n_items}; expected the numbers that were given")
    for row, listed_N in enumerate(list_BN):
        listed = listed_N[listed_N > 0]
        past = seen.item[seen.offset[row] : seen.offset[row + 1]]
        if len(np.unique(listed)) < len(listed) or np.isin(listed, past).any():
            raise DataError(f"{name}: user {seen.user[row]} gets an item twice or one that is in the history")


def _run_peer(command: Sequence[str], trial: Trial, folder: Path) -> str | None:
    """Run a peer; return the last line that it wrote where it failed. An interrupt ends it after its last pass."""
    log = folder / "log.txt"
    with log.open("w", encoding="utf-8") as written:
        peer = subprocess.Popen(
            [*command, json.dumps(dict(trial))],
            cwd=ROOT,
            env=limited_environment(1),
            stdout=sys.stderr,
            stderr=written,
            process_group=0,
        )
        try:
            peer.wait()
        except KeyboardInterrupt:
            peer.terminate()
            peer.wait()
            if not (folder / "report.json").exists():
                raise
            return None
    lines = log.read_text(encoding="utf-8").strip().splitlines()
    return f"ended with {peer.returncode}: {lines[-1] if lines else 'no word'}" if peer.returncode else None


def _own_trial(variant: str, trial: Trial, settings: Settings, data: Data, folder: Path) -> Finished:
    out = folder / "run"
    told = run_in_child(
        train_own,
        1,
        prepared=str(data.prepared.path),
        variant=variant,
        trial=dict(trial),
        places=settings.places,
        out=str(out),
    ).value
    if (out / "lists.npy").exists():
        lists = list_figures(np.load(out / "lists.npy", allow_pickle=False), data.prepared, data.held)
    else:
        outcomes = _run_outcomes(open_run(out, data.prepared.path), data.held)
        lists = {key.budget: measures for key, measures in outcomes.items() if key.method == variant}
    return Finished({"settings": dict(trial)} | told, lists)


def train_own(prepared: str, variant: str, trial: dict[str, float], places: int, out: str) -> dict[str, Any]:
    """Train a system of this project into the folder ``out``, and return what it cost."""
    data, folder, clock = PreparedData.open(prepared), Path(out), Clock()
    clock.start()
    if variant == "joint":
        train(data, parse(RunConfig, _JOINT, "benchmarks.peers"), folder)
        cost, best = _cost(clock), json.loads((folder / "run.json").read_text(encoding="utf-8"))["best_epoch"]
        second = [epoch["seconds"] for epoch in read_epochs(folder)]
        # The passes take about the same, so the best one came after its share of the time.
        passes = {"best_cpu_s": round(cost["cpu_s"] * second[best - 1] / second[-1], 2)}
        return {"stopped": "converged", "passes": len(second), "best_pass": best} | passes | cost
    if variant == "linear":
        make_linear_run(data, folder)
        return {"stopped": "solved"} | _cost(clock)
    folder.mkdir()
    popular = items_by_popularity(user_counts(data), data.item_count)
    users = evaluated_users(data)
    if variant == "popularity":
        cost = _cost(clock)
        lists = fill_lists([np.empty(0, dtype=np.int64)] * len(users), popular, seen_items(data, users), places)
    else:
        model = fit_model(variant, interaction_matrix(data), trial)
        cost = _cost(clock)
        lists = list_items(model.scores, data, users, "new", places, popular)
    np.save(folder / "lists.npy", lists)
    return {"stopped": "solved"} | cost


def _run_outcomes(run: Run, held: HeldOut) -> dict[ListKey, Measures]:
    """Return what each user got from the run as it is served by default, and from the baselines."""
    retrieve = with_run_defaults(RetrieveConfig(), run.list_defaults)
    evaluator = Evaluator(run, catalogue(run, run.item_vectors()), retrieve, BUDGETS, "none", Baselines(run.prepared))
    return evaluator.evaluate(held, ["new"])["new"].lists


def _cost(clock: Clock) -> dict[str, float]:
    return {"cpu_s": round(clock.read()[1], 2), "peak_mib": round(peak_mib())}


def list_figures(list_BN: NDArray[np.int64], prepared: PreparedData, held: HeldOut) -> dict[int, Measures]:
    """Return what each user got from lists, filled up by popularity, at every budget."""
    popular = items_by_popularity(user_counts(prepared), prepared.item_count)
    first = [items[items > 0] for items in list_BN]
    filled_BN = fill_lists(first, popular, seen_items(prepared, held), list_BN.shape[1])
    facts = ItemFacts.from_prepared(prepared)
    return {n: list_measures(filled_BN[:, :n], held, facts) for n in BUDGETS}
