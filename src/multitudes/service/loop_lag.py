"""The lag of the event loop: a timer should fire every few milliseconds, and the lag is by how much it is late.

Requests wait in the event loop before any code can measure for how long, so admission control adds the lag to their
wait. The timer runs only while requests are in flight: it would wake an idle service 50 times a second.
"""

import asyncio
from collections.abc import Callable
from time import monotonic

_INTERVAL_S = 0.02


class LoopLagMonitor:
    """Measures the lag of an event loop while requests are in flight, from ``start`` to ``stop``.

    Any thread may call ``lag_s``; call all else in the event loop.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None  # None: no timer runs
        self._in_flight, self._was_busy = 0, False  # was_busy: a request was in flight since the last tick
        self._due_s = self._late_s = 0.0

    def start(self) -> None:
        """Measure from the next request on."""
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        """Measure no more."""
        self._loop = None
        if self._handle is not None:
            self._handle.cancel()
            self._pause()

    def enter(self) -> None:
        """Count a request that arrives."""
        self._in_flight, self._was_busy = self._in_flight + 1, True
        if self._handle is None:
            self._schedule()

    def leave(self) -> None:
        """Count a request that is answered."""
        self._in_flight -= 1

    def lag_s(self) -> float:
        """Return the lag of the last tick, or of the next one if that is already more; 0 without requests."""
        if self._handle is None:
            return 0.0
        return max(self._late_s, self._clock() - self._due_s, 0.0)

    def _tick(self) -> None:
        if not self._was_busy:
            self._pause()
            return
        self._late_s = max(0.0, self._clock() - self._due_s)
        self._was_busy = self._in_flight > 0
        self._schedule()

    def _schedule(self) -> None:
        if self._loop is not None:
            self._due_s = self._clock() + _INTERVAL_S
            self._handle = self._loop.call_later(_INTERVAL_S, self._tick)

    def _pause(self) -> None:
        """Forget the lag with the timer: it says nothing about requests that come later."""
        self._handle, self._late_s = None, 0.0
