"""The worker processes of a study: each computes one cell on its share of the cores; none outlives the study."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from multitudes import threads
from multitudes.data.prepared import Split
from multitudes.errors import MissingError
from multitudes.study.cells import Cell, read_result

_PROGRAM = ("-m", "multitudes.study.worker")
_MESSAGES = "messages.txt"


class WorkerPool:
    """Computes cells in worker processes. Thread-safe: each calling thread waits for one worker."""

    def __init__(self, cells: Path, processes: int, program: tuple[str, ...] = _PROGRAM) -> None:
        """Divide the cores among ``processes`` workers for the folder of the cells.

        ``program`` are the arguments of Python in a worker, before the folder of its cell.
        """
        self._cells, self._program = cells, program
        self._threads = max(1, threads.available_cores() // processes)
        self._processes: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False
        self._shared_failure: str | None = None  # what stopped the pool because every worker would fail from it

    def run(self, cell: Cell, split: Split) -> str | None:
        """Compute a cell; return the reason of a failure in one line.

        Raises:
            KeyboardInterrupt: the study is being stopped.
            MissingError: no disk space is left, which the other cells need too.
        """
        folder = cell.folder(self._cells)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _MESSAGES).open("w", encoding="utf-8") as messages:
            worker = self._start(folder, messages.fileno())
            assert worker.stdin is not None
            # A worker that dies at once breaks the pipe at the write and again at the close: its exit code says why.
            with suppress(BrokenPipeError), worker:
                worker.stdin.write(json.dumps(cell.job(split, self._cells)) + "\n")
                worker.stdin.flush()
                worker.wait()  # with its stdin open: a worker that sees it closed exits
            code = worker.wait()
        with self._lock:
            self._processes.discard(worker)
        if code == MissingError.exit_code and not self._stopped:
            self._shared_failure = _failure_reason(code, folder / _MESSAGES)
            self.stop()
        self._check_not_stopped()
        return None if read_result(folder, split) is not None else _failure_reason(code, folder / _MESSAGES)

    def stop(self) -> None:
        """Interrupt every worker, which saves its checkpoint; no new worker is started."""
        with self._lock:
            self._stopped = True
            for worker in self._processes:
                worker.send_signal(signal.SIGINT)

    def _check_not_stopped(self) -> None:
        if self._shared_failure is not None:
            raise MissingError(f"{self._shared_failure}; then run the same command again: finished cells are kept")
        if self._stopped:
            raise KeyboardInterrupt

    def _start(self, folder: Path, messages: int) -> "subprocess.Popen[str]":
        # As many threads as the study gives it, unless the user chose a number. Threads that wait for work sleep:
        # waiting actively, those of small models take the cores from other workers.
        defaults = dict.fromkeys(threads.THREAD_VARIABLES, str(self._threads)) | {"OMP_WAIT_POLICY": "passive"}
        with self._lock:
            self._check_not_stopped()
            worker = subprocess.Popen(
                [sys.executable, *self._program, str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,  # of libraries
                stderr=messages,
                text=True,
                env=defaults | os.environ,
                start_new_session=True,  # Ctrl-C reaches only the study, which then stops its workers in order
            )
            self._processes.add(worker)
        return worker


def _failure_reason(code: int, messages: Path) -> str:
    """Return in one line why a worker left no result."""
    if code < 0:
        name = signal.Signals(-code).name
        memory = ": it probably ran out of memory; fewer processes in [run] leave more for each" if code == -9 else ""
        return f"killed by {name}{memory}"
    lines = messages.read_text(encoding="utf-8", errors="replace").split("\n")
    written = [line.strip() for line in lines if line.strip()]
    return written[-1] if written else f"ended with exit code {code} and no message"
