"""The number of cores, and the environment variables that limit the threads of libraries."""

import os
from typing import Final

# Each library reads its variable when it is loaded.
THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


def available_cores() -> int:
    """Return the number of cores that this process may use, which a container or ``taskset`` may limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine_cores()


def machine_cores() -> int:
    """Return the number of cores of the machine."""
    return os.cpu_count() or 1
