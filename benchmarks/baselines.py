"""``python -m benchmarks.baselines PREPARED…``: what the baselines find that a user would pick, by data set.

HR@100 and HR@10 on first-time targets: the entire history is excluded, everybody is asked. Settings are tuned on the
validation split, see ``multitudes.evaluation.model_baselines``; EASE is cut with the λ that EASE has.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import MeasurementContext
from benchmarks.markdown import table
from benchmarks.records import save_record
from multitudes.batches.held_out import HeldOut, held_out_users, seen_items
from multitudes.data.prepared import PreparedData, Split
from multitudes.evaluation.baselines import fill_lists
from multitudes.evaluation.list_metrics import ItemFacts
from multitudes.evaluation.model_baselines import list_items, model_baselines
from multitudes.evaluation.outcomes import (
    Bootstrap,
    ListKey,
    list_measures,
    methods_and_differences,
    target_measures,
)
from multitudes.evaluation.targets import targets_of_kind
from multitudes.linear.ease import ease_factors
from multitudes.linear.interactions import interaction_matrix
from multitudes.linear.popularity import items_by_popularity
from multitudes.progress import Progress, ProgressBar

RESULTS = Path("benchmarks/results/baselines.json")
LABELS = {
    "popularity_events": "popularity, events counted",
    "popularity": "popularity, distinct users counted",
    "item_knn": "item-kNN, cosine with shrinkage, 100 neighbours",
    "ials": "iALS, one vector of 64",
    "ease": "EASE",
    "ease_64": "EASE cut to rank 64: one vector of 64",
}
RANK, SEED, RESAMPLES = 64, 0, 1000
BUDGETS = (10, 100)
_PACKAGES = ("multitudes", "numpy", "scipy")


def main() -> int:
    """Measure each data set, save the records, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.baselines", description=__doc__)
    parser.add_argument("prepared", nargs="+", type=Path, help="prepared folders")
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file with all records; kept, goes on")
    given = parser.parse_args()
    records = {}
    for folder in given.prepared:
        context = MeasurementContext()
        with ProgressBar(folder.name) as progress:
            figures = measure(PreparedData.open(folder), given.split, progress)
        settings = {"seed": SEED, "resamples": RESAMPLES, "rank": RANK}
        records[folder.name] = context.head(_PACKAGES) | {"settings": settings} | figures
        save_record(given.out, given.split, folder.name, records[folder.name])
    print("\n".join(figures_table(records)))
    return 0


def measure(prepared: PreparedData, split: Split, progress: Progress) -> dict[str, Any]:
    """Return the figures of every baseline with intervals over users, and what was tuned."""
    users = targets_of_kind(held_out_users(prepared, split), "new")
    length = max(BUDGETS)
    models = model_baselines(prepared, users, ["new"], length, 100, progress)
    lists = {name: model.lists["new"] for name, model in models.items() if model.lists}
    matrix = interaction_matrix(prepared)
    popular = items_by_popularity(matrix.sum(axis=0), prepared.item_count)
    seen = seen_items(prepared, users)
    for name, order in {"popularity_events": items_by_popularity(prepared.item_count), "popularity": popular}.items():
        lists[name] = fill_lists([np.empty(0, dtype=np.int64)] * len(users), order, seen, length)
    if "ease" in lists:
        factors = ease_factors(matrix, models["ease"].record["settings"]["regularisation"], RANK)
        lists["ease_64"] = list_items(factors, prepared, users, "new", length, popular)
    return {
        "users": len(users),
        "targets": len(users.target),
        "figures": _figures({name: lists[name] for name in LABELS if name in lists}, users, prepared),
        "tuning": {name: model.record for name, model in models.items()},
    }


def _figures(lists: dict[str, NDArray[np.int64]], users: HeldOut, prepared: PreparedData) -> dict[str, Any]:
    facts = ItemFacts.from_prepared(prepared)
    measures = {
        ListKey(name, n): list_measures(item_BN[:, :n], users, facts)
        for name, item_BN in lists.items()
        for n in BUDGETS
    }
    targets, bootstrap = target_measures(users, facts), Bootstrap(RESAMPLES, SEED)
    methods, _ = methods_and_differences(measures, targets, "popularity", bootstrap)
    wanted = [f"{figure}@{n}" for figure in ("hr", "ndcg") for n in BUDGETS]
    return {name: {key: figures[key] for key in wanted} for name, figures in methods.items()}


def figures_table(records: dict[str, dict[str, Any]]) -> list[str]:
    """Return the table of all data sets as lines of Markdown."""
    rows = []
    for name, label in LABELS.items():
        cells = [record["figures"].get(name) for record in records.values()]
        rows.append([label, *("–" if cell is None else _cell(cell) for cell in cells)])
    return table(["HR@100 (HR@10)", *records], rows)


def _cell(figures: dict[str, Any]) -> str:
    return f"{figures['hr@100']['mean']:.3f} ({figures['hr@10']['mean']:.3f})".replace("0.", ".")


if __name__ == "__main__":
    sys.exit(main())
