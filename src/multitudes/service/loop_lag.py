"""How late the event loop is: a beat that should come every few milliseconds, and by how much it comes too late.

Requests wait there before anybody can measure how long, so it is what else they will have waited.
"""

import asyncio
from collections.abc import Callable
from time import monotonic

_INTERVAL_S = 0.02


class LoopLagMonitor:
    """Beats in the running event loop from ``start`` to ``stop``; ``lag_s`` may be asked from any thread."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._due_s: float | None = None
        self._late_s = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to beat; called in the loop."""
        self._due_s = self._clock() + _INTERVAL_S
        self._handle = asyncio.get_running_loop().call_later(_INTERVAL_S, self._tick)

    def stop(self) -> None:
        """End it."""
        self._due_s = None
        if self._handle is not None:
            self._handle.cancel()

    def lag_s(self) -> float:
        """Return how late the last beat was, or how late the next one is already, if that is more; 0: it is stopped."""
        if self._due_s is None:
            return 0.0
        return max(self._late_s, self._clock() - self._due_s, 0.0)

    def _tick(self) -> None:
        if self._due_s is not None:
            self._late_s = max(0.0, self._clock() - self._due_s)
            self.start()
