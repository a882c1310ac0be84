"""Where an interrupted run goes on: weights, optimiser state and counters as safetensors and JSON, swapped in at once.

The order of examples, the negatives and the dropout of a step are functions of (seed, epoch, step), so no random state
has to be kept for a resumed run to end with the identical weights.
"""

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from multitudes.batches.frequency import StreamingFrequency
from multitudes.errors import ArtefactError
from multitudes.nn.model import TwoTower
from multitudes.train.run import weights


@dataclass
class Position:
    """Where training stands."""

    epoch: int = 0
    batch: int = 0  # batches done in this epoch
    step: int = 0  # batches done in all
    best_hit_rate: float = -1.0
    best_epoch: int = -1
    best_shares: dict[str, float] = field(default_factory=dict)  # of the budget, by kind, as fitted at that epoch
    seconds: float = 0.0  # trained so far, over all sessions


@dataclass
class State:
    """Everything that changes while training."""

    model: TwoTower
    optimizers: list[torch.optim.Optimizer]
    frequency: StreamingFrequency
    best: dict[str, Tensor]
    loss_sums: dict[str, Tensor]
    position: Position


def save(state: State, folder: Path) -> None:
    """Write ``state``; a crash at any moment leaves the earlier checkpoint or this one."""
    fresh, old = folder.with_name(folder.name + ".new"), _old(folder)
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_file(_tensors(state), fresh / "state.safetensors")
    (fresh / "position.json").write_text(json.dumps(asdict(state.position)), encoding="utf-8")
    if folder.exists():
        folder.replace(old)
    fresh.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def load(state: State, folder: Path) -> None:
    """Restore ``state`` in place; without a checkpoint it is left as it is.

    Raises:
        ArtefactError: the checkpoint is damaged or belongs to another model.
    """
    old = _old(folder)
    if old.exists() and not folder.exists():
        old.replace(folder)  # a crash between the two renames of `save`: the next `save` would take it for a leftover
    if not folder.exists():
        return
    try:
        tensors = load_file(folder / "state.safetensors")
        state.position = Position(**json.loads((folder / "position.json").read_text(encoding="utf-8")))
        for name, tensor in weights(state.model).items():
            tensor.copy_(tensors[f"weight/{name}"])
        state.best = _under("best/", tensors)
        state.loss_sums = _under("loss/", tensors)
        state.frequency.last[:] = tensors["frequency/last"].numpy()
        state.frequency.interval[:] = tensors["frequency/interval"].numpy()
        for i, optimizer in enumerate(state.optimizers):
            _restore(optimizer, _under(f"optimizer/{i}/", tensors))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ArtefactError(
            f"{folder}: damaged checkpoint ({type(error).__name__}); train again with --overwrite"
        ) from None


def _old(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")


def _tensors(state: State) -> dict[str, Tensor]:
    tensors = {f"weight/{name}": tensor for name, tensor in weights(state.model).items()}
    tensors |= {f"best/{name}": tensor for name, tensor in state.best.items()}
    tensors |= {f"loss/{name}": tensor for name, tensor in state.loss_sums.items()}
    tensors["frequency/last"] = torch.from_numpy(state.frequency.last)
    tensors["frequency/interval"] = torch.from_numpy(state.frequency.interval)
    for i, optimizer in enumerate(state.optimizers):
        for index, values in optimizer.state_dict()["state"].items():
            for key, value in values.items():
                tensors[f"optimizer/{i}/{index}/{key}"] = torch.as_tensor(value)
    return {name: tensor.contiguous().clone() for name, tensor in tensors.items()}


def _restore(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    moments: dict[int, dict[str, Tensor | int]] = {}
    for name, tensor in tensors.items():
        index, key = name.split("/")
        # SparseAdam counts its steps in an int, Adam in a tensor.
        sparse_step = key == "step" and isinstance(optimizer, torch.optim.SparseAdam)
        moments.setdefault(int(index), {})[key] = int(tensor.item()) if sparse_step else tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
