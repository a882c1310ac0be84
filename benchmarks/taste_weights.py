"""``python -m benchmarks.taste_weights PREPARED OUT``: do targets of small tastes, weighted up, teach better interests?

Trains joint four times: as it is; with each training event weighted by p(c|u)^-alpha, alpha .5 and 1, where c is the
taste of its item (clusters of the first run's item vectors) and p its share in the user's history; and with alpha .5
and the tastes of items shuffled, the control. The weights of each user have a mean of 1. Prints hits and interests
served on validation.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multitudes.data.prepared import TRAIN, PreparedData
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import evaluate
from multitudes.index.tastes import cluster_items, nearest_tastes
from multitudes.training.config import RunConfig
from multitudes.training.loop import train
from multitudes.training.trained_run import TrainedRun

_USERS = 1000


def weighted(prepared: PreparedData, taste_I: NDArray[np.int64], alpha: float) -> NDArray[np.float32]:
    """Return the weight of each event; those that no target has stay as they are."""
    user = np.repeat(np.arange(len(prepared.event_offset) - 1), np.diff(prepared.event_offset))
    own = np.array(prepared.event_weight, dtype=np.float64)
    counts = (np.array(prepared.event_split) == TRAIN) & (own > 0)
    key = user * (int(taste_I.max()) + 2) + taste_I[np.array(prepared.event_item, dtype=np.int64)] + 1
    of_taste, of_user = (
        np.bincount(key[counts], minlength=key.max() + 1),
        np.bincount(user[counts], minlength=user[-1] + 1),
    )
    weight = np.where(counts, (np.maximum(of_taste[key], 1) / np.maximum(of_user[user], 1)) ** -alpha, 0.0)
    mean = np.bincount(user, weight) / np.maximum(of_user, 1)
    return np.where(counts, weight / np.maximum(mean[user], 1e-9), own).astype(np.float32)


def main() -> None:
    """Train and print."""
    source, out = PreparedData.open(sys.argv[1]), Path(sys.argv[2])
    config = RunConfig.model_validate({"method": "joint", "model": {"crossing": {"hidden": 0}}})
    run = train(source, config, out / "base")
    _print("as it is", run, source)
    vectors_ID = run.item_vectors()
    taste_I = nearest_tastes(vectors_ID, cluster_items(vectors_ID)).astype(np.int64)
    for name, alpha, tastes in (
        ("alpha .5", 0.5, taste_I),
        ("alpha 1", 1.0, taste_I),
        ("shuffled", 0.5, np.random.default_rng(0).permutation(taste_I)),
    ):
        data = out / f"{name} data"
        shutil.copytree(source.path, data)
        np.save(data / "event_weight.npy", weighted(source, tastes, alpha))
        trained = train(PreparedData.open(data), config, out / name)
        _print(name, TrainedRun.open(trained.path, source.path), source)


def _print(name: str, run: TrainedRun, prepared: PreparedData) -> None:
    settings = EvaluateConfig(split="validation", budgets=(20, 100), max_users=_USERS, targets="new")
    methods = evaluate(run, settings).result["methods"]
    for system in ("joint", "unconditioned"):
        figures = {
            name: round(methods[system][name]["mean"], 4) for name in ("hr@20", "served@20", "hr@100", "served@100")
        }
        print(prepared.path.name, name, system, figures, flush=True)


if __name__ == "__main__":
    main()
