"""The lag of the event loop: a timer should fire every few milliseconds, and the lag is by how much it is late.

Requests wait in the event loop before any code can measure for how long, so admission control adds the lag to their
wait.
"""

import asyncio
from collections.abc import Callable
from time import monotonic

_INTERVAL_S = 0.02


class LoopLagMonitor:
    """Measures the lag of the running event loop from ``start`` to ``stop``; any thread may call ``lag_s``."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._due_s: float | None = None
        self._late_s = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start the timer; call this in the event loop."""
        self._due_s = self._clock() + _INTERVAL_S
        self._handle = asyncio.get_running_loop().call_later(_INTERVAL_S, self._tick)

    def stop(self) -> None:
        """Stop the timer."""
        self._due_s = None
        if self._handle is not None:
            self._handle.cancel()

    def lag_s(self) -> float:
        """Return the lag of the last tick, or of the next one if that is already more; 0 if stopped."""
        if self._due_s is None:
            return 0.0
        return max(self._late_s, self._clock() - self._due_s, 0.0)

    def _tick(self) -> None:
        if self._due_s is not None:
            self._late_s = max(0.0, self._clock() - self._due_s)
            self.start()
