"""RecTools: SASRec, and eSASRec (SASRec with the layers of LiGR). Runs in the peers' virtual environment.

RecTools trains on the newest ``session_max_len`` + 1 events of a user and never sees the others. Histories that are
longer come as several pieces, each a user of its own to RecTools, so that every event is a target here too; neighbours
share one event, the last target of one and the first input of the next.
"""

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.transformers.ligr import LiGRLayers
from rectools.models.nn.transformers.sasrec import SASRecTransformerLayers

from benchmarks.peers.exchange import Clock, Report, Sequences, Settings, Task, read_task


class Epoch(Callback):  # type: ignore[misc]
    """Counts the targets of an epoch and times it, without what RecTools does before and after."""

    def __init__(self) -> None:
        self.clock, self.targets, self.seconds = Clock(), 0, (0.0, 0.0)

    def on_train_epoch_start(self, trainer: Trainer, module: Any) -> None:  # noqa: ANN401
        del trainer, module
        self.targets = 0
        self.clock.start()

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ANN401
        del trainer, module, outputs, batch_idx
        self.targets += int((batch["y"] != 0).sum())

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:  # noqa: ANN401
        del trainer, module
        self.seconds = self.clock.read()


def main(folder: Path, variant: str) -> None:
    """Train and answer.

    Args:
        folder: see ``exchange``.
        variant: a loss of RecTools for SASRec, such as ``softmax``; or ``esasrec``.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    task, settings = read_task(folder)
    torch.manual_seed(settings.seed)
    train = dataset(*pieces(task.train, settings.history))
    held = dataset(task.held.owners(), task.held.item)
    model = build(settings, variant)
    report = Report(folder, ("rectools", "torch", "numpy"))
    while report.more(settings):
        model.fit_partial(train, min_epochs=1, max_epochs=1)
        epoch = next(callback for callback in model.fit_trainer.callbacks if isinstance(callback, Epoch))
        report.epoch(epoch.targets, epoch.seconds, lists(model, held, task, settings))


def build(settings: Settings, variant: str) -> SASRecModel:
    """Return an untrained model."""
    is_extended = variant == "esasrec"
    return SASRecModel(
        n_blocks=settings.blocks,
        n_heads=settings.heads,
        n_factors=settings.width,
        dropout_rate=settings.dropout,
        session_max_len=settings.history,
        transformer_layers_type=LiGRLayers if is_extended else SASRecTransformerLayers,
        loss="sampled_softmax" if is_extended else variant,
        n_negatives=settings.negatives,
        lr=settings.learning_rate,
        batch_size=settings.batch_size,
        get_trainer_func=trainer,
    )


def trainer() -> Trainer:
    """Return RecTools's own trainer but for the callback."""
    return Trainer(
        max_epochs=1,
        min_epochs=1,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[Epoch()],
    )


def pieces(train: Sequences, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a number of its piece for every event, and its item: pieces of ``length`` + 1, in order of time."""
    owner, rank = train.owners(), train.ranks()
    most = int(rank.max()) // length + 1
    again = np.flatnonzero((rank % length == 0) & (rank > 0))
    piece = np.concatenate([owner * most + rank // length, owner[again] * most + rank[again] // length - 1])
    position = np.concatenate([np.arange(len(rank)), again])
    order = np.lexsort((position, piece))
    return piece[order], train.item[position[order]]


def dataset(user: NDArray[np.int64], item: NDArray[np.int64]) -> Dataset:
    """Return events in order of time as RecTools takes them."""
    second = pd.to_datetime(np.arange(len(item)), unit="s")
    frame = {Columns.User: user, Columns.Item: item, Columns.Weight: 1.0, Columns.Datetime: second}
    return Dataset.construct(pd.DataFrame(frame))


def lists(model: SASRecModel, held: Dataset, task: Task, settings: Settings) -> NDArray[np.int64]:
    """Return the lists (B, N); users of whom the model knows nothing have none."""
    users = np.unique(task.held.owners())
    found = model.recommend(users, held, k=settings.places, filter_viewed=True, on_unsupported_targets="ignore")
    list_BN = np.zeros((len(task.held.user), settings.places), dtype=np.int64)
    list_BN[found[Columns.User], found[Columns.Rank] - 1] = found[Columns.Item]
    return list_BN


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
