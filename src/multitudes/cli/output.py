"""What commands print: results on stdout, progress on stderr, JSON as the last line of stdout.

On a terminal, progress is a bar or, for a study, one line that is redrawn; elsewhere a study prints plain lines.
"""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TextIO

import typer

from multitudes.progress import RedrawnLine, duration_text


def print_json(record: dict[str, Any]) -> None:
    """Print ``record`` as one line of JSON, the last line of a verb with ``--json``."""
    typer.echo(json.dumps(record, ensure_ascii=False, allow_nan=False))


_shows_next = ContextVar("shows_next", default=True)


def print_next(*words: str | Path | None, note: str = "", label: str = "next") -> None:
    """Print the command that follows, to be copied: ``words`` after ``multitudes``, of which None is left out."""
    command = shlex.join(["multitudes", *(str(word) for word in words if word is not None)])
    if _shows_next.get():
        typer.echo(f"{label}{note}: {command}")


@contextmanager
def hide_next() -> Iterator[None]:
    """Leave out the commands that follow, while a block runs several commands itself."""
    token = _shows_next.set(False)
    try:
        yield
    finally:
        _shows_next.reset(token)


def config_words(config: Path | None) -> list[str]:
    """Return the option that gives the next command the same settings."""
    return [] if config is None else ["--config", str(config)]


def unused_path(path: Path) -> Path:
    """Return ``path``, or with the first number from 2 that makes it new."""
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(2))
    return path if not path.exists() else next(one for one in numbered if not one.exists())


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
        self._stream, self._line, self._done = stream, RedrawnLine(stream), -1

    def __call__(self, progress: StudyProgress) -> None:
        """Show the progress."""
        if self._line.is_shown:
            self._line.draw(progress_text(progress), at_once=progress.done == progress.total)
        elif progress.done != self._done:
            self._done = progress.done
            print(progress_text(progress, detail=False), file=self._stream, flush=True)

    def show_preparation(self, done: int, total: int, note: str = "") -> None:
        """Show the progress of preparing data, on a terminal only: it is short."""
        self._line.draw(f"preparing data {done}/{total} {note}")

    def close(self) -> None:
        """Clear the line."""
        self._line.clear()


def progress_text(progress: StudyProgress, *, detail: bool = True) -> str:
    """Return the progress as one line, most important first, since a narrow terminal shows only the beginning."""
    parts = [f"{progress.done}/{progress.total} cells"]
    left_s = progress.seconds_left()
    if left_s is not None and progress.done < progress.total:
        parts.append(f"{duration_text(left_s)} left")
    running = [f"{label} {note}".rstrip() if detail else label for label, note in progress.running_notes()]
    return ", ".join([*parts, *running])
