"""Try a release in a child process, so that one that hangs, crashes or fills the memory harms no service.

The child opens the release and answers the requests of ``warm_up``, within limits of CPU time and memory. What a
damaged file can do to a process (an endless loop in a tower, an allocation that aborts, a crash in a library) happens
to the child. On a busy machine a sound release may wait long for the CPU, so the clock has a limit of its own.

    python -m multitudes.retrieval.release_trial FOLDER CPU_S MAX_BYTES [TRUST]
"""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from math import ceil
from pathlib import Path
from threading import Event, Lock
from time import monotonic
from typing import Final

from multitudes.errors import ArtefactError, MissingError, MultitudesError, UnavailableError
from multitudes.threads import available_bytes

_POLL_S: Final = 0.05
_NICE: Final = 5  # the requests of the service come first: a third of the CPU time of one that competes
_WAITS: Final = 10  # times its CPU time, a trial may take by the clock
_MEMORY_SHARE: Final = 0.8  # of the available memory
_MAX_MESSAGE_BYTES: Final = 2_000
_ERRORS: Final = {error.exit_code: error for error in (ArtefactError, MissingError, UnavailableError)}


class ReleaseTrial:
    """Tries releases, one at a time; ``cancel`` ends the trial that is running, from another thread."""

    def __init__(self, cpu_s: float, max_memory_gb: float | None = None, trust: Path | None = None) -> None:
        """Create the trial without starting it; for ``trust`` see ``Release.open``.

        It takes ``cpu_s`` seconds of CPU time at most, ten times as many by the clock, and ``max_memory_gb`` of memory
        beside the files that the child maps; None: 80 % of what is available.
        """
        self._cpu_s, self._max_memory_gb, self._trust = ceil(cpu_s), max_memory_gb, trust
        self._cancelled, self._lock = Event(), Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, folder: Path, is_outdated: Callable[[], bool] = lambda: False) -> bool:
        """Open the folder of a version in a child process and answer a few requests.

        Return False if the trial was ended because the release ``is_outdated``: nobody wants it any more.

        Raises:
            ArtefactError: the release is damaged, cannot answer, or took more time or memory than it may.
            MissingError, UnavailableError: a package is missing, or the server of its index does not answer.
        """
        max_bytes = self._max_bytes()
        command = [sys.executable, "-m", __name__, str(folder), str(self._cpu_s), str(max_bytes)]
        command += [] if self._trust is None else [str(self._trust)]
        with self._lock:
            if self._cancelled.is_set():
                raise UnavailableError(f"{folder}: not tried, because the service ends")
            self._process = process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
        with process:
            try:
                has_ended = self._wait(process, is_outdated)
                message = _last_line(process) if has_ended else ""
            finally:
                process.kill()
        if not has_ended and is_outdated():
            return False
        if not has_ended or process.returncode == -signal.SIGXCPU:
            raise ArtefactError(
                f"{folder}: did not answer within {self._cpu_s} s of CPU time, or {_WAITS * self._cpu_s} s by the"
                " clock, in a trial; publish the run again, or give more in [releases] trial_s"
            )
        if process.returncode:
            raise _trial_error(folder, process.returncode, message, max_bytes)
        return True

    def cancel(self) -> None:
        """End the trial that is running, and start no other."""
        with self._lock:
            self._cancelled.set()
            if self._process is not None:
                self._process.kill()

    def _wait(self, process: "subprocess.Popen[bytes]", is_outdated: Callable[[], bool]) -> bool:
        """Wait for the end of a child; return whether it came in time, and before the release was outdated."""
        end = monotonic() + _WAITS * self._cpu_s
        while process.poll() is None and monotonic() < end and not is_outdated():
            self._cancelled.wait(_POLL_S)
        return process.returncode is not None

    def _max_bytes(self) -> int:
        """Return the limit of the child's memory; 0: none."""
        if self._max_memory_gb is not None:
            return int(self._max_memory_gb * 1e9)
        return int(_MEMORY_SHARE * (available_bytes() or 0))


def _last_line(process: "subprocess.Popen[bytes]") -> str:
    """Return the last line that an ended child wrote to stderr."""
    assert process.stderr is not None
    text = process.stderr.read()[-_MAX_MESSAGE_BYTES:].decode(errors="replace")
    return (text.splitlines() or [""])[-1]


def _trial_error(folder: Path, exit_code: int, message: str, max_bytes: int) -> MultitudesError:
    if exit_code in _ERRORS and message:
        return _ERRORS[exit_code](message)
    reason = f"signal {-exit_code}" if exit_code < 0 else message or f"exit code {exit_code}"
    limit = f", with up to {max_bytes / 1e9:.1f} GB of memory" if max_bytes else ""
    return ArtefactError(f"{folder}: ended a trial in a process of its own ({reason}){limit}; publish the run again")


def main() -> None:
    """Try the release that the command line names, within its limits; an error is one line and its exit code."""
    folder, cpu_s, max_bytes, *trust = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *map(Path, sys.argv[4:])
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))  # SIGXCPU, and then SIGKILL
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if max_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (max_bytes, max_bytes))  # files that are mapped do not count
    from multitudes.retrieval.retriever import Retriever, warm_up  # noqa: PLC0415 (after the limits)

    try:
        warm_up(Retriever.open(folder, trust=trust[0] if trust else None))
    except MultitudesError as error:
        print(" ".join(str(error).split()), file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
