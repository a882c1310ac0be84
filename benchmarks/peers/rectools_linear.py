"""RecTools: EASE, iALS and item-kNN. Runs in the peers' virtual environment.

A user counts once for an item, as in the linear models of this project, so that EASE is the same model in both.

Release 0.19.0 reads EASE's weights the wrong way round for users: the score of item j is the sum of B[j, i] over the
items i of the history in place of B[i, j], though B is not symmetric. ``ease`` is the model as released;
``ease_corrected`` has its weights transposed before it answers.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, ItemItemRecommender, TFIDFRecommender
from numpy.typing import NDArray
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import EASEModel, ImplicitALSWrapperModel, ImplicitItemKNNWrapperModel
from rectools.models.base import ModelBase

from benchmarks.peers.exchange import Clock, Report, Settings, Task, read_task

NEAREST: dict[str, type[ItemItemRecommender]] = {
    "counts": ItemItemRecommender,  # of the users of both, not divided by anything
    "cosine": CosineRecommender,
    "tfidf": TFIDFRecommender,
    "bm25": BM25Recommender,
}


def main(folder: Path, method: str, options: dict[str, Any]) -> None:
    """Fit and answer."""
    task, settings = read_task(folder)
    train, model = dataset(task), build(method, options, settings)
    report, clock = Report(folder, ("rectools", "pm-implicit", "numpy")), Clock()
    clock.start()
    model.fit(train)
    if method == "ease_corrected":
        model.weight = np.ascontiguousarray(model.weight.T)
    report.epoch(len(task.train.item), clock.read(), lists(model, train, task, settings))
    report.stop("solved")


def build(method: str, options: dict[str, Any], settings: Settings) -> ModelBase[Any]:
    """Return a model that is not fitted."""
    if method in ("ease", "ease_corrected"):
        return EASEModel(regularization=options["regularisation"], recommend_n_threads=1)
    if method == "item_knn":
        nearest = NEAREST[options["similarity"]](K=options["neighbours"], num_threads=1)
        return ImplicitItemKNNWrapperModel(nearest)
    factorisation = AlternatingLeastSquares(
        factors=settings.width,
        regularization=options["regularisation"],
        alpha=options["alpha"],
        iterations=options["sweeps"],
        num_threads=1,
        random_state=settings.seed,
    )
    return ImplicitALSWrapperModel(factorisation)


def dataset(task: Task) -> Dataset:
    """Return the distinct pairs of users and items of training."""
    pair = np.unique(np.stack([task.train.owners(), task.train.item]), axis=1)
    frame = {Columns.User: task.train.user[pair[0]], Columns.Item: pair[1], Columns.Weight: 1.0}
    return Dataset.construct(pd.DataFrame(frame | {Columns.Datetime: pd.Timestamp(0)}))


def lists(model: ModelBase[Any], train: Dataset, task: Task, settings: Settings) -> NDArray[np.int64]:
    """Return the lists (B, N); users without training events have none."""
    users = np.intersect1d(task.held.user, train.user_id_map.external_ids)
    found = model.recommend(users, train, k=settings.places, filter_viewed=True)
    list_BN = np.zeros((len(task.held.user), settings.places), dtype=np.int64)
    list_BN[np.searchsorted(task.held.user, found[Columns.User]), found[Columns.Rank] - 1] = found[Columns.Item]
    return list_BN


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
