"""A circuit breaker: after failures in a row nothing is tried for a while, then one call tries for all."""

import time
from collections.abc import Callable
from threading import Lock

from pydantic import Field

from multitudes.config import Config


class BreakerConfig(Config):
    """Settings of a circuit breaker."""

    failures: int = Field(5, ge=1, description="failures in a row after which nothing is tried for a while")
    rest_s: float = Field(1.0, gt=0, description="how long nothing is tried; then one call tries for all")


class Breaker:
    """Closed: calls pass. Open: none does. Half open, after a rest: one passes, and its outcome decides for all."""

    def __init__(self, config: BreakerConfig | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config or BreakerConfig(), clock
        self._lock, self._failures, self._rests_until_s = Lock(), 0, 0.0

    @property
    def open(self) -> bool:
        """Whether nothing is tried now."""
        return self._failures >= self._config.failures and self._clock() < self._rests_until_s

    def passes(self) -> bool:
        """Return whether a call may be made; whoever makes it reports ``succeeded`` or ``failed``."""
        with self._lock:
            if self._failures < self._config.failures:
                return True
            if self._clock() < self._rests_until_s:
                return False
            self._rests_until_s = self._clock() + self._config.rest_s  # nobody else, until this one reports
            return True

    def succeeded(self) -> None:
        """Close."""
        with self._lock:
            self._failures = 0

    def failed(self) -> None:
        """Count a failure; open, or stay open, if there were enough."""
        with self._lock:
            self._failures += 1
            self._rests_until_s = self._clock() + self._config.rest_s
