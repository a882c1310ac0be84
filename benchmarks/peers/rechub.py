"""torch-rechub: MIND, ComiRec-SA and ComiRec-DR, called as its examples call them. Runs in the peers' environment.

One row is one target with the history before it and its own negatives, drawn evenly once before training. A user's
vectors are searched together: an item's score is its best over the vectors, as in the library's evaluation.

The models take a temperature, .02 in the library's examples, and release 0.9.0 ignores it: their logits are cosines
between −1 and 1, too close to each other for a softmax over hundreds of items to learn from. Here they are divided by
it.
"""

import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch_rechub.basic.features import SequenceFeature, SparseFeature
from torch_rechub.models.matching import MIND, ComirecDR, ComirecSA
from torch_rechub.trainers import MatchTrainer
from torch_rechub.utils.data import MatchDataGenerator

from benchmarks.peers.exchange import Clock, Report, Settings, Task, histories, read_task, top_items

Rows = dict[str, NDArray[np.int64]]


def main(folder: Path, method: str) -> None:
    """Train and answer."""
    task, settings = read_task(folder)
    torch.manual_seed(settings.seed)
    rows, model = training_rows(task, settings), build(task, settings, method)
    data = MatchDataGenerator(x=rows, y=np.zeros(len(rows["item_id"]), dtype=np.int64))  # the positive is column 0
    items = {"item_id": np.arange(task.n_items + 1)}
    loaders = data.generate_dataloader(held_out_rows(task, settings), items, settings.batch_size, num_workers=0)
    report, clock = Report(folder, ("torch-rechub", "torch", "numpy")), Clock()
    with TemporaryDirectory() as weights:
        trainer = MatchTrainer(
            model,
            mode=2,  # list-wise: softmax over the positive and its negatives
            optimizer_params={"lr": settings.learning_rate, "weight_decay": 1e-6},
            device="cpu",
            model_path=weights,
        )
        while report.more(settings):
            clock.start()
            trainer.train_one_epoch(loaders[0])
            seconds = clock.read()
            report.epoch(len(rows["item_id"]), seconds, lists(model, loaders[1], loaders[2], task, settings))


def training_rows(task: Task, settings: Settings) -> Rows:
    """Return a row for every event that has an earlier one."""
    position = np.flatnonzero(task.train.ranks() > 0)
    owner = task.train.owners()[position]
    random = np.random.default_rng(settings.seed)
    return {
        "user_id": task.train.user[owner] + 1,
        "hist_item_id": histories(task.train.item, task.train.offset[owner], position, settings.history),
        "item_id": task.train.item[position],
        "neg_items": random.integers(1, task.n_items + 1, size=(len(position), settings.negatives)),
    }


def held_out_rows(task: Task, settings: Settings) -> Rows:
    """Return a row for every held-out user."""
    offset = task.held.offset
    newest = histories(task.held.item, offset[:-1], offset[1:], settings.history)
    return {"user_id": task.held.user + 1, "hist_item_id": newest}


def build(task: Task, settings: Settings, method: str) -> torch.nn.Module:
    """Return an untrained model."""
    width, vocabulary = settings.width, task.n_items + 1

    def sequence(name: str) -> SequenceFeature:
        return SequenceFeature(name, vocabulary, width, pooling="concat", shared_with="item_id")

    features = (
        [SparseFeature("user_id", task.n_users + 1, width)],
        [sequence("hist_item_id")],
        [SparseFeature("item_id", vocabulary, width)],
        [sequence("neg_items")],
    )
    if method == "comirec_sa":
        model: torch.nn.Module = ComirecSA(*features, interest_num=settings.interests)
    else:
        kind = {"mind": MIND, "comirec_dr": ComirecDR}[method]
        model = kind(*features, max_length=settings.history, interest_num=settings.interests)
    model.register_forward_hook(partial(divide_logits, settings.temperature))
    return model


def divide_logits(temperature: float, model: torch.nn.Module, _: object, output: torch.Tensor) -> torch.Tensor:
    """Return the logits divided by the temperature; vectors, which a model gives in its other modes, as they are."""
    return output / temperature if model.mode is None else output


def lists(
    model: torch.nn.Module,
    users: torch.utils.data.DataLoader[Rows],
    items: torch.utils.data.DataLoader[Rows],
    task: Task,
    settings: Settings,
) -> NDArray[np.int64]:
    """Return the lists (B, N) by exact search."""
    user_BKD, item_ID = vectors(model, "user", users), vectors(model, "item", items)
    score_BI = np.full((len(user_BKD), len(item_ID)), -np.inf, dtype=np.float32)
    for k in range(user_BKD.shape[1]):
        np.maximum(score_BI, user_BKD[:, k] @ item_ID.T, out=score_BI)
    return top_items(score_BI, task.held, settings.places)


@torch.no_grad()
def vectors(model: torch.nn.Module, mode: str, rows: torch.utils.data.DataLoader[Rows]) -> NDArray[np.float32]:
    """Return the vectors of users or items, and leave the model in training."""
    model.eval()
    model.mode = mode  # type: ignore[assignment]
    found = [model(batch).numpy() for batch in rows]
    model.mode = None  # type: ignore[assignment]
    model.train()
    return np.concatenate(found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
