"""How a training is carried out: what is learned differs by rounding and by what is drawn for rows, by nothing else.

The C library's allocator: what a step frees is kept for the next step.

By default glibc gives large blocks back to the kernel when they are freed, and every step then pays for having the same
memory mapped and zeroed again: a sixth of the processor time of training on a CPU.
"""

import ctypes
import platform
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from multitudes.config import Config
from multitudes.errors import UsageError
from multitudes.nn.two_tower import TwoTower


class ExecutionConfig(Config):
    """How training is carried out, section [execution]; may be another when a run goes on."""

    renamed: ClassVar[Mapping[str, str]] = {"parts": "gradient_accumulation"}

    checkpoint_steps: int = Field(
        0, ge=0, description="steps between two checkpoints within an epoch; 0: at the end of each epoch alone"
    )
    keep_state: bool = Field(
        True,
        description="a finished run keeps its optimiser's state for --continue: a file twice as large as the weights",
    )
    gradient_accumulation: int = Field(
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


DEFAULT_EXECUTION = ExecutionConfig()


def set_precision(model: TwoTower, config: ExecutionConfig) -> TwoTower:
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
            module.forward = _bfloat16_forward(module, module.forward, device)
        if config.compile:
            module.compile(dynamic=True)
    return model


def _bfloat16_forward(module: nn.Module, forward: Callable[..., Tensor], device: str) -> Callable[..., Tensor]:
    """Return ``forward`` that multiplies in bfloat16 while training and returns float32."""

    def forward_in_bfloat16(*values: Tensor) -> Tensor:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=module.training):
            return forward(*values).float()

    return forward_in_bfloat16


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_… of malloc.h
_NEVER_TRIM = 2**31 - 1  # bytes
_MAX_HEAP_BLOCK = 2**30  # bytes; larger blocks are mapped one by one, as before


def keep_freed_memory() -> bool:
    """Let this process keep what it frees from now on, up to its peak; False where the C library is another.

    What is free already goes back to the kernel.
    """
    if not trim_heap():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_TRIM_THRESHOLD, _NEVER_TRIM) and mallopt(_MMAP_THRESHOLD, _MAX_HEAP_BLOCK))


def trim_heap() -> bool:
    """Let go of what is free: what making ready took comes in other sizes than what a step takes, and would stay."""
    if platform.libc_ver()[0] != "glibc":
        return False
    ctypes.CDLL(None).malloc_trim(0)
    return True
