"""What a cell leaves in its result: how good, at what cost, and how its interests are.

Legend: Q requests.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from multitudes.batches.held_out import HeldOut, held_out, part
from multitudes.data.prepared import Split
from multitudes.evaluate.serving import catalogue, user_vectors
from multitudes.evaluate.targets import sample, seen_items
from multitudes.retrieve.find import find
from multitudes.retrieve.plan import RetrieveConfig, fitted
from multitudes.study.config import Metric
from multitudes.train.run import TrainedRun, weights
from multitudes.train.runs import Run

_FIGURES: tuple[Metric, ...] = ("hr", "recall", "ndcg", "topics")
_REQUESTS = 200  # timed; enough for a ninth decile
_SEED = 0  # of the users who are timed: the same for every method


def summary(result: dict[str, Any], runs: Sequence[Path]) -> dict[str, Any]:
    """Return the figures of an evaluation that a study lists, with those of the trainings behind it."""
    budget, own = result["budget"], result["methods"][result["method"]]
    epochs = [of_run for of_run in map(_epochs, runs) if of_run]  # none: nothing was trained
    return {
        "budget": budget,
        "users": result["users"],
        "score": {figure: own[f"{figure}@{budget}"]["mean"] for figure in _FIGURES},
        "interests": result["interests"],
        "train_seconds": sum((of_run[-1]["seconds"] for of_run in epochs), 0.0),
        # Of two runs there is no one speed.
        "targets_per_s": round(fmean(e["targets_per_s"] for e in epochs[0]), 1) if len(epochs) == 1 else None,
    }


def _epochs(run: Path) -> list[dict[str, Any]]:
    metrics = run / "metrics.jsonl"
    return [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()] if metrics.exists() else []


def costs(run: Run, retrieve: RetrieveConfig, split: Split, n: int) -> dict[str, Any]:
    """Return the size of a model, the vectors that its users have, and what one request for ``n`` candidates takes."""
    config = fitted(retrieve, run.shares, run.blend)
    items = catalogue(run, run.item_vectors())
    users = sample(held_out(run.prepared, split), _REQUESTS, _SEED)
    seen = seen_items(run.prepared, users)
    vectors, ms = [], []
    for b in range(len(users)):
        one: HeldOut = part(users, np.array([b]))
        began_s = time.perf_counter()
        vectors_1KD = user_vectors(run, one, config)
        find(vectors_1KD, items, n, seen[b : b + 1], config)
        ms.append(1000 * (time.perf_counter() - began_s))
        vectors.append(int(vectors_1KD.mask_BK.sum()))
    return {
        "parameters": sum(t.numel() for t in weights(run.model).values()) if isinstance(run, TrainedRun) else 0,
        "vectors_per_user": round(float(np.mean(vectors)), 2),
        "p90_ms": round(float(np.percentile(ms, 90)), 3),
    }


def together(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the costs of runs that are asked one after the other; those of one run are its own."""
    return {key: round(sum(one[key] for one in each), 3) for key in each[0]}
