"""The methods of this project, trained by ``train`` and scored by the evaluator."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.score import BUDGETS
from multitudes.batches.held_out import HeldOut
from multitudes.data.prepared import PreparedData
from multitudes.evaluation.baselines import Baselines
from multitudes.evaluation.outcomes import ListKey, Measures
from multitudes.evaluation.protocol import Evaluator
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.scorer import catalogue
from multitudes.training.config import RunConfig
from multitudes.training.loop import train
from multitudes.training.runs import Run


def train_run(prepared: PreparedData, config: RunConfig, out: Path) -> dict[str, Any]:
    """Train and return targets, seconds and validation hit rate of every epoch, and the best one by validation."""
    shares = CpuShares()
    train(prepared, config, out, progress=shares)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    wall_s = [
        line["seconds"] - before for line, before in zip(lines, [0.0, *(e["seconds"] for e in lines)], strict=False)
    ]
    return {
        "epochs": [
            {"targets": round(line["targets_per_s"] * wall), "wall_s": wall, "cpu_s": wall * share}
            for line, wall, share in zip(lines, wall_s, shares.of_epochs, strict=True)
        ],
        "hit_rates": [line["validation_hit_rate"] for line in lines],
        "best_epoch": json.loads((out / "run.json").read_text(encoding="utf-8"))["best_epoch"],
    }


class CpuShares:
    """The share of each epoch's seconds in which the processor worked, read off the progress that training reports."""

    def __init__(self) -> None:
        self._began: dict[str, tuple[float, float]] = {}
        self._ended: dict[str, tuple[float, float]] = {}

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Take note of the first and the last batch of an epoch; ``note`` begins with "epoch 2 of 20,"."""
        del done, total
        if not note.startswith("epoch "):
            return  # what follows the epochs
        epoch, now = note.partition(",")[0], (time.perf_counter(), time.process_time())
        self._began.setdefault(epoch, now)
        self._ended[epoch] = now

    @property
    def of_epochs(self) -> list[float]:
        """The shares of the epochs, in their order."""
        spans = [np.subtract(self._ended[epoch], began) for epoch, began in self._began.items()]
        return [float(cpu_s / wall_s) if wall_s else 1.0 for wall_s, cpu_s in spans]


def user_outcomes(run: Run, held: HeldOut) -> dict[ListKey, Measures]:
    """Return what each user got from the run as it is served by default, and from the baselines."""
    retrieve = with_run_defaults(RetrieveConfig(), run.shares, run.blend, run.calibration)
    items = catalogue(run, run.item_vectors())
    return (
        Evaluator(run, items, retrieve, BUDGETS, "none", Baselines(run.prepared)).evaluate(held, ["new"])["new"].lists
    )
