"""What the optimiser of a finished run knew, kept beside its weights so that a run can go on from it.

::

    RUN/state.safetensors
        exp_avg/WEIGHT, exp_avg_sq/WEIGHT   the two moments of a weight, as large as the weight
        step/WEIGHT                         how many steps they are the means of
        frequency/last, frequency/interval  how often each item was among the negatives; 16 bytes an item
        steps                               of the run and of those that it went on from
        weights (metadata)                  the digest of the weights that it belongs to

It is the state at the end of the epoch whose weights were kept. Whoever goes on finds by name what has a name: a row of
a new item, topic or action has no moments. The steps go on counting for new rows too: the table's optimiser has one
count for all, so a new row begins as one does that a single long run meets late. And as draws follow the step, those of
the days before do not come again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from multitudes.atomic import replace_file
from multitudes.data.table_files import table_sha256
from multitudes.training import checkpoint
from multitudes.training.checkpoint import TrainingState
from multitudes.training.trained_run import WEIGHTS, named_weights

STATE_FILE = "state.safetensors"
_REPAIR = "remove it, and the optimiser begins anew"
_DIGEST_KEY = "weights"
_MOMENTS = ("exp_avg", "exp_avg_sq")
_LAST, _INTERVAL, _STEPS = "frequency/last", "frequency/interval", "steps"


@dataclass(frozen=True)
class RowMatches:
    """Where what has a name stood before, -1 where it is new."""

    by_weight: Mapping[str, NDArray[np.int64]]  # by the weight's name; of the item table this rank's rows alone
    items: NDArray[np.int64]  # of all items: how often they are drawn is known to every rank


def weight_names(state: TrainingState) -> dict[str, str]:
    """Return the name of each weight by where its optimiser's state lies in a checkpoint."""
    name = {id(weight): name for name, weight in state.model.named_parameters()}
    return {
        f"{i}/{j}": name[id(weight)]
        for i, optimizer in enumerate(state.optimizers)
        for j, weight in enumerate(optimizer.weights)
    }


def write_state(folder: Path, items: int, name: dict[str, str], run: Path) -> None:
    """Write what the best epoch of the checkpoint ``folder`` ended with into ``run``, whole or not at all."""
    tensors = {f"frequency/{key}": tensor for key, tensor in checkpoint.load_best(folder, items, "frequency/").items()}
    tensors[_STEPS] = checkpoint.load_best(folder, items, _STEPS)[""]
    for place, tensor in checkpoint.load_best(folder, items, "optimizer/").items():
        number, key = place.rsplit("/", 1)
        tensors[f"{key}/{name[number]}"] = tensor
    with replace_file(run / STATE_FILE) as partial:
        save_file(tensors, partial, {_DIGEST_KEY: table_sha256(run / WEIGHTS)})


def restore_state(
    state: TrainingState, run: Path, rows: RowMatches, before: Mapping[str, torch.Size], *, same_pool: bool
) -> None:
    """Take over, in place, what ``run`` kept of its optimiser; nothing where it kept none.

    Args:
        state: of this rank, with the weights that it begins with.
        run: the finished run.
        rows: where what has rows by name finds its own.
        before: the shape of each weight of that run.
        same_pool: negatives are drawn as there, so how often an item is among them is known.

    Raises:
        ArtefactError: the file is damaged, or of another model.
    """
    file = run / STATE_FILE
    if not file.exists():
        return
    with checkpoint.translate_read_errors(file, _REPAIR), safe_open(file, "pt") as opened:
        # Of another run with layers as wide, it would fit and be wrong. A file of an earlier version does not say.
        if (opened.metadata() or {}).get(_DIGEST_KEY, "") not in ("", table_sha256(run / WEIGHTS)):
            raise ValueError
        there, own = set(opened.keys()), named_weights(state.model)
        taken: list[dict[str, Tensor]] = [{} for _ in state.optimizers]
        for place, name in weight_names(state).items():
            if f"step/{name}" not in there:
                continue  # it never had a gradient
            optimizer, number = place.split("/")
            tensors = taken[int(optimizer)]
            tensors[f"{number}/step"] = opened.get_tensor(f"step/{name}")
            for key in _MOMENTS:
                moment = _check_shape(opened.get_tensor(f"{key}/{name}"), before[name])
                tensors[f"{number}/{key}"] = _reorder_rows(moment, own[name], rows.by_weight.get(name))
        for adam, tensors in zip(state.optimizers, taken, strict=True):
            checkpoint.restore_optimizer(adam, tensors)
        state.position.step = int(opened.get_tensor(_STEPS))
        state.frequency.last[:] = state.position.step
        if same_pool:
            known = rows.items >= 0
            for key, values in ((_LAST, state.frequency.last), (_INTERVAL, state.frequency.interval)):
                values[known] = opened.get_tensor(key).numpy()[rows.items[known]]


def copy_matched_rows(weight: Tensor, before: Tensor, place: NDArray[np.int64]) -> None:
    """Fill the rows of ``weight`` that stood somewhere ``before``, in place; the others stay."""
    known = torch.from_numpy(np.flatnonzero(place >= 0)).to(weight.device)
    weight[known] = before[torch.from_numpy(place[place >= 0])].to(weight.device)


def _reorder_rows(moment: Tensor, weight: Tensor, place: NDArray[np.int64] | None) -> Tensor:
    if place is None:
        return moment
    moved = torch.zeros_like(weight, device="cpu")
    copy_matched_rows(moved, moment, place)
    return moved


def _check_shape(tensor: Tensor, shape: torch.Size) -> Tensor:
    if tensor.shape != shape:
        raise ValueError
    return tensor
