"""Checkpoints of an interrupted run: weights, optimiser state and counters, as safetensors and JSON, replaced at once.

The order of examples, the negatives and the dropout of a step are functions of (seed, epoch, step). So no random state
needs saving, and a resumed run still ends with identical weights.

The first rank writes whole tables, which it gathers one after the other, and every rank reads its rows: so any number
of ranks goes on. (``torch.distributed.checkpoint`` does the same, but reads its index with pickle.) The state of the
best epoch is only in the checkpoint: in memory its weights would be a third of what training takes. If the last epoch
is the best, both files are hard links to the same data, where the file system has links.

::

    checkpoint/position.json       progress of the training
               state.safetensors   its state
               best.safetensors    that of the best epoch so far, if there is one
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from multitudes.atomic import move_folder_into_place
from multitudes.batches.negatives import StreamingFrequency
from multitudes.errors import UnavailableError
from multitudes.nn.two_tower import TwoTower
from multitudes.training.distributed import ITEM_TABLE, SINGLE_PROCESS, Ranks
from multitudes.training.optimizer import Adam
from multitudes.training.trained_run import named_weights, translate_read_errors

_TABLE_OPTIMIZER = "optimizer/1/"  # the number of the table's optimiser; see training.step.initial_state
_STATE, _BEST, _POSITION = "state.safetensors", "best.safetensors", "position.json"


@dataclass
class Position:
    """Progress of a training. The names of the fields are those in position.json."""

    epoch: int = 0
    batch: int = 0  # batches done in this epoch
    step: int = 0  # batches done in total
    best_hit_rate: float = -1.0
    best_epoch: int = -1
    seconds: float = 0.0  # training time so far, over all sessions


@dataclass
class TrainingState:
    """Everything that changes during training."""

    model: TwoTower
    optimizers: list[Adam]
    frequency: StreamingFrequency
    loss_sums: dict[str, Tensor]
    position: Position


def save(state: TrainingState, folder: Path, ranks: Ranks = SINGLE_PROCESS, *, best: bool = False) -> None:
    """Write a checkpoint; a process killed at any moment, or a power loss, leaves either the old one or the new one.

    All ranks must call this. ``best``: this state is the best so far; otherwise the best one is kept.

    Raises:
        OSError, SafetensorError: the first rank could not write; what it wrote is deleted again.
        UnavailableError: the other ranks then; the message is empty, since the first one reports it.
    """
    tensors, failed = _state_tensors(state, ranks), None
    if ranks.is_first:
        try:
            _write(tensors, state.position, folder, best=best)
        except (OSError, SafetensorError) as error:
            failed = error
    if ranks.any(failed is not None):  # all wait for the first: when a rank ends, the others end too
        raise failed or UnavailableError("")


def _write(tensors: dict[str, Tensor], position: Position, folder: Path, *, best: bool) -> None:
    partial, old = folder.with_name(folder.name + ".new"), _previous_folder(folder)
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        save_file(tensors, partial / _STATE)
        source = partial / _STATE if best else folder / _BEST
        if source.exists():
            try:
                (partial / _BEST).hardlink_to(source)
            except OSError:  # the file system has no links
                shutil.copyfile(source, partial / _BEST)
        (partial / _POSITION).write_text(json.dumps(asdict(position)), encoding="utf-8")
        move_folder_into_place(partial, folder, backup=old)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_best(folder: Path) -> dict[str, Tensor]:
    """Return the state of the best epoch; a tensor takes memory when it is first read.

    Raises:
        ArtefactError: the checkpoint is damaged.
    """
    with translate_read_errors(folder / _BEST):
        return load_file(folder / _BEST)


def load(state: TrainingState, folder: Path, ranks: Ranks = SINGLE_PROCESS) -> None:
    """Restore ``state`` in place; without a checkpoint nothing changes.

    Raises:
        ArtefactError: the checkpoint is damaged or belongs to another model.
    """
    old = _previous_folder(folder)
    if ranks.is_first and old.exists() and not folder.exists():
        old.replace(folder)  # a crash between the two renames of `save`
    ranks.barrier()
    if not folder.exists():
        return
    with translate_read_errors(folder / _POSITION):
        state.position = Position(**json.loads((folder / _POSITION).read_text(encoding="utf-8")))
    own = ranks.own_rows(state.model.items.id_embedding.num_embeddings)
    with translate_read_errors(folder / _STATE), safe_open(folder / _STATE, "pt") as stored:

        def read(prefix: str) -> dict[str, Tensor]:
            names = [name for name in stored.keys() if name.startswith(prefix)]  # noqa: SIM118 (no dictionary)
            return {
                name.removeprefix(prefix): stored.get_slice(name)[own] if _has_rows(name) else stored.get_tensor(name)
                for name in names
            }

        weights = read("weight/")
        for name, tensor in named_weights(state.model).items():
            tensor.copy_(weights.pop(name))  # freed before the moments are read
        state.loss_sums, frequency = read("loss/"), read("frequency/")
        state.frequency.last[:], state.frequency.interval[:] = frequency["last"].numpy(), frequency["interval"].numpy()
        for i, optimizer in enumerate(state.optimizers):
            restore_optimizer(optimizer, read(f"optimizer/{i}/"))


def _has_rows(name: str) -> bool:
    """Return whether a tensor has a row for each item, so that every rank holds some of its rows."""
    return name.endswith(ITEM_TABLE) or (name.startswith(_TABLE_OPTIMIZER) and not name.endswith("/step"))


def _previous_folder(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")


def _state_tensors(state: TrainingState, ranks: Ranks) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint; those with rows are whole on the first rank, and absent on the others."""
    tensors = {f"weight/{name}": tensor for name, tensor in named_weights(state.model).items()}
    tensors |= {f"loss/{name}": tensor for name, tensor in state.loss_sums.items()}
    tensors["steps"] = torch.tensor(state.position.step)
    tensors["frequency/last"] = torch.from_numpy(state.frequency.last)
    tensors["frequency/interval"] = torch.from_numpy(state.frequency.interval)
    for i, optimizer in enumerate(state.optimizers):
        for number, values in optimizer.state.items():
            tensors |= {f"optimizer/{i}/{number}/{key}": value for key, value in values.items()}
    rows = state.model.items.id_embedding.num_embeddings
    whole = {
        name: ranks.gather_to_first(tensor, rows) if _has_rows(name) else tensor for name, tensor in tensors.items()
    }
    return {name: tensor.contiguous().cpu() for name, tensor in whole.items() if tensor is not None}


def restore_optimizer(optimizer: Adam, tensors: dict[str, Tensor]) -> None:
    """Set the state of ``optimizer`` from tensors named NUMBER/KEY, NUMBER being that of a weight."""
    optimizer.state = {}
    for name, tensor in tensors.items():
        number, key = name.split("/")
        placed = tensor if key == "step" else tensor.to(optimizer.weights[int(number)].device)
        optimizer.state.setdefault(int(number), {})[key] = placed
