"""Background tasks that run at an interval, and watches for changed files."""

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from typing import Final

FileSignature = tuple[int, int, int]  # inode, size, time of the last change in ns
_UNSEEN: Final = object()


class PeriodicTask:
    """Calls a function in a thread of its own, with a fixed pause before each call, from ``start`` to ``close``.

    A call that raises is logged, and the calls go on.
    """

    def __init__(self, interval_s: float, function: Callable[[], object], name: str) -> None:
        """Create the task without starting it; ``name`` is that of the thread, and of the task in the log."""
        self._interval_s, self._function, self._name = interval_s, function, name
        self._stop = Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread. Call it once."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and wait for a call that is running; does nothing if the task was not started."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self._function()
            except Exception:  # one failure must not end the task
                logging.getLogger(__name__).exception("%s: failed; will be tried again", self._name)


class FileWatch:
    """Reports each change of a file once; threads may share it.

    ::

        watch = FileWatch(file, interval_s=1.0)
        if watch.poll():
            content = read(file)
    """

    def __init__(
        self, file: Path, *, interval_s: float = 0.0, signature: "Callable[[Path], object] | None" = None
    ) -> None:
        """Watch ``file``, which need not exist; examine its ``signature`` at most once in ``interval_s`` seconds."""
        self._file, self._interval_s, self._examine = file, interval_s, signature or file_signature
        self._signature: object = _UNSEEN
        self._next_examination_s = 0.0
        self._lock = Lock()

    def poll(self) -> bool:
        """Return whether the file appeared, changed or vanished since the last call; True at the first call.

        False while another thread polls, and until ``interval_s`` is over.

        Raises:
            OSError: the file cannot be examined.
        """
        if monotonic() < self._next_examination_s or not self._lock.acquire(blocking=False):
            return False
        try:
            self._next_examination_s = monotonic() + self._interval_s
            signature = self._examine(self._file)
            has_changed = signature != self._signature
            self._signature = signature
        finally:
            self._lock.release()
        return has_changed

    def reset(self) -> None:
        """Make the next ``poll`` return True; call it if the changed file could not be used."""
        self._signature = _UNSEEN


def file_signature(file: Path | None) -> FileSignature | None:
    """Return a value that differs whenever the file has changed; None if there is none.

    Raises:
        OSError: the file cannot be examined.
    """
    if file is None:
        return None
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
