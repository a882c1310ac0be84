"""Clocks, statistics of their readings, and progress lines."""

import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from multitudes.progress import Progress

_PROGRESS_INTERVAL_S = 5.0  # between two lines of progress


class Readings(NamedTuple):
    """Wall and CPU seconds of each repeat; CPU time is more reliable on a busy machine."""

    wall: list[float]
    cpu: list[float]


def time_calls(call: Callable[[], object], repeats: int) -> Readings:
    """Return the seconds of each of ``repeats`` calls."""
    readings = Readings([], [])
    for _ in range(repeats):
        began, cpu_began = time.perf_counter(), cpu_clock()
        call()
        readings.cpu.append(cpu_clock() - cpu_began)
        readings.wall.append(time.perf_counter() - began)
    return readings


class StageClock:
    """The CPU seconds of this thread in each stage, summed over requests that are made one after another."""

    def __init__(self, stages: Sequence[str]) -> None:
        self.seconds = dict.fromkeys(stages, 0.0)
        self.start()

    def start(self) -> None:
        """Begin the first stage of a request."""
        self._last_s = time.thread_time()

    def end(self, stage: str) -> None:
        """End a stage, and begin the next; a ``StageTimer`` of retrieval."""
        now_s = time.thread_time()
        self.seconds[stage] += now_s - self._last_s
        self._last_s = now_s


def cpu_clock() -> float:
    """Return the CPU seconds of this process with all threads, and of its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def wall_and_cpu_ms(readings: Readings) -> dict[str, dict[str, float]]:
    """Return the spread of wall and CPU milliseconds."""
    return {"wall": spread([1000 * s for s in readings.wall]), "cpu": spread([1000 * s for s in readings.cpu])}


def rates(readings: Readings, amount: float) -> dict[str, dict[str, float]]:
    """Return the spread of ``amount`` per second, on both clocks."""
    return {"wall": spread([amount / s for s in readings.wall]), "cpu": spread([amount / s for s in readings.cpu])}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median of repeats with their minimum and maximum."""
    return {
        "median": round_figure(float(np.median(values))),
        "min": round_figure(min(values)),
        "max": round_figure(max(values)),
        "repeats": len(values),
    }


def round_figure(value: float) -> float:
    """Round to four significant digits; more would be noise."""
    return float(f"{value:.4g}")


def print_progress(subject: str) -> Progress:
    """Return a progress callback that writes a line to stderr every few seconds, and at the end."""
    last = [0.0]

    def report(done: int, total: int, note: str = "") -> None:
        now = time.perf_counter()
        if now - last[0] >= _PROGRESS_INTERVAL_S or done >= total:
            last[0] = now
            print(f"{subject}: {done:,} of {total:,} {note}".rstrip(), file=sys.stderr, flush=True)

    return report
