"""What the system says of a process: its memory, processor time and files; and on which cores it runs.

The environment of the peers imports it too, so it needs the standard library alone. All but ``peak_mib`` and the cores
need Linux.
"""

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def peak_mib(pid: int | None = None) -> float:
    """Return the largest resident memory of this process so far, or of another one.

    Linux keeps it per memory map (VmHWM). ``getrusage`` would also count the parent's pages, which a child shares until
    its program is loaded.
    """
    if Path("/proc/self/status").exists():
        return memory_field_mib("VmHWM", pid)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (1024 * 1024 if sys.platform == "darwin" else 1024)


def memory_field_mib(field: str, pid: int | None = None, file: str = "status") -> float:
    """Return a memory field of a file in /proc/PID; without ``pid`` of this process."""
    lines = Path(f"/proc/{pid or 'self'}/{file}").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def resident_mib(pid: int | None = None) -> dict[str, float]:
    """Return the resident memory now: the process's own, and pages of files, which the system may take back."""
    return {name: memory_field_mib(field, pid) for name, field in (("own", "RssAnon"), ("files", "RssFile"))}


def kept_mib(pid: int) -> float:
    """Return the memory that only its end or the process itself gives back.

    Pages of mapped files, and pages that an allocator has marked as free, the kernel takes when it needs them.
    """
    anonymous, free = (memory_field_mib(field, pid, "smaps_rollup") for field in ("Anonymous", "LazyFree"))
    return anonymous - free


def cpu_s(pid: int) -> float:
    """Return the seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def with_children(pid: int) -> list[int]:
    """Return a process and those that it started."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split())]


def open_files(pid: int) -> int:
    """Return how many files are open, without connections."""
    return sum(not name.startswith("socket:") for name in map(_name, Path(f"/proc/{pid}/fd").iterdir()))


def _name(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:  # closed since
        return "socket:"


def cores_apart() -> tuple[set[int], set[int]]:
    """Return a core for who bears a load, and the others for who makes it; the same where there are not several."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
    return ({min(cores)}, cores - {min(cores)}) if len(cores) > 1 else (cores, cores)


@contextmanager
def pin_to_cores(cores: set[int]) -> Iterator[None]:
    """Let this process, and those that it starts in the block, run on these cores alone; none: anywhere."""
    if not cores or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
