"""A service under measurement: ``multitudes serve`` in its own process, and its CPU time and memory."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

from reliability.server import Server, Settings, serving

from benchmarks.child_process import limited_environment
from benchmarks.process import cpu_s, pin_to_cores, resident_mib, with_children
from benchmarks.service.releases import STORE

_READY_S = 600.0  # generous, for busy machines


class Service(NamedTuple):
    """A running service."""

    server: Server
    ready_s: float  # from the start of the process to the first good answer of /readyz
    ready_cpu_s: float

    def cpu_s(self) -> float:
        """Return the CPU seconds of all its processes and threads until now."""
        return sum(map(cpu_s, with_children(self.server.process.pid)))

    def memory_mib(self) -> dict[str, float]:
        """Return the resident memory now: the processes' own, and pages of files, which they share."""
        each = [resident_mib(pid) for pid in with_children(self.server.process.pid)]
        own, files = sum(one["own"] for one in each), max(one["files"] for one in each)
        return {"all": own + files, "own": own, "files": files}

    def stage_s(self) -> dict[str, tuple[float, int]]:
        """Return seconds and number of every stage until now, as ``/metrics`` says."""
        with urlopen(f"{self.server.url}/metrics") as page:
            lines = page.read().decode().splitlines()
        found: dict[str, dict[str, float]] = {"sum": {}, "count": {}}
        for line in lines:
            name, _, rest = line.partition('{stage="')
            if rest and name.startswith("multitudes_stage_seconds_") and name.rpartition("_")[2] in found:
                stage, _, value = rest.partition('"} ')
                found[name.rpartition("_")[2]][stage] = float(value)
        return {stage: (seconds, int(found["count"][stage])) for stage, seconds in found["sum"].items()}


@contextmanager
def run_service(folder: Path, method: str, cores: set[int], workers: int = 1) -> Iterator[Service]:
    """Serve a method's releases of a world; what the service writes is thrown away, the states are only read.

    Args:
        folder: of the world.
        method: whose releases are served.
        cores: that the processes may use.
        workers: how many processes answer.
    """
    settings: Settings = {
        # Long deadlines, so that a slow machine does not degrade the measured answers.
        "state": {"store": str(folder / STORE), "read_s": 60},
        "deadlines": {"default_ms": 60_000, "max_ms": 60_000},
        "journal": {"requests": 0},
    }
    began, environment = time.perf_counter(), limited_environment(1)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="multitudes-bench-")))
        with pin_to_cores(cores):
            starting = serving(folder / method, scratch, settings, environment=environment, workers=workers)
            server = stack.enter_context(starting)
        yield _wait_until_ready(server, began)


def _wait_until_ready(server: Server, began: float) -> Service:
    """Wait until a service answers: the first of its processes."""
    while time.perf_counter() < began + _READY_S:
        with suppress(URLError, ConnectionError), urlopen(f"{server.url}/readyz") as answer:
            if answer.status == 200:
                service = Service(server, time.perf_counter() - began, 0.0)
                return service._replace(ready_cpu_s=service.cpu_s())
        time.sleep(0.01)
    raise RuntimeError(f"{server.url} was not ready within {_READY_S:.0f} s")
