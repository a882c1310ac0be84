"""``make replicate DATA=DIR``: compare the strongest single vector with published numbers.

A multi-vector method that beats only a weak single vector has shown nothing. So the method ``transformer`` is
compared with published numbers on the Amazon 5-core sets in the files of S3-Rec: leave-one-out, full catalogue,
without seen items and cold targets. Settings and the number of epochs are chosen on the event before the last; then
the model is fitted once more on all events but the last (``multitudes train --refit``) and evaluated on the last one.

The command ends with 1 where HR@10 or NDCG@10 lies more than 5 % below a published one, and with 2 where a set is
missing. The figures without the last fit stand beside, since not every paper says which of the two it reports.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, machine, versions

# HR@10, NDCG@10 by github.com/blondered/transformer_benchmark (its README): SASRec with sampled softmax, and eSASRec.
PUBLISHED = {
    "amazon-beauty": {"SASRec+SS": (0.0921, 0.0531), "eSASRec": (0.0928, 0.0523)},
    "amazon-sports": {"SASRec+SS": (0.0569, 0.0314), "eSASRec": (0.0560, 0.0323)},
    "amazon-toys": {"SASRec+SS": (0.0970, 0.0580), "eSASRec": (0.0939, 0.0538)},
}
TOLERANCE = 0.05
# Chosen on validation; the width is that of the published table, history, blocks and heads are those of its protocol.
SETTINGS = """
[model]
width = 64
history = 50
dropout = 0.4

[train]
epochs = 60
patience = 5
epoch_batches = 0
validate_users = 20000
eval_k = 10
history_dropout = 0.0
item_init = "random"
"""
EVALUATE = """
[evaluate]
budgets = [10, 100]
targets = "new"
"""


def main() -> int:
    """Train, fit once more, evaluate and compare; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replicate", description=__doc__)
    parser.add_argument("data", type=Path, help="folder with amazon-beauty, -sports and -toys as canonical tables")
    parser.add_argument("--work", type=Path, required=True, help="folder for prepared data and runs; kept, goes on")
    parser.add_argument("--sets", nargs="+", default=list(PUBLISHED), choices=list(PUBLISHED))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side, one thread each")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "replicate.json")
    given = parser.parse_args()
    missing = [name for name in given.sets if not (given.data / name).is_dir()]
    if missing:
        print(f"{given.data}: no folder {', '.join(missing)}; expected one of canonical tables each", file=sys.stderr)
        return 2
    given.work.mkdir(parents=True, exist_ok=True)
    (given.work / "settings.toml").write_text(SETTINGS + EVALUATE, encoding="utf-8")
    with ThreadPoolExecutor(given.jobs) as pool:
        found = dict(zip(given.sets, pool.map(lambda name: _measure(name, given), given.sets), strict=True))
    record = {"machine": machine(), "versions": versions(), "seed": given.seed, "settings": SETTINGS, "sets": found}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(record, indent=1), encoding="utf-8")
    gaps = {name: missed_goals(figures["last_fit"], PUBLISHED[name]) for name, figures in found.items()}
    for name, figures in found.items():
        print(summary_line(name, figures))
        for gap in gaps[name]:
            print(f"  MISSED: {gap}")
    return 1 if any(gaps.values()) else 0


def missed_goals(figures: dict[str, Any], published: dict[str, tuple[float, float]]) -> list[str]:
    """Return what lies more than the tolerance below a published number."""
    found = []
    for model, numbers in published.items():
        for metric, number in zip(("hr@10", "ndcg@10"), numbers, strict=True):
            if figures["transformer"][metric]["mean"] < (1 - TOLERANCE) * number:
                found.append(f"{metric} {figures['transformer'][metric]['mean']:.4f}, {model} published {number:.4f}")
    return found


def summary_line(name: str, figures: dict[str, Any]) -> str:
    """Return one set's figures in words."""

    def both(methods: dict[str, Any], method: str) -> str:
        hit_rate, ndcg = (methods[method][metric] for metric in ("hr@10", "ndcg@10"))
        return f"{hit_rate['mean']:.4f} [{hit_rate['low']:.4f}, {hit_rate['high']:.4f}] / {ndcg['mean']:.4f}"

    last, strict = figures["last_fit"], figures["without_last_fit"]
    published = ", ".join(f"{model} {hit:.4f} / {ndcg:.4f}" for model, (hit, ndcg) in PUBLISHED[name].items())
    return (
        f"{name}: HR@10 / NDCG@10 {both(last, 'transformer')} after {figures['epochs']} epochs"
        f" (without the last fit {both(strict, 'transformer')}; popularity {both(last, 'popularity')});"
        f" published {published}"
    )


def _measure(name: str, given: argparse.Namespace) -> dict[str, Any]:
    work, settings = given.work / name, given.work / "settings.toml"
    prepared, run, last = work / "prepared", work / "run", work / "last-fit"
    if not prepared.exists():
        work.mkdir(exist_ok=True)
        _multitudes(
            ["prepare", given.data / name, "--out", prepared, "--split", "leave_one_out", "--follows-from-share", 0.2]
        )
    _train([prepared, "--method", "transformer", "--seed", given.seed, "--config", settings], run)
    _train([prepared, "--refit", run, "--seed", given.seed], last)
    for folder in (run, last):
        if not (folder / "evaluation-test.json").exists():
            _multitudes(["evaluate", folder, "--split", "test", "--config", settings])
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return {
        "epochs": record["best_epoch"],
        "validation_hr": record["validation_hit_rate"],
        "last_fit": _methods(last),
        "without_last_fit": _methods(run),
    }


def _train(arguments: list[object], out: Path) -> None:
    if not (out / "weights.safetensors").exists():
        _multitudes(["train", *arguments, "--out", out, *(["--resume"] if out.exists() else [])])


def _methods(run: Path) -> dict[str, Any]:
    result = json.loads((run / "evaluation-test.json").read_text(encoding="utf-8"))
    keep = ("hr@10", "hr@100", "ndcg@10")
    return {name: {key: figures[key] for key in keep} for name, figures in result["methods"].items()}


def _multitudes(arguments: Iterable[object]) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from multitudes.cli.main import main; main()", *map(str, arguments)]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
