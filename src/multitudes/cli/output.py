"""What commands print: results to stdout, progress to stderr and only on a terminal, JSON as the last line.

How a study shows where it stands: one line that is drawn over on a terminal, plain lines elsewhere.
"""

import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

import typer

from multitudes.progress import Progress


def print_json(record: dict[str, Any]) -> None:
    """Print ``record`` as one line of JSON, which is the last line of every ``--json`` verb."""
    typer.echo(json.dumps(record, ensure_ascii=False, allow_nan=False))


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """Yield a progress callback that draws a bar with rate and time left; silent where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", table_column=Column(max_width=24, no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        # It takes what the others leave: on a narrow terminal a long note or title pushed out the count.
        TextColumn("{task.fields[note]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
    )
    with Bar(*columns, console=console, disable=not console.is_terminal, transient=True, expand=True) as bar:
        task = bar.add_task(title, total=None, note="")

        def report(done: int, total: int, note: str = "") -> None:
            bar.update(task, completed=done, total=total, note=note)

        yield report


_REDRAW_INTERVAL_S = 0.2


class StudyProgress(Protocol):
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


class StudyProgressLine:
    """Listens to a study and writes to stderr."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream, self._terminal = stream, stream.isatty()
        self._drawn_s, self._done = 0.0, -1

    def __call__(self, standing: StudyProgress) -> None:
        """Show where the study stands."""
        if self._terminal:
            self._draw(progress_text(standing), last=standing.done == standing.total)
        elif standing.done != self._done:
            self._done = standing.done
            print(progress_text(standing, detail=False), file=self._stream, flush=True)

    def show_preparation(self, done: int, total: int, note: str = "") -> None:
        """Show how far the preparation of the data is; elsewhere than on a terminal it is too short to tell of."""
        if self._terminal:
            self._draw(f"preparing data {done}/{total} {note}")

    def _draw(self, line: str, *, last: bool = False) -> None:
        now_s = time.monotonic()
        if now_s - self._drawn_s < _REDRAW_INTERVAL_S and not last:
            return
        self._drawn_s = now_s
        width = shutil.get_terminal_size().columns - 1  # a full line would wrap, and be drawn on the next one
        self._stream.write(f"\r\x1b[K{shorten(line, width)}")
        self._stream.flush()

    def close(self) -> None:
        """Leave the line clean for what comes after it."""
        if self._terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def progress_text(standing: StudyProgress, *, detail: bool = True) -> str:
    """Return what there is to say; the most important first, since a narrow terminal shows the beginning."""
    parts = [f"{standing.done}/{standing.total} cells"]
    left_s = standing.seconds_left()
    if left_s is not None and standing.done < standing.total:
        parts.append(f"{duration_text(left_s)} left")
    running = [f"{label} {note}".rstrip() if detail else label for label, note in standing.running_notes()]
    return ", ".join([*parts, *running])


def shorten(line: str, width: int) -> str:
    """Return ``line`` in at most ``width`` characters."""
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"[:width]


def duration_text(seconds: float) -> str:
    """Return a duration as a person says it."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
