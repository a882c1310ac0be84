"""A service under measurement: ``multitudes serve`` in its own process, and its CPU time and memory."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.service.releases import STORE
from multitudes.atomic import write_text

_MAIN = (sys.executable, "-c", "from multitudes.cli.main import main; main()", "serve")
_READY_S = 600.0  # generous, for busy machines; the goals judge the time
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Service(NamedTuple):
    """A running service."""

    process: "subprocess.Popen[str]"
    url: str
    ready_s: float  # from the start of the process to the first good answer of /readyz
    ready_cpu_s: float

    @property
    def port(self) -> int:
        """The port of this machine at which it listens."""
        return int(self.url.rpartition(":")[2])

    def cpu_s(self) -> float:
        """Return the CPU seconds of all its processes and threads until now."""
        return sum(map(cpu_s, _with_children(self.process.pid)))

    def switches(self) -> int:
        """Return the voluntary context switches of all its threads until now: each ends in a wake-up."""
        return sum(map(_switches, _with_children(self.process.pid)))

    def memory_mib(self) -> dict[str, float]:
        """Return the resident memory now: the processes' own, and pages of files, which they share."""
        each = [_resident_mib(pid) for pid in _with_children(self.process.pid)]
        own, files = sum(own for own, _ in each), max(files for _, files in each)
        return {"all": own + files, "own": own, "files": files}

    def stage_s(self) -> dict[str, tuple[float, int]]:
        """Return seconds and number of every stage until now, as ``/metrics`` says."""
        with urlopen(f"{self.url}/metrics") as page:
            lines = page.read().decode().splitlines()
        found: dict[str, dict[str, float]] = {"sum": {}, "count": {}}
        for line in lines:
            name, _, rest = line.partition('{stage="')
            if rest and name.startswith("multitudes_stage_seconds_") and name.rpartition("_")[2] in found:
                stage, _, value = rest.partition('"} ')
                found[name.rpartition("_")[2]][stage] = float(value)
        return {stage: (seconds, int(found["count"][stage])) for stage, seconds in found["sum"].items()}


@contextmanager
def run_service(folder: Path, method: str, cores: set[int] | None, workers: int = 1) -> Iterator[Service]:
    """Serve a method's releases of a world; what the service writes is thrown away, the states are only read.

    Args:
        folder: of the world.
        method: whose releases are served.
        cores: that the processes may use; None: all.
        workers: how many processes answer.
    """
    with TemporaryDirectory(prefix="multitudes-bench-") as scratch:
        settings = Path(scratch) / "serve.toml"
        lines = ["[server]", f"workers = {workers}"]
        lines += ["[data]", f'folder = "{scratch}"', "[state]", f'store = "{folder / STORE}"']
        # Long deadlines, so that a slow machine does not degrade the measured answers.
        lines += ["[deadlines]", "default_ms = 60000", "max_ms = 60000", "[journal]", "requests = 0"]
        write_text(settings, "\n".join(lines) + "\n")
        with (Path(scratch) / "journal").open("w+", encoding="utf-8") as journal:
            began = time.perf_counter()
            command = [*_MAIN, str(folder / method), "--port", "0", "--config", str(settings), "--json"]
            with pin_to_cores(cores):
                process = subprocess.Popen(
                    command, stdout=subprocess.PIPE, stderr=journal, text=True, env={**os.environ, **_THREADS}
                )
            try:
                yield _wait_until_ready(process, journal.name, began)
            finally:
                process.terminate()
                process.communicate(timeout=_READY_S)


def cpu_s(pid: int) -> float:
    """Return the processor seconds of a process until now."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _with_children(pid: int) -> list[int]:
    """Return a process and those that it started, which serve for it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [pid, *map(int, children)]


def _switches(pid: int) -> int:
    """Return the voluntary context switches of the threads of a process until now."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int(_status(thread)["voluntary_ctxt_switches"]) for thread in threads)


def _resident_mib(pid: int) -> tuple[float, float]:
    """Return the resident memory of a process: its own, and pages of files, which the system may take back."""
    status = _status(Path(f"/proc/{pid}"))
    own, files = (int(status[field].split()[0]) / 1024 for field in ("RssAnon", "RssFile"))
    return own, files


def _status(folder: Path) -> dict[str, str]:
    """Return what the system says of a process or of a thread."""
    text = (folder / "status").read_text(encoding="ascii")
    return dict(line.split(":", 1) for line in text.splitlines())


@contextmanager
def pin_to_cores(cores: set[int] | None) -> Iterator[None]:
    """Pin processes that start in this block to some cores, where the system supports it."""
    if cores is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _wait_until_ready(process: "subprocess.Popen[str]", journal: str, began: float) -> Service:
    """Wait until a service answers: the first of its processes."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the service did not begin: {Path(journal).read_text(encoding='utf-8')}")
    url = json.loads(line)["url"]
    while time.perf_counter() < began + _READY_S:
        with suppress(URLError, ConnectionError), urlopen(f"{url}/readyz") as answer:
            if answer.status == 200:
                service = Service(process, url, time.perf_counter() - began, 0.0)
                return service._replace(ready_cpu_s=service.cpu_s())
        time.sleep(0.01)
    raise RuntimeError(f"{url} was not ready within {_READY_S:.0f} s")
