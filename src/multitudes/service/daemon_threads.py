"""Threads for calls that may never return, and the wait for such a call until a deadline."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import TypeVar

T = TypeVar("T")


class TimedFuture(Future[T]):
    """The future of a call that records when it starts."""

    start_s = float("inf")

    def running_s(self) -> float:
        """Return for how long the call has run; 0: it waits for a thread."""
        return max(0.0, monotonic() - self.start_s)


class DaemonThreads:
    """Threads for calls that may never return: nothing waits for them, not even the end of the process.

    Calls run in the order of ``submit``, ``count`` at a time; a call that is cancelled before it runs is skipped.
    """

    pending = 0  # calls that run or wait, as their callers count them

    def __init__(self, count: int, name: str) -> None:
        self._work = SimpleQueue[Callable[[], None] | None]()
        self._threads = [Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Callable[[], T]) -> TimedFuture[T]:
        """Return the future of ``call``."""
        future = TimedFuture[T]()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            future.start_s = monotonic()
            try:
                answer = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(answer)

        self._work.put(run)
        return future

    def close(self) -> None:
        """Let the threads end after the calls that were submitted."""
        for _ in self._threads:
            self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


async def await_in_time(submitted: TimedFuture[T], deadline_s: float, within_s: float) -> T:
    """Return the answer of a call that runs for ``deadline_s``, and for ``within_s`` with its wait for a thread."""
    answer = asyncio.wrap_future(submitted)
    until_s, left_s = monotonic() + within_s, min(deadline_s, within_s)
    try:
        while not answer.done() and left_s > 0:
            await asyncio.wait([answer], timeout=left_s)
            left_s = min(deadline_s - submitted.running_s(), until_s - monotonic())
        if not answer.done():
            raise TimeoutError
        return answer.result()
    finally:
        answer.cancel()  # a call that still waits for a thread is not made
