"""The number of cores, the available memory, and the environment variables that limit the threads of libraries."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

# Each library reads its variable when it is loaded.
THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
# Of OpenMP, by GNU and by Intel: a thread without work sleeps, where it would spin and take the core that others need.
# By GNU it spins for some microseconds first: to wake it between two small operations takes longer (docs/training.md).
_PASSIVE_WAITING: Final = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
_QUOTA_FILES: Final = (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us"))  # of control groups, version 2 and 1


def available_cores(system: Path = Path("/")) -> int:
    """Return the number of cores that this process may use; ``system`` has the folders ``proc`` and ``sys`` of Linux.

    ``taskset`` limits it, and so does the quota of a container (``--cpus 1.5``, a limit of Kubernetes), of which the
    whole cores count, and one at least.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([cores, *(max(1, int(quota)) for quota in _quotas(system))])


def chosen_threads() -> int:
    """Return how many threads this process should use: ``OMP_NUM_THREADS``, or one for each core."""
    chosen = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # "4,2": two levels, of OpenMP
    return int(chosen) if chosen.isdecimal() and int(chosen) > 0 else available_cores()


def available_bytes(system: Path = Path("/")) -> int | None:
    """Return the memory that is available to new processes without swapping; None: not Linux."""
    file = system / "proc/meminfo"
    if not file.exists():
        return None
    fields = dict(line.split(":", 1) for line in file.read_text(encoding="utf-8").splitlines())
    return 1024 * int(fields["MemAvailable"].split()[0])


def wait_passively() -> None:
    """Let idle threads of OpenMP sleep, unless the user chose otherwise; call it before torch is imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.update(_PASSIVE_WAITING | os.environ)


def _quotas(system: Path) -> Iterator[float]:
    """Yield the quotas of this process, in cores: of its own control groups, and of those that contain them."""
    for group in _control_groups(system):
        for names in _QUOTA_FILES:
            with suppress(OSError, ValueError):  # no such file, or "max"
                quota, period = (float(word) for name in names for word in (group / name).read_text().split())
                if quota > 0 and period > 0:
                    yield quota / period


def _control_groups(system: Path) -> Iterator[Path]:
    try:
        lines = (system / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            root, own = system / "sys/fs/cgroup" / controllers, Path(path.lstrip("/"))
            yield from (root / part for part in (own, *own.parents))
