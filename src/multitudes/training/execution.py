"""How a training runs: memory, precision, checkpoints.

These settings change the weights only by rounding, and by the random draws of micro batches.

By default glibc returns large freed blocks to the kernel, and every step then pays for mapping and zeroing the same
memory again: a sixth of the processor time of training on a CPU. ``keep_freed_memory`` prevents that.
"""

import ctypes
import platform
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from multitudes.config import Config
from multitudes.errors import UsageError
from multitudes.nn.two_tower import TwoTower

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_… of malloc.h
_NEVER_TRIM = 2**31 - 1  # bytes
_MAX_HEAP_BLOCK = 2**30  # bytes; larger blocks are still mapped one by one


class ExecutionConfig(Config):
    """How a training runs, section [execution]; it may change when a run is resumed."""

    checkpoint_steps: int = Field(
        0, ge=0, description="steps between two checkpoints within an epoch; 0: only at the end of each epoch"
    )
    keep_state: bool = Field(
        True,
        description="a finished run keeps the optimiser's state for --continue: a file twice as large as the weights",
    )
    gradient_accumulation: int = Field(
        1, ge=1, description="micro batches per step: less memory, a third more time, the same gradient"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="precision of the layers in training; weights, scores and losses stay float32"
    )
    timeout_s: float = Field(
        1800.0,
        gt=0,
        le=1_000_000,
        description="several ranks: the longest wait for another rank, validation included, before all end",
    )


DEFAULT_EXECUTION = ExecutionConfig()


def set_precision(model: TwoTower, config: ExecutionConfig) -> TwoTower:
    """Set the precision of the layers of ``model``, in place.

    Raises:
        UsageError: the device does not support bfloat16.
    """
    if config.precision == "float32":
        return model
    device = model.items.id_embedding.weight.device.type
    if device == "cuda" and not torch.cuda.is_bf16_supported():
        raise UsageError("[execution] precision = 'bfloat16': this GPU does not support it; use 'float32'")
    user = model.user
    for module in (model.items.layers, user.history, user.sequence, user.crossing, user.interest_crossing):
        if module is not None:
            module.forward = _bfloat16_forward(module, module.forward, device)
    return model


def _bfloat16_forward(module: nn.Module, forward: Callable[..., Tensor], device: str) -> Callable[..., Tensor]:
    """Return a ``forward`` that computes in bfloat16 in training and returns float32."""

    def forward_in_bfloat16(*values: Tensor) -> Tensor:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=module.training):
            return forward(*values).float()

    return forward_in_bfloat16


def keep_freed_memory() -> bool:
    """Let this process keep memory that it frees from now on; return False if the C library is not glibc.

    Memory that is already free is returned to the kernel first.
    """
    if not trim_heap():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_TRIM_THRESHOLD, _NEVER_TRIM) and mallopt(_MMAP_THRESHOLD, _MAX_HEAP_BLOCK))


def trim_heap() -> bool:
    """Return free memory to the kernel: steps cannot reuse blocks of other sizes. Return False without glibc."""
    if platform.libc_ver()[0] != "glibc":
        return False
    ctypes.CDLL(None).malloc_trim(0)
    return True
