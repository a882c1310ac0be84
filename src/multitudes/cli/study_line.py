"""How a study shows where it stands: one line that is drawn over on a terminal, plain lines elsewhere."""

import shutil
import sys
import time
from typing import Protocol, TextIO

_EVERY_S = 0.2


class Standing(Protocol):
    """What is shown of a study; ``study.state.Standing`` is one."""

    @property
    def done(self) -> int:
        """The cells that are over."""
        ...

    @property
    def total(self) -> int:
        """All cells."""
        ...

    def seconds_left(self) -> float | None:
        """Return how long the rest will take; None: unknown."""
        ...

    def running_notes(self) -> list[tuple[str, str]]:
        """Return what runs now, and what it is at."""
        ...


class StudyLine:
    """Listens to a study and writes to stderr."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream, self._terminal = stream, stream.isatty()
        self._drawn_s, self._done = 0.0, -1

    def __call__(self, standing: Standing) -> None:
        """Show where the study stands."""
        if self._terminal:
            self._draw(text(standing), last=standing.done == standing.total)
        elif standing.done != self._done:
            self._done = standing.done
            print(text(standing, detail=False), file=self._stream, flush=True)

    def preparing(self, done: int, total: int, note: str = "") -> None:
        """Show how far the preparation of the data is; elsewhere than on a terminal it is too short to tell of."""
        if self._terminal:
            self._draw(f"preparing data {done}/{total} {note}")

    def _draw(self, line: str, *, last: bool = False) -> None:
        now_s = time.monotonic()
        if now_s - self._drawn_s < _EVERY_S and not last:
            return
        self._drawn_s = now_s
        width = shutil.get_terminal_size().columns - 1  # a full line would wrap, and be drawn on the next one
        self._stream.write(f"\r\x1b[K{shortened(line, width)}")
        self._stream.flush()

    def close(self) -> None:
        """Leave the line clean for what comes after it."""
        if self._terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def text(standing: Standing, *, detail: bool = True) -> str:
    """Return what there is to say; the most important first, since a narrow terminal shows the beginning."""
    parts = [f"{standing.done}/{standing.total} cells"]
    left_s = standing.seconds_left()
    if left_s is not None and standing.done < standing.total:
        parts.append(f"{duration(left_s)} left")
    running = [f"{label} {note}".rstrip() if detail else label for label, note in standing.running_notes()]
    return ", ".join([*parts, *running])


def shortened(line: str, width: int) -> str:
    """Return ``line`` in at most ``width`` characters."""
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"[:width]


def duration(seconds: float) -> str:
    """Return a duration as a person says it."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
