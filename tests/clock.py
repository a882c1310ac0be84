"""A clock that tests move."""

from dataclasses import dataclass


@dataclass
class Clock:
    """A time in seconds that passes when a test says so."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s
