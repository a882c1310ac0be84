"""A few threads for calls that may never return: they are not waited for, not even when the process ends."""

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import BoundedSemaphore, Thread
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """At most ``count`` calls at a time; a further one is refused, not queued."""

    def __init__(self, count: int, name: str) -> None:
        self._free, self._work = BoundedSemaphore(count), SimpleQueue[Callable[[], None] | None]()
        self._threads = [Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Callable[[], T]) -> "Future[T] | None":
        """Return the future of ``call``; None: every thread is busy."""
        if not self._free.acquire(blocking=False):
            return None
        future: Future[T] = Future()

        def run() -> None:
            try:
                outcome = call()
            except BaseException as error:
                self._free.release()  # first, so that whoever gets the answer finds a free thread
                future.set_exception(error)
            else:
                self._free.release()
                future.set_result(outcome)

        self._work.put(run)
        return future

    def close(self) -> None:
        """Let the threads end when they are done with what they do."""
        for _ in self._threads:
            self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
