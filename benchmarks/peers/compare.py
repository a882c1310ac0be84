"""The comparison: every system on one prepared data set, as figures in JSON."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.child_process import limited_environment
from benchmarks.machine import ROOT
from benchmarks.peers import Peer, ours
from benchmarks.peers.exchange import Settings, write_task
from benchmarks.peers.export import evaluated_users, export_task
from benchmarks.peers.score import learning_curve, list_outcomes
from benchmarks.timing import round_figure, spread
from multitudes.data.prepared import PreparedData
from multitudes.errors import MissingError
from multitudes.evaluation.list_metrics import ItemFacts
from multitudes.evaluation.outcomes import (
    Bootstrap,
    ListKey,
    Measures,
    methods_and_differences,
    target_measures,
)
from multitudes.progress import Progress, silent
from multitudes.training.trained_run import TrainedRun

METRICS = ("hr@10", "hr@100", "recall@100", "ndcg@10", "ndcg@100", "topics@100")
RESAMPLES = 1000


def compare(
    prepared: PreparedData,
    methods: Sequence[str],
    peers: Sequence[Peer],
    settings: Settings,
    python: Path,
    folder: Path,
    max_users: int | None = None,
    threads: int = 1,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Return the figures of our methods and of the peers on the same users.

    Args:
        prepared: the data.
        methods: ours; the peers are compared with the first one.
        peers: theirs; one that fails is told so in the result, and the others go on.
        settings: of every system.
        python: interpreter of the peers' virtual environment.
        folder: empty folder for runs and lists.
        max_users: most users that are asked, drawn by the seed.
        threads: of every system.
        progress: told of the systems done.

    Raises:
        MissingError: there is no such interpreter.
        DataError: no user can be evaluated.
    """
    if not python.exists():
        raise MissingError(f"{python}: the peers' virtual environment is missing; make bench-peers makes it")
    held, facts = evaluated_users(prepared, max_users, settings.seed), ItemFacts.from_prepared(prepared)
    given = export_task(prepared, held)
    systems: list[dict[str, Any]] = []
    got: dict[ListKey, Measures] = {}
    for method in methods:
        progress(len(systems), len(methods) + len(peers), method)
        run = folder / method
        systems.append(
            {"name": method, "ours": True}
            | _system_figures(ours.train_in_child(prepared, method, settings, run, threads))
        )
        got |= ours.user_outcomes(TrainedRun.open(run), held)
    for peer in peers:
        progress(len(systems), len(methods) + len(peers), peer.name)
        own = folder / peer.name.replace(" ", "-")
        own.mkdir()
        write_task(given, settings, own)
        row: dict[str, Any] = {"name": peer.name, "ours": False, "licence": peer.licence}
        failure = _run(peer, own, python, threads)
        if failure:
            systems.append(row | {"failed": failure})
            continue
        report = json.loads((own / "report.json").read_text(encoding="utf-8"))
        its = learning_curve(own, len(report["epochs"]), held, given.held, facts)
        got |= list_outcomes(peer.name, its.list_BN, held, facts)
        report |= {"hit_rates": its.hit_rates, "best_epoch": its.best_epoch}
        systems.append(row | {"versions": report["versions"]} | _system_figures(report))
    progress(len(systems), len(systems))
    bootstrap = Bootstrap(RESAMPLES, settings.seed)
    quality, differences = methods_and_differences(got, target_measures(held, facts), methods[0], bootstrap)
    return {
        "settings": settings._asdict(),
        "data": {"users": given.n_users, "items": given.n_items, "training_events": len(given.train.item)},
        "asked": {"users": len(held), "targets": len(held.target)},
        "reference": methods[0],
        "systems": systems,
        "quality": {name: _select_metrics(figures) for name, figures in quality.items()},
        "reference_minus": {name: _select_metrics(figures) for name, figures in differences.items()},
    }


def _run(peer: Peer, folder: Path, python: Path, threads: int) -> str | None:
    """Run a peer; return the last line that it wrote where it failed."""
    environment = limited_environment(threads)
    log = folder / "log.txt"
    with log.open("w", encoding="utf-8") as written:
        command = [str(python), "-W", "ignore", "-m", peer.module, str(folder), peer.variant]
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=written, stderr=written, check=False)
    return failure(done.returncode, log)


def failure(code: int, log: Path) -> str | None:
    """Return the exit code of a peer and the last line that it wrote; None if it did not fail."""
    lines = log.read_text(encoding="utf-8").strip().splitlines()
    return f"ended with {code}: {lines[-1] if lines else 'no word'}" if code else None


def _system_figures(report: dict[str, Any]) -> dict[str, Any]:
    """Return rates over the epochs without the first, which warms up, and the hit rate after every epoch."""
    epochs = report["epochs"]
    timed = epochs[1:] or epochs
    spent = np.cumsum([epoch["cpu_s"] for epoch in epochs])
    return {
        "epochs": len(epochs),
        "best_epoch": report["best_epoch"],
        "targets_an_epoch": epochs[-1]["targets"],
        "targets_per_s": {
            clock: spread([epoch["targets"] / epoch[f"{clock}_s"] for epoch in timed]) for clock in ("wall", "cpu")
        },
        "pass_s": {clock: spread([epoch[f"{clock}_s"] for epoch in timed]) for clock in ("wall", "cpu")},
        "course": [
            {"cpu_s": round_figure(seconds), "hr@100": round(rate, 4)}
            for seconds, rate in zip(spent.tolist(), report["hit_rates"], strict=True)
        ],
        "peak_mib": round_figure(report["peak_mib"]),
    }


def _select_metrics(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: figures[name] for name in METRICS if name in figures}
