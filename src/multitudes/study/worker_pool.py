"""The processes of a study: each does one cell with its part of the cores, and none outlives the study."""

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

ReportProgress = Callable[[str, str], None]  # what a cell is called, and what it is at


class WorkerPool:
    """Runs cells in processes of their own; made for many threads, each of which waits for one."""

    def __init__(self, cells: Path, processes: int, program: tuple[str, ...] = _PROGRAM) -> None:
        """Make a place for ``processes`` children.

        Args:
            cells: the folder of the cells.
            processes: how many will live at once.
            program: what Python runs in a child, before the folder of its cell.
        """
        self._cells, self._threads, self._program = cells, max(1, threads.available_cores() // processes), program
        self._processes: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self.stopped = False
        self._lacking: str | None = None  # what stopped them, if nobody did

    def run(self, cell: Cell, split: Split, report: ReportProgress) -> str | None:
        """Do ``cell`` and return None, or say in a line why it could not be done.

        Raises:
            KeyboardInterrupt: the study is being stopped.
            MissingError: something that the other cells would miss too: disk space.
        """
        folder = cell.folder(self._cells)
        if read_result(folder, split) is not None:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _MESSAGES).open("w", encoding="utf-8") as messages:
            child = self._start(folder, messages.fileno())
            try:
                self._read_progress(child, cell, split, report)
            finally:
                code = self._wait_for_exit(child)
        if code == MissingError.exit_code and not self.stopped:
            self._lacking = _failure_reason(code, folder / _MESSAGES)
            self.stop()
        self._check_not_stopped()
        return None if read_result(folder, split) is not None else _failure_reason(code, folder / _MESSAGES)

    def stop(self) -> None:
        """Interrupt every child, which saves what it has; no new one is started."""
        with self._lock:
            self.stopped = True
            for child in self._processes:
                child.send_signal(signal.SIGINT)

    def _check_not_stopped(self) -> None:
        if self._lacking is not None:
            raise MissingError(f"{self._lacking}; then run the same command again: what is done is kept")
        if self.stopped:
            raise KeyboardInterrupt

    def _start(self, folder: Path, messages: int) -> "subprocess.Popen[str]":
        with self._lock:
            self._check_not_stopped()
            child = subprocess.Popen(
                [sys.executable, *self._program, str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                text=True,
                env=os.environ | dict.fromkeys(threads.THREAD_VARIABLES, str(self._threads)),
                start_new_session=True,  # Ctrl-C reaches the study alone, which then stops its children in order
            )
            self._processes.add(child)
        return child

    def _read_progress(self, child: "subprocess.Popen[str]", cell: Cell, split: Split, report: ReportProgress) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        report(cell.label, "")
        try:
            child.stdin.write(json.dumps(cell.job(split, self._cells)) + "\n")
            child.stdin.flush()
        except BrokenPipeError:  # it died at once; its exit code will say so
            return
        for line in child.stdout:
            if line.startswith('{"done"'):  # a library may say something of its own
                report(cell.label, json.loads(line)["note"])

    def _wait_for_exit(self, child: "subprocess.Popen[str]") -> int:
        """Cut what ties the child to the study, wait for it, and return its exit code."""
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        code = child.wait()
        with self._lock:
            self._processes.discard(child)
        return code


def _failure_reason(code: int, messages: Path) -> str:
    """Return one line on a child that left no result."""
    if code < 0:
        name = signal.Signals(-code).name
        memory = ": often for want of memory; fewer processes in [run] leave each more" if code == -9 else ""
        return f"killed by {name}{memory}"
    lines = messages.read_text(encoding="utf-8", errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return said[-1] if said else f"ended with exit code {code} and no message"
