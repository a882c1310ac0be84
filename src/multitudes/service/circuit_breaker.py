"""A circuit breaker: after failures in a row, nobody calls for a while."""

from collections.abc import Callable
from threading import Lock
from time import monotonic


class CircuitBreaker:
    """Tells by the outcome of earlier calls whether the next one is allowed.

    Closed: calls are allowed. Open, after failures in a row: none is. Half open, after a time: one is, and its outcome
    closes or opens it.
    """

    def __init__(self, failures: int, reset_timeout_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._max_failures, self._reset_timeout_s, self._clock = failures, reset_timeout_s, clock
        self._lock, self._failures, self._open_until_s = Lock(), 0, 0.0

    @property
    def is_open(self) -> bool:
        """Whether calls are not allowed now."""
        return self._failures >= self._max_failures and self._clock() < self._open_until_s

    def allow(self) -> bool:
        """Return whether a call is allowed; its caller then calls ``record_success`` or ``record_failure``."""
        with self._lock:
            if self._failures < self._max_failures:
                return True
            if self._clock() < self._open_until_s:
                return False
            self._open_until_s = self._clock() + self._reset_timeout_s  # no other call until this one ends
            return True

    def record_success(self) -> None:
        """Close the circuit."""
        with self._lock:
            self._failures = 0

    def record_failure(self) -> None:
        """Count a failure; open the circuit, or keep it open, after enough of them."""
        with self._lock:
            self._failures += 1
            self._open_until_s = self._clock() + self._reset_timeout_s
