"""What commands print: results on stdout, progress on stderr, JSON as the last line of stdout.

On a terminal, progress is a bar or, for a study, one line that is redrawn; elsewhere a study prints plain lines.
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

_REDRAW_INTERVAL_S = 0.2


def print_json(record: dict[str, Any]) -> None:
    """Print ``record`` as one line of JSON, the last line of a verb with ``--json``."""
    typer.echo(json.dumps(record, ensure_ascii=False, allow_nan=False))


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """Yield a progress callback that draws a bar with the time left; it draws nothing if stderr is no terminal."""
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
        # The note takes the remaining width, so that a long note does not push out the count on a narrow terminal.
        TextColumn("{task.fields[note]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
    )
    with Bar(*columns, console=console, disable=not console.is_terminal, transient=True, expand=True) as bar:
        task = bar.add_task(title, total=None, note="")

        def report(done: int, total: int, note: str = "") -> None:
            bar.update(task, completed=done, total=total, note=note)

        yield report


class StudyProgress(Protocol):
    """The progress of a study, as ``study.scheduler.StudyProgress`` reports it."""

    @property
    def done(self) -> int:
        """Number of cells that are done or failed."""
        ...

    @property
    def total(self) -> int:
        """Number of all cells."""
        ...

    def seconds_left(self) -> float | None:
        """Return an estimate of the time left; None: unknown."""
        ...

    def running_notes(self) -> list[tuple[str, str]]:
        """Return the label and the current step of each running cell."""
        ...


class StudyProgressLine:
    """Shows the progress of a study on stderr."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream, self._terminal = stream, stream.isatty()
        self._drawn_s, self._done = 0.0, -1

    def __call__(self, progress: StudyProgress) -> None:
        """Show the progress."""
        if self._terminal:
            self._draw(progress_text(progress), last=progress.done == progress.total)
        elif progress.done != self._done:
            self._done = progress.done
            print(progress_text(progress, detail=False), file=self._stream, flush=True)

    def show_preparation(self, done: int, total: int, note: str = "") -> None:
        """Show the progress of preparing data, on a terminal only: it is short."""
        if self._terminal:
            self._draw(f"preparing data {done}/{total} {note}")

    def _draw(self, line: str, *, last: bool = False) -> None:
        now_s = time.monotonic()
        if now_s - self._drawn_s < _REDRAW_INTERVAL_S and not last:
            return
        self._drawn_s = now_s
        width = shutil.get_terminal_size().columns - 1  # a line of the full width would wrap
        self._stream.write(f"\r\x1b[K{shorten(line, width)}")
        self._stream.flush()

    def close(self) -> None:
        """Clear the line."""
        if self._terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def progress_text(progress: StudyProgress, *, detail: bool = True) -> str:
    """Return the progress as one line, most important first, since a narrow terminal shows only the beginning."""
    parts = [f"{progress.done}/{progress.total} cells"]
    left_s = progress.seconds_left()
    if left_s is not None and progress.done < progress.total:
        parts.append(f"{duration_text(left_s)} left")
    running = [f"{label} {note}".rstrip() if detail else label for label, note in progress.running_notes()]
    return ", ".join([*parts, *running])


def shorten(line: str, width: int) -> str:
    """Return ``line`` in at most ``width`` characters."""
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"[:width]


def duration_text(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
