"""Memory of a process. The peers' environment imports it too, so it needs the standard library alone."""

import resource
import sys
from pathlib import Path


def peak_mib(process: int | None = None) -> float:
    """Return the largest resident memory of this process so far, or (on Linux) of another one.

    Linux keeps it per memory map (VmHWM). ``getrusage`` would also count the parent's pages, which a child shares until
    its program is loaded.
    """
    status = Path(f"/proc/{process or 'self'}/status")
    if status.exists():
        return memory_field_mib("VmHWM", status)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (1024 * 1024 if sys.platform == "darwin" else 1024)


def memory_field_mib(field: str, status: Path = Path("/proc/self/status")) -> float:
    """Return a memory field of /proc/PID/status."""
    line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024
