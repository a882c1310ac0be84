"""What a part of a service does again and again, beside everything else, in a thread of its own."""

import logging
from collections.abc import Callable
from threading import Event, Thread


class PeriodicTask:
    """Calls ``do`` with ``seconds`` of rest before each call, from ``start`` to ``close``.

    A call that fails is logged, and the next one is made all the same.
    """

    def __init__(self, seconds: float, do: Callable[[], object], name: str) -> None:
        """Set up.

        Args:
            seconds: from the end of one call to the beginning of the next, and before the first.
            do: what is called; what it returns is passed over.
            name: of the thread, and of the work in the log.
        """
        self._interval_s, self._function, self._name = seconds, do, name
        self._stop = Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; once."""
        self._thread.start()

    def close(self) -> None:
        """End when the call that is under way has returned; also where nothing was begun."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self._function()
            except Exception:  # whoever does something again and again must not end with one failure
                logging.getLogger(__name__).exception("%s: failed; tried again", self._name)
