"""The optimiser state of a finished run, kept next to its weights so that another run can continue from it.

::

    RUN/state.safetensors
        exp_avg/WEIGHT, exp_avg_sq/WEIGHT   the two moments of a weight, in its shape
        step/WEIGHT                         number of steps that they average
        frequency/last, frequency/interval  how often each item was among the negatives; 16 bytes per item
        steps                               of the run and of the runs that it continued
        weights (metadata)                  digest of the weights that the state belongs to

It is the state at the end of the epoch whose weights were kept. A later run matches rows by name; rows of new items,
topics or actions have no moments. The step counter continues for new rows too: the optimiser of the table has one
counter for all rows, so a new row starts like a row that occurs late in a single long run. Random draws depend on the
step, so the draws of earlier days do not repeat.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from multitudes.atomic import replace_file
from multitudes.data.tables import table_sha256
from multitudes.training import checkpoint
from multitudes.training.checkpoint import TrainingState
from multitudes.training.trained_run import WEIGHTS, named_weights, translate_read_errors

STATE_FILE = "state.safetensors"
_REPAIR = "remove it, and the optimiser starts without state"
_DIGEST_KEY = "weights"
_MOMENTS = ("exp_avg", "exp_avg_sq")
_LAST, _INTERVAL, _STEPS = "frequency/last", "frequency/interval", "steps"


def weight_names(state: TrainingState) -> dict[str, str]:
    """Return the name of each weight, by its place OPTIMIZER/NUMBER in a checkpoint."""
    name = {id(weight): name for name, weight in state.model.named_parameters()}
    return {
        f"{i}/{j}": name[id(weight)]
        for i, optimizer in enumerate(state.optimizers)
        for j, weight in enumerate(optimizer.weights)
    }


def write_state(best: dict[str, Tensor], weight_name: dict[str, str], run: Path) -> None:
    """Write the optimiser state of the best epoch, from its checkpoint, into the run folder ``run``."""
    tensors = {name: best[name] for name in (_LAST, _INTERVAL, _STEPS)}
    for name in (name for name in best if name.startswith("optimizer/")):
        place, key = name.removeprefix("optimizer/").rsplit("/", 1)
        tensors[f"{key}/{weight_name[place]}"] = best[name]
    with replace_file(run / STATE_FILE) as partial:
        save_file(tensors, partial, {_DIGEST_KEY: table_sha256(run / WEIGHTS)})


def restore_state(
    state: TrainingState,
    run: Path,
    rows: Mapping[str, NDArray[np.int64]],
    shapes: Mapping[str, torch.Size],
    items_of_pool: NDArray[np.int64] | None,
) -> None:
    """Restore the optimiser state that ``run`` kept into that of this rank, in place; do nothing if it kept none.

    ``rows`` are the old rows of the new ones by name of the weight, -1 where a row is new; of the item table those of
    this rank. ``shapes`` are those of the weights of that run. ``items_of_pool``, if negatives are drawn as in it: the
    old rows of all items, whose frequencies every rank keeps and restores.

    Raises:
        ArtefactError: the file is damaged, or belongs to another model.
    """
    file = run / STATE_FILE
    if not file.exists():
        return
    with translate_read_errors(file, _REPAIR), safe_open(file, "pt") as stored:
        # The state of another run with equal shapes would fit and be wrong.
        if (stored.metadata() or {}).get(_DIGEST_KEY) != table_sha256(run / WEIGHTS):
            raise ValueError
        names, own = set(stored.keys()), named_weights(state.model)
        restored: list[dict[str, Tensor]] = [{} for _ in state.optimizers]
        for place, name in weight_names(state).items():
            if f"step/{name}" not in names:
                continue  # it never had a gradient
            optimizer, number = place.split("/")
            tensors = restored[int(optimizer)]
            tensors[f"{number}/step"] = stored.get_tensor(f"step/{name}")
            for key in _MOMENTS:
                moment = stored.get_tensor(f"{key}/{name}")
                if moment.shape != shapes[name]:
                    raise ValueError
                tensors[f"{number}/{key}"] = _reorder_rows(moment, own[name], rows.get(name))
        for adam, tensors in zip(state.optimizers, restored, strict=True):
            checkpoint.restore_optimizer(adam, tensors)
        state.position.step = int(stored.get_tensor(_STEPS))
        state.frequency.last[:] = state.position.step
        if items_of_pool is not None:
            known = items_of_pool >= 0
            for key, values in ((_LAST, state.frequency.last), (_INTERVAL, state.frequency.interval)):
                values[known] = stored.get_tensor(key).numpy()[items_of_pool[known]]


def copy_matched_rows(weight: Tensor, before: Tensor, place: NDArray[np.int64]) -> None:
    """Copy the matched rows of ``before`` into ``weight``, in place; other rows keep their values."""
    known = torch.from_numpy(np.flatnonzero(place >= 0)).to(weight.device)
    weight[known] = before[torch.from_numpy(place[place >= 0])].to(weight.device)


def _reorder_rows(moment: Tensor, weight: Tensor, place: NDArray[np.int64] | None) -> Tensor:
    if place is None:
        return moment
    reordered = torch.zeros_like(weight, device="cpu")
    copy_matched_rows(reordered, moment, place)
    return reordered
