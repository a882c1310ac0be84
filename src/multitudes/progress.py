"""How long work reports its progress: a callable, so that only those who watch need a terminal; and a bar for them."""

import shutil
import sys
import time
from types import TracebackType
from typing import Protocol, Self, TextIO

_REDRAW_INTERVAL_S = 0.2
_LINE_INTERVAL_S = 30.0  # between two lines in a file


class Progress(Protocol):
    """Reports progress; called often, so it must be cheap."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Report that ``done`` of ``total`` units are finished.

        Args:
            done: the finished amount.
            total: the whole amount, in the same unit.
            note: a short text, such as a loss or the name of a step.
        """


def silent(done: int, total: int, note: str = "") -> None:
    """Report nothing: the default."""
    del done, total, note


def step_progress(progress: Progress, done: int, total: int) -> Progress:
    """Return a callback that reports the MiB of one step of ``progress`` as its note."""
    return lambda mib, total_mib, note="": progress(done, total, f"{note}, {mib:,} of {total_mib:,} MiB")


class ProgressBar:
    """A progress callback that draws a bar with the time left, in a terminal or a notebook.

    Elsewhere, as in a file, it writes a line every 30 seconds.

    ::

        with ProgressBar("train") as progress:
            train(data, RunConfig(), "run", progress=progress)
    """

    def __init__(self, title: str, stream: TextIO | None = None) -> None:
        """Draw on ``stream``, by default stderr."""
        self._title, self._stream = title, stream or sys.stderr
        self._is_shown = self._stream.isatty() or "ipykernel" in sys.modules
        self._drawn_s, self._length = 0.0, 0
        self._written_s = time.monotonic()  # the last line that stays
        self._start_s, self._start, self._share = 0.0, 1.0, 1.0

    def __enter__(self) -> Self:
        self._draw(self._short_title(), at_once=True)
        return self

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Draw the progress.

        Args:
            done: the finished amount.
            total: the whole amount, in the same unit.
            note: a short text.
        """
        left_s = self._seconds_left(done, total)
        left = [] if left_s is None or done >= total else [f"{duration_text(left_s)} left"]
        if not self._is_shown:
            if time.monotonic() - self._written_s >= _LINE_INTERVAL_S:
                self.say(" · ".join([f"{self._title}: {done:,}/{total:,}", *left, *filter(None, [note])]))
            return
        width = min(terminal_columns() // 10, 20)
        filled = round(width * min(done / max(total, 1), 1))
        parts = [f"{self._short_title()} {'━' * filled}{'┄' * (width - filled)} {done:,}/{total:,}", *left]
        self._draw(" · ".join([*parts, note] if note else parts), at_once=done >= total)

    def say(self, line: str) -> None:
        """Write a line that stays; the bar follows below it at its next draw."""
        self.close()
        self._write(f"{line}\n")
        self._written_s, self._drawn_s = time.monotonic(), 0.0

    def close(self) -> None:
        """Remove the bar; leaving the ``with`` block does."""
        if self._length:
            self._write(f"\r{'':{self._length}}\r")
            self._length = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _short_title(self) -> str:
        return shorten(self._title, min(terminal_columns() // 4, 24))

    def _draw(self, line: str, *, at_once: bool) -> None:
        """Draw ``line``, cut to the width, over the one before; not if that one is recent, unless ``at_once``."""
        now_s = time.monotonic()
        if not self._is_shown or (now_s - self._drawn_s < _REDRAW_INTERVAL_S and not at_once):
            return
        line = shorten(line, terminal_columns() - 1)  # a line of the full width would wrap
        self._write(f"\r{line:{self._length}}")  # spaces cover the rest of a longer line: notebooks know no escapes
        self._drawn_s, self._length = now_s, len(line)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

    def _seconds_left(self, done: int, total: int) -> float | None:
        """Return an estimate from the mean speed since the first report, with validation and other pauses.

        It is None before the second report. A smaller share than before begins a new count.
        """
        now_s, share = time.monotonic(), done / max(total, 1)
        if share < self._share:
            self._start_s, self._start = now_s, share
        self._share = share
        return (now_s - self._start_s) * (1 - share) / (share - self._start) if share > self._start else None


def terminal_columns() -> int:
    """Return the width of the terminal, in characters."""
    return shutil.get_terminal_size().columns


def shorten(line: str, width: int) -> str:
    """Return ``line`` in at most ``width`` characters."""
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"[:width]


def amount(n: int, noun: str) -> str:
    """Return ``1 item`` or ``1,234 items``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def duration_text(seconds: float) -> str:
    """Return a duration in seconds, minutes, hours or days."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{max(1, round(seconds))} s"
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes / 60:.1f} h" if minutes < 2 * 24 * 60 else f"{minutes / (24 * 60):,.0f} days"
