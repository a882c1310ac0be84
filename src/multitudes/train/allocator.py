"""The C library's allocator: what a step frees is kept for the next step.

By default glibc gives large blocks back to the kernel when they are freed, and every step then pays for having the same
memory mapped and zeroed again: a sixth of the processor time of training on a CPU.
"""

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_… of malloc.h
_NEVER_TRIM = 2**31 - 1  # bytes
_LARGEST_KEPT = 2**30  # bytes; larger blocks are mapped one by one, as before


def keep_freed_memory() -> bool:
    """Let this process keep what it frees from now on, up to its peak; False where the C library is another.

    What is free already goes back to the kernel.
    """
    if not give_back():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_TRIM_THRESHOLD, _NEVER_TRIM) and mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT))


def give_back() -> bool:
    """Let go of what is free: what making ready took comes in other sizes than what a step takes, and would stay."""
    if platform.libc_ver()[0] != "glibc":
        return False
    ctypes.CDLL(None).malloc_trim(0)
    return True
