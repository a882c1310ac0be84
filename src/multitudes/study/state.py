"""How far a study is: what is done, what runs now, and how long the rest will take.

A duration is guessed from those seen: of the same method and data set where there are some, else of the same data set,
else of all. Cells that lay there already take no time and say nothing about it.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean

from multitudes.study.cells import Cell

Step = tuple[str, str, bool]  # data set, method, whether it is a trial of tuning


class Standing:
    """Follows the work of many threads and tells a listener."""

    def __init__(self, steps: list[Step], processes: int, tell: Callable[["Standing"], None]) -> None:
        self._left, self._processes, self._tell = list(steps), processes, tell
        self._lock = threading.RLock()
        self.total = len(steps)
        self.durations: list[tuple[Step, float]] = []
        self.running: dict[str, _Running] = {}

    @property
    def done(self) -> int:
        """The steps that are over, whether they succeeded or not."""
        return self.total - len(self._left)

    def begin(self, cell: Cell) -> None:
        """Say that a process works on ``cell``."""
        with self._lock:
            self.running[cell.label] = _Running(step_of(cell))
            self._tell(self)

    def report(self, label: str, note: str) -> None:
        """Say what a running cell is at, such as its second epoch."""
        with self._lock:
            if label in self.running:
                self.running[label].note = note
                self._tell(self)

    def end(self, cell: Cell) -> None:
        """Say that ``cell`` is over, after some time if it was ever begun."""
        with self._lock:
            running = self.running.pop(cell.label, None)
            if running is not None:
                self.durations.append((running.step, time.monotonic() - running.since_s))
            self._left.remove(step_of(cell))
            self._tell(self)

    def running_notes(self) -> list[tuple[str, str]]:
        """Return what runs now, and what it is at."""
        with self._lock:
            return [(label, running.note) for label, running in self.running.items()]

    def seconds_left(self) -> float | None:
        """Return how long the rest will take; None while nothing is known."""
        with self._lock:
            now_s = time.monotonic()
            started = [(r.step, now_s - r.since_s) for r in self.running.values()]
            return seconds_left(self._left, started, self.durations, self._processes)


@dataclass
class _Running:
    step: Step
    since_s: float = field(default_factory=time.monotonic)
    note: str = ""


def step_of(cell: Cell) -> Step:
    """Return what a cell is to the clock: seeds of one method take equally long."""
    return cell.data, cell.method, cell.trial is not None


def seconds_left(
    left: list[Step], started: list[tuple[Step, float]], seen: list[tuple[Step, float]], processes: int
) -> float | None:
    """Return the seconds that are left.

    Args:
        left: steps that are not over, those that run included.
        started: steps that run, and for how many seconds.
        seen: steps that are over, and how many seconds each took.
        processes: how many run side by side.
    """
    if not seen:
        return None
    whole = sum(expected(step, seen) for step in left)
    spent = sum(min(seconds, expected(step, seen)) for step, seconds in started)
    return (whole - spent) / processes


def expected(step: Step, seen: list[tuple[Step, float]]) -> float:
    """Return how long ``step`` will take, from the likest of those seen."""
    data, method, trial = step
    for alike in (
        [s for (d, m, t), s in seen if (d, m, t) == (data, method, trial)],
        [s for (d, m, _), s in seen if (d, m) == (data, method)],
        [s for (d, _, _), s in seen if d == data],
    ):
        if alike:
            return fmean(alike)
    return fmean([s for _, s in seen])
