"""A profiler that times chosen functions of the library from outside.

Each part gets its own time only: the time of a timed function that it calls is subtracted. A name that does not exist
is an error, so a part cannot vanish unnoticed when the code changes.
"""

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from benchmarks.timing import round_figure


class TimedFunction(NamedTuple):
    """A function or method, given by its owner (a module or class) and name, and the part that its time counts as."""

    part: str
    owner: Any
    name: str


class Stopwatch:
    """Accumulates seconds by part, or what another clock counts."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._inner = [0.0]  # time of timed calls inside each open call

    def time_part(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` with its own time counted as ``part``."""

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            began = self._clock()
            self._inner.append(0.0)
            try:
                return function(*arguments, **named)
            finally:
                taken = self._clock() - began
                self.seconds[part] = self.seconds.get(part, 0.0) + taken - self._inner.pop()
                self._inner[-1] += taken

        return call

    def shares(self, total_s: float) -> dict[str, float]:
        """Return each part's share of ``total_s``, largest first, and the rest."""
        parts = dict(sorted(self.seconds.items(), key=lambda entry: -entry[1]))
        parts["rest"] = max(0.0, total_s - sum(parts.values()))
        return {part: round_figure(seconds / total_s) for part, seconds in parts.items()}


@contextmanager
def profile(watched: Iterable[TimedFunction], clock: Callable[[], float] = time.perf_counter) -> Iterator[Stopwatch]:
    """Time functions until the block ends, by any clock."""
    stopwatch = Stopwatch(clock)
    earlier = [(owner, name, vars(owner).get(name)) for _, owner, name in watched]
    try:
        for part, owner, name in watched:
            setattr(owner, name, stopwatch.time_part(part, getattr(owner, name)))
        yield stopwatch
    finally:
        for owner, name, function in earlier:
            if function is not None:
                setattr(owner, name, function)
            elif name in vars(owner):  # it was inherited
                delattr(owner, name)
