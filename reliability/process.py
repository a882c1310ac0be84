"""What the system says of a process, its memory and its open files, and on which cores it runs."""

import os
from pathlib import Path


def memory_mib(pid: int) -> float:
    """Return the resident memory now."""
    return _mib(pid, "VmRSS:")


def own_memory_mib(pid: int) -> float:
    """Return the memory that only its end or the process itself gives back.

    Pages of mapped files, and pages that an allocator has marked as free, the kernel takes when it needs them.
    """
    return _mib(pid, "Anonymous:", "smaps_rollup") - _mib(pid, "LazyFree:", "smaps_rollup")


def peak_mib(pid: int) -> float:
    """Return the largest resident memory until now."""
    return _mib(pid, "VmHWM:")


def open_files(pid: int) -> int:
    """Return how many files are open, without connections."""
    return sum(not name.startswith("socket:") for name in map(_name, Path(f"/proc/{pid}/fd").iterdir()))


def cpu_s(pid: int) -> float:
    """Return the seconds of processor time that it has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cores_apart() -> tuple[set[int], set[int]]:
    """Return a core for who bears a load, and the others for who makes it; the same where there are not several."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
    return ({min(cores)}, cores - {min(cores)}) if len(cores) > 1 else (cores, cores)


def run_on(cores: set[int]) -> None:
    """Let this process, and those that it starts, run on these cores alone; none: anywhere."""
    if cores:
        os.sched_setaffinity(0, cores)


def _name(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:  # closed since
        return "socket:"


def _mib(pid: int, name: str, file: str = "status") -> float:
    lines = Path(f"/proc/{pid}/{file}").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024
