"""How a training is carried out: what is learned differs by rounding and by what is drawn for rows, by nothing else."""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from multitudes.config import Config
from multitudes.errors import UsageError
from multitudes.nn.model import TwoTower


class ExecutionConfig(Config):
    """How training is carried out, section [execution]; may be another when a run goes on."""

    checkpoint_steps: int = Field(
        0, ge=0, description="steps between two checkpoints within an epoch; 0: at the end of each epoch alone"
    )
    keep_state: bool = Field(
        True,
        description="a finished run keeps its optimiser's state for --continue: a file twice as large as the weights",
    )
    parts: int = Field(
        1,
        ge=1,
        description="a batch is gone through in this many parts: less memory, a third more time, equal gradient",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the layers while training; weights, scores and losses stay float32"
    )
    compile: bool = Field(False, description="compile the layers with torch.compile; the first steps take minutes")
    timeout_s: float = Field(
        1800.0,
        gt=0,
        le=1_000_000,
        description="several ranks: the longest wait for another, a validation included, before all end",
    )


DEFAULT = ExecutionConfig()


def equip(model: TwoTower, config: ExecutionConfig) -> TwoTower:
    """Let the layers of ``model``, in place, compute as ``config`` says.

    Raises:
        UsageError: the device has no bfloat16.
    """
    device = model.items.id_embedding.weight.device.type
    if config.precision == "bfloat16" and device == "cuda" and not torch.cuda.is_bf16_supported():
        raise UsageError("[execution] precision = 'bfloat16': this GPU has none; use 'float32'")
    user = model.user
    for module in (model.items.layers, user.history, user.sequence, user.crossing, user.interest_crossing):
        if module is None:
            continue
        if config.precision == "bfloat16":
            module.forward = _in_bfloat16(module, module.forward, device)
        if config.compile:
            module.compile(dynamic=True)
    return model


def _in_bfloat16(module: nn.Module, forward: Callable[..., Tensor], device: str) -> Callable[..., Tensor]:
    """Return ``forward`` that multiplies in bfloat16 while training and returns float32."""

    def forward_in_bfloat16(*values: Tensor) -> Tensor:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=module.training):
            return forward(*values).float()

    return forward_in_bfloat16
