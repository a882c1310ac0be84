"""A stream that never blocks its writer, so a reader of the journal that hangs delays no request.

A thread writes the queued lines a little later and many at a time, since waking it for each line would cost more than
the line. Lines that do not fit into the queue are dropped and counted; the service works without them.
``logging.handlers.QueueHandler`` with a ``QueueListener`` wakes and flushes for each record, so it is not used.
"""

import sys
from collections import deque
from functools import cache
from threading import Condition, Thread
from time import sleep
from typing import TextIO

_MAX_LINES = 10_000
_LINES_PER_WRITE = 2_500
_BATCH_DELAY_S = 0.02
_DRAIN_S = 1.0


class QueuedStream:
    """A text stream that queues lines for another stream. Thread-safe."""

    def __init__(self, stream: TextIO, max_lines: int = _MAX_LINES) -> None:
        self._stream, self._max_lines = stream, max_lines
        self._lines, self._changed = deque[str](), Condition()
        self._writing = False
        self.lost = 0
        Thread(target=self._run, name="journal", daemon=True).start()

    def write(self, text: str) -> int:
        """Queue a text, and return at once."""
        with self._changed:
            if len(self._lines) < self._max_lines:
                self._lines.append(text)
                self._changed.notify_all()
            else:
                self.lost += 1
        return len(text)

    def flush(self) -> None:
        """Do nothing: a writer never waits."""

    def drain(self, within_s: float = _DRAIN_S) -> bool:
        """Wait until all lines are written, at most ``within_s`` seconds; return whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._writing, within_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: len(self._lines) > 0)
            sleep(_BATCH_DELAY_S)
            with self._changed:
                lines = [self._lines.popleft() for _ in range(min(_LINES_PER_WRITE, len(self._lines)))]
                self._writing = True
            try:
                self._stream.write("".join(lines))
                self._stream.flush()
            except (OSError, ValueError):  # the reader closed the pipe
                self.lost += len(lines)
            with self._changed:
                self._writing = False
                self._changed.notify_all()


@cache
def stderr_stream() -> QueuedStream:
    """Return the one queued stream of this process to its standard error."""
    return QueuedStream(sys.stderr)
