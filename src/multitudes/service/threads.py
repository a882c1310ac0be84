"""A few threads for calls that may never return: they are not waited for, not even when the process ends."""

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """Makes ``count`` calls at a time, in the order in which they come; one that is cancelled in time is not made."""

    def __init__(self, count: int, name: str) -> None:
        self._work = SimpleQueue[Callable[[], None] | None]()
        self._threads = [Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Callable[[], T]) -> "Future[T]":
        """Return the future of ``call``."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                answer = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(answer)

        self._work.put(run)
        return future

    def close(self) -> None:
        """Let the threads end when they are done with what was submitted."""
        for _ in self._threads:
            self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
