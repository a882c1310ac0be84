"""Clocks and what is said of their readings. Seconds in, seconds out."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from multitudes.progress import Progress

_EVERY_S = 5.0  # between two lines of progress


def clocked(call: Callable[[], object], repeats: int) -> list[float]:
    """Return the seconds of each of ``repeats`` calls."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return seconds


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median of repeats with their minimum and maximum."""
    return {
        "median": figure(float(np.median(values))),
        "min": figure(min(values)),
        "max": figure(max(values)),
        "repeats": len(values),
    }


def figure(value: float) -> float:
    """Return four significant digits: more would be noise."""
    return float(f"{value:.4g}")


def told(subject: str) -> Progress:
    """Return a progress callback that writes a line to stderr now and then, and always at the end."""
    last = [0.0]

    def report(done: int, total: int, note: str = "") -> None:
        now = time.perf_counter()
        if now - last[0] >= _EVERY_S or done >= total:
            last[0] = now
            print(f"{subject}: {done:,} of {total:,} {note}".rstrip(), file=sys.stderr, flush=True)

    return report


def settings(sizes: Any) -> dict[str, Any]:  # noqa: ANN401 (a NamedTuple of any subject)
    """Return sizes as JSON has them, so that every figure says what it was measured on."""
    return dict(sizes._asdict())
