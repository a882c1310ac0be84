"""A stream that never makes its writer wait: a reader of the journal that hangs must not hold a request.

A thread writes what was given to it, a little later, since to wake it for each line would cost more than the line. What
does not fit is dropped and counted: the service goes on without its journal.
"""

import sys
from collections import deque
from functools import cache
from threading import Condition, Thread
from time import sleep
from typing import TextIO

_MAX_LINES = 10_000  # lines
_LINES_PER_WRITE = 2_500
_BATCH_DELAY_S = 0.02
_DRAIN_S = 1.0  # at the end


class QueuedStream:
    """Takes lines as a stream does; any thread may write."""

    def __init__(self, stream: TextIO, most: int = _MAX_LINES) -> None:
        self._stream, self._most = stream, most
        self._lines, self._changed = deque[str](), Condition()
        self._writing = False
        self.lost = 0
        Thread(target=self._run, name="journal", daemon=True).start()

    def write(self, text: str) -> int:
        """Take a text, to be written soon; returns at once."""
        with self._changed:
            if len(self._lines) < self._most:
                self._lines.append(text)
                self._changed.notify_all()
            else:
                self.lost += 1
        return len(text)

    def flush(self) -> None:
        """Do nothing: nobody waits."""

    def drain(self, within_s: float = _DRAIN_S) -> bool:
        """Wait until everything is written, but not for ever; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._writing, within_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: len(self._lines) > 0)
            sleep(_BATCH_DELAY_S)
            with self._changed:
                some = [self._lines.popleft() for _ in range(min(_LINES_PER_WRITE, len(self._lines)))]
                self._writing = True
            try:
                self._stream.write("".join(some))
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads any more
                self.lost += len(some)
            with self._changed:
                self._writing = False
                self._changed.notify_all()


@cache
def stderr_stream() -> QueuedStream:
    """Return the one outlet of this process to its standard error."""
    return QueuedStream(sys.stderr)
