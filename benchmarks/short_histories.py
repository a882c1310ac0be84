"""Does more calibration for short or diverse histories serve more at the same hits?

``python -m benchmarks.short_histories STUDY``

STUDY is a folder of ``multitudes study examples/coverage.toml``; its runs of joint with seed 0 answer for their
validation users. A user with n positive items of T tastes (the inverse of the sum of squared shares) has
the calibration that training chose, c, or more: c^(n / (n + 6)), c^(n / (n + 2 (T − 1))); or every user has c + .1.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import seen_items, select_targets
from multitudes.data.own_items import positive_items
from multitudes.linear.reference_clusters import ReferenceClusters
from multitudes.metrics.coverage import served
from multitudes.retrieval.allocation import proposals, with_tastes
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.scorer import catalogue, user_vectors
from multitudes.retrieval.search import search_vectors
from multitudes.training import selection
from multitudes.training.runs import open_run
from multitudes.training.trained_run import TrainedRun

N = 100
RULES: Final[dict[str, Any]] = {
    "c": lambda c, n, _: c + 0 * n,
    "short": lambda c, n, _: c ** (n / (n + 6)),
    "diverse": lambda c, n, tastes: c ** (n / (n + 2 * (tastes - 1))),
    "c + .1": lambda c, n, _: c + 0.1 + 0 * n,
}


def measure(run_folder: Path, data: Path, name: str) -> None:
    """Print hits and interests served of each rule beyond those of ``c``, with standard errors over users."""
    run = open_run(run_folder, data)
    chosen = json.loads((run_folder / "run.json").read_text())["calibration"]
    assert isinstance(run, TrainedRun)
    held = selection.draw_validation_users(run.prepared, run.config)
    users = select_targets(held, held.target_is_first_time)
    items, reference = catalogue(run, run.item_vectors()), ReferenceClusters.from_prepared(run.prepared)
    config = RetrieveConfig(blend=run.blend, calibration=0.0)
    vectors = user_vectors(run, users, config, items)
    positives = positive_items(run.prepared, users.user_B, users.end_B)
    clusters = reference.interests(run.prepared, users).clusters
    whole = with_tastes(vectors, positives, items, 1.0)
    lists = search_vectors(whole, items, proposals(whole, N), seen_items(run.prepared, users), config)
    n_B = np.maximum([len(own) for own in positives], 1).astype(float)
    assert whole.taste_BT is not None
    tastes_B = 1 / np.maximum((whole.taste_BT**2).sum(axis=1), 1e-9)
    tastes_B[~whole.taste_BT.any(axis=1)] = 1
    found: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    targets = np.diff(users.target_offset).sum()
    for rule, calibration in RULES.items():
        own = vectors._replace(taste_BT=whole.taste_BT * calibration(chosen, n_B, tastes_B)[:, None])
        hits_B, item_BN = selection.hits_of_users(own, items, users, N, run, config, lists)
        found[rule] = hits_B, served(clusters.list_shares(item_BN), clusters.history_BC)
    for rule, (hits_B, served_B) in found.items():
        lost_B, more_B = hits_B - found["c"][0], served_B - found["c"][1]
        error = np.sqrt((lost_B**2).sum()) / targets, np.nanstd(more_B) / np.sqrt((~np.isnan(more_B)).sum())
        hits = f"hits {hits_B.sum() / targets:.4f} ({lost_B.sum() / targets:+.4f} ± {error[0]:.4f})"
        more = f"served {np.nanmean(served_B):.3f} ({np.nanmean(more_B):+.4f} ± {error[1]:.4f})"
        print(f"{name}, c = {chosen}, {rule}: {hits}, {more}", flush=True)


if __name__ == "__main__":
    study = Path(sys.argv[1])
    for cell in json.loads((study / "cells.json").read_text())["cells"]:
        if (cell["method"], cell["seed"]) == ("joint", 0):
            measure(study / "cells" / cell["training"] / "run", study / "data" / cell["data"], cell["data"])
