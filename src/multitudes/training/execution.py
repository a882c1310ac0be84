"""How a training runs: memory and checkpoints.

These settings change the weights only by rounding, and by the random draws of micro batches.

By default glibc returns large freed blocks to the kernel, and every step then pays for mapping and zeroing the same
memory again: a sixth of the processor time of training on a CPU. ``keep_freed_memory`` prevents that.
"""

import ctypes
import platform

from pydantic import Field

from multitudes.config import Config

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
        1,
        ge=1,
        description="micro batches per step: less memory, a third more time, the same gradient",
    )
    timeout_s: float = Field(
        1800.0,
        gt=0,
        le=1_000_000,
        description="several ranks: the longest wait for another rank, validation included, before all end",
    )


DEFAULT_EXECUTION = ExecutionConfig()


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
