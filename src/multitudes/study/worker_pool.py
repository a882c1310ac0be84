"""The worker processes of a study: each computes one cell on its share of the cores; none outlives the study."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from multitudes import threads
from multitudes.data.prepared import Split
from multitudes.errors import MissingError
from multitudes.study.cells import Cell, read_result

_PROGRAM = ("-m", "multitudes.study.worker")
_MESSAGES = "messages.txt"

ReportProgress = Callable[[str, str], None]  # label of the cell, what it is doing


class WorkerPool:
    """Computes cells in worker processes. Thread-safe: each calling thread waits for one worker."""

    def __init__(self, cells: Path, processes: int, program: tuple[str, ...] = _PROGRAM) -> None:
        """Divide the cores among ``processes`` workers.

        Args:
            cells: the folder of the cells.
            processes: number of parallel workers.
            program: arguments of Python in a worker, before the folder of its cell.
        """
        self._cells, self._threads, self._program = cells, worker_threads(processes), program
        self._processes: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self.stopped = False
        self._shared_failure: str | None = None  # what stopped the pool because every worker would fail from it

    def run(self, cell: Cell, split: Split, report: ReportProgress) -> str | None:
        """Compute ``cell``.

        Args:
            cell: the cell.
            split: evaluated.
            report: called with the label of the cell and what it is doing.

        Returns:
            None on success, otherwise the reason of the failure in one line.

        Raises:
            KeyboardInterrupt: the study is being stopped.
            MissingError: no disk space is left, which the other cells need too.
        """
        folder = cell.folder(self._cells)
        if read_result(folder, split) is not None:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _MESSAGES).open("w", encoding="utf-8") as messages:
            code = self._follow(self._start(folder, messages.fileno()), cell, split, report)
        if code == MissingError.exit_code and not self.stopped:
            self._shared_failure = _failure_reason(code, folder / _MESSAGES)
            self.stop()
        self._check_not_stopped()
        return None if read_result(folder, split) is not None else _failure_reason(code, folder / _MESSAGES)

    def stop(self) -> None:
        """Interrupt every worker, which saves its checkpoint; no new worker is started."""
        with self._lock:
            self.stopped = True
            for worker in self._processes:
                worker.send_signal(signal.SIGINT)

    def _check_not_stopped(self) -> None:
        if self._shared_failure is not None:
            raise MissingError(f"{self._shared_failure}; then run the same command again: finished cells are kept")
        if self.stopped:
            raise KeyboardInterrupt

    def _start(self, folder: Path, messages: int) -> "subprocess.Popen[str]":
        with self._lock:
            self._check_not_stopped()
            worker = subprocess.Popen(
                [sys.executable, *self._program, str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                text=True,
                env=self._environment(),
                start_new_session=True,  # Ctrl-C reaches only the study, which then stops its workers in order
            )
            self._processes.add(worker)
        return worker

    def _environment(self) -> dict[str, str]:
        """Return the environment of a worker: as many threads as the study gives it, unless the user chose a number.

        Threads that wait for work sleep: waiting actively, those of small models take the cores from other workers.
        """
        defaults = dict.fromkeys(threads.THREAD_VARIABLES, str(self._threads)) | {"OMP_WAIT_POLICY": "passive"}
        return defaults | os.environ

    def _follow(self, worker: "subprocess.Popen[str]", cell: Cell, split: Split, report: ReportProgress) -> int:
        """Give a worker its job, report its progress until it ends, and return its exit code."""
        assert worker.stdin is not None
        assert worker.stdout is not None
        report(cell.label, "")
        with contextlib.suppress(BrokenPipeError), worker:  # broken: it died at once, and its exit code says why
            worker.stdin.write(json.dumps(cell.job(split, self._cells)) + "\n")
            worker.stdin.flush()
            for line in worker.stdout:
                if line.startswith('{"done"'):  # libraries may print other lines
                    report(cell.label, json.loads(line)["note"])
        with self._lock:
            self._processes.discard(worker)
        return worker.wait()


def worker_threads(processes: int) -> int:
    """Return how many threads each of ``processes`` workers has, unless the user chose a number."""
    return max(1, threads.available_cores() // processes)


def _failure_reason(code: int, messages: Path) -> str:
    """Return in one line why a worker left no result."""
    if code < 0:
        name = signal.Signals(-code).name
        memory = ": it probably ran out of memory; fewer processes in [run] leave more for each" if code == -9 else ""
        return f"killed by {name}{memory}"
    lines = messages.read_text(encoding="utf-8", errors="replace").split("\n")
    written = [line.strip() for line in lines if line.strip()]
    return written[-1] if written else f"ended with exit code {code} and no message"
