"""A circuit breaker: after failures in a row nothing is tried for a while, then one call tries for all.

A few threads for calls that may never return: they are not waited for, not even when the process ends.

The store of user states behind a deadline and a circuit breaker: one that hangs, or is gone, holds nobody up.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Generic, Protocol, TypeVar

from pydantic import Field

from multitudes.config import Config
from multitudes.errors import DataError, StateError
from multitudes.ids import Id
from multitudes.state.erasure_requests import ErasureRequests
from multitudes.state.protocol import AppendResult, Event, UserState, UserStateStore


class BreakerConfig(Config):
    """Settings of a circuit breaker."""

    failures: int = Field(5, ge=1, description="failures in a row after which nothing is tried for a while")
    reset_timeout_s: float = Field(1.0, gt=0, description="how long nothing is tried; then one call tries for all")


class CircuitBreaker:
    """Closed: calls pass. Open: none does. Half open, after a rest: one passes, and its outcome decides for all."""

    def __init__(self, config: BreakerConfig | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config or BreakerConfig(), clock
        self._lock, self._failures, self._open_until_s = Lock(), 0, 0.0

    @property
    def open(self) -> bool:
        """Whether nothing is tried now."""
        return self._failures >= self._config.failures and self._clock() < self._open_until_s

    def allow(self) -> bool:
        """Return whether a call may be made; whoever makes it reports ``record_success`` or ``record_failure``."""
        with self._lock:
            if self._failures < self._config.failures:
                return True
            if self._clock() < self._open_until_s:
                return False
            self._open_until_s = self._clock() + self._config.reset_timeout_s  # nobody else, until this one reports
            return True

    def record_success(self) -> None:
        """Close."""
        with self._lock:
            self._failures = 0

    def record_failure(self) -> None:
        """Count a failure; open, or stay open, if there were enough."""
        with self._lock:
            self._failures += 1
            self._open_until_s = self._clock() + self._config.reset_timeout_s


R = TypeVar("R")


class DaemonThreads:
    """Makes ``count`` calls at a time, in the order in which they come; one that is cancelled in time is not made."""

    def __init__(self, count: int, name: str) -> None:
        self._work = SimpleQueue[Callable[[], None] | None]()
        self._threads = [Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Callable[[], R]) -> "Future[R]":
        """Return the future of ``call``."""
        future: Future[R] = Future()

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


T = TypeVar("T")
_MAX_PENDING = 256  # calls that may be under way or wait for a thread; a store that keeps up needs a handful
_TOTAL_DEADLINES = 2  # times the deadline of a call: waiting for a thread, and then for the store


class GuardConfig(BreakerConfig):
    """Settings of the guard around a store."""

    read_s: float = Field(0.05, gt=0, description="deadline of a read; a request goes on without it")
    write_s: float = Field(1.0, gt=0, description="deadline of a write; whoever sent it may send it again")
    threads: int = Field(8, ge=1, description="calls at a time; further ones wait in line")


class RecordCall(Protocol):
    """Takes in how long a call took, and whether the store failed."""

    def __call__(self, call: str, seconds: float, *, failed: bool) -> None: ...  # noqa: D102


class GuardedStates:
    """Answers in time or raises StateError, whatever becomes of the store within it; what it does is measured.

    A burst waits in line for a thread, and that is no failure of the store; that a call then takes too long is one. A
    write that was given up may still take place: it may be sent again, since an event counts once.
    """

    def __init__(
        self,
        store: UserStateStore,
        marks: ErasureRequests,
        measure: RecordCall,
        config: GuardConfig | None = None,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        """Take a store, which is closed with this, and the marks of who asked to be forgotten on this machine."""
        self._store, self._marks, self._record, self._config = store, marks, measure, config or GuardConfig()
        self._breaker = breaker or CircuitBreaker(self._config)
        self._threads = DaemonThreads(self._config.threads, "user-states")
        self._pending = 0

    @property
    def open(self) -> bool:
        """Whether the circuit is open: the store failed, and is not asked for a while."""
        return self._breaker.open

    async def append(self, events: Sequence[Event]) -> AppendResult:
        """Take events in; they are durable when this returns."""
        return await self._call("append", lambda: self._store.append(events), self._config.write_s)

    async def read(self, user_ids: Sequence[Id], within_s: float) -> list[UserState]:
        """Return what is known of users, or give up after ``within_s``."""
        return await self._call("read", lambda: self._store.read(user_ids), self._config.read_s, within_s)

    async def set_followed_topics(self, user_id: Id, followed_topics: Sequence[str]) -> None:
        """State what a user follows."""
        await self._call(
            "follow", lambda: self._store.set_followed_topics(user_id, followed_topics), self._config.write_s
        )

    async def erase(self, user_id: Id) -> bool:
        """Forget a user; from the first moment, and whatever becomes of the store, ``is_erased`` knows it."""
        await asyncio.to_thread(self._marks.add, user_id)
        return await self._call("forget", lambda: self._store.erase(user_id), self._config.write_s)

    def is_erased(self, user_id: Id) -> bool:
        """Tell whether a user asked on this machine to be forgotten, without asking the store."""
        return user_id in self._marks

    async def ping(self) -> None:
        """Return where the store answers."""
        await self._call("ping", self._store.ping, self._config.read_s)

    def close(self) -> None:
        """Close the store, where it does not hang."""
        self._threads.close()
        closing = DaemonThreads(1, "user-states-close")
        done = closing.submit(self._store.close)
        closing.close()
        try:
            done.result(self._config.write_s)
        except TimeoutError:
            return

    async def _call(self, name: str, do: Callable[[], T], deadline_s: float, within_s: float = float("inf")) -> T:
        start_s, failed = monotonic(), False
        try:
            return await self._call_guarded(_TimedCall(do), deadline_s, min(within_s, _TOTAL_DEADLINES * deadline_s))
        except StateError:
            failed = True
            raise
        finally:
            self._record(name, monotonic() - start_s, failed=failed)

    async def _call_guarded(self, call: "_TimedCall[T]", deadline_s: float, within_s: float) -> T:
        if self._pending >= _MAX_PENDING:
            raise StateError("the store of user states is behind with its work; come again later")
        if not self._breaker.allow():
            raise StateError("the store of user states failed just now; it is tried again in a moment")
        self._pending += 1
        try:
            answer = await self._await_in_time(call, deadline_s, within_s)
        except TimeoutError:
            if hangs := call.running_s() >= deadline_s:  # somebody in a greater hurry proves nothing against the store
                self._breaker.record_failure()
            given_s = deadline_s if hangs else within_s
            raise StateError(f"the store of user states gave no answer within {given_s * 1e3:.0f} ms") from None
        except DataError:
            self._breaker.record_success()  # it was refused, so the store is there
            raise
        except Exception as error:
            self._breaker.record_failure()
            # The store's own words name its place: they are for the journal, and nobody's business outside.
            logging.getLogger(__name__).error("%s", error)
            raise StateError("the store of user states failed; it is tried again in a moment") from None
        finally:
            self._pending -= 1
        self._breaker.record_success()
        return answer

    async def _await_in_time(self, call: "_TimedCall[T]", deadline_s: float, within_s: float) -> T:
        """Return the answer of a call.

        Raises:
            TimeoutError: it took longer than ``deadline_s``, or than ``within_s`` with its time in the line.
        """
        answer = asyncio.wrap_future(self._threads.submit(call))
        until_s, left_s = monotonic() + within_s, min(deadline_s, within_s)
        try:
            while not answer.done() and left_s > 0:
                await asyncio.wait([answer], timeout=left_s)
                left_s = min(deadline_s - call.running_s(), until_s - monotonic())
            if not answer.done():
                raise TimeoutError
            return answer.result()
        finally:
            answer.cancel()  # what still waits in the line is not done for nobody


class _TimedCall(Generic[T]):
    """A call that knows since when it has been under way."""

    def __init__(self, do: Callable[[], T]) -> None:
        self._do, self._start_s = do, float("inf")

    def __call__(self) -> T:
        self._start_s = monotonic()
        return self._do()

    def running_s(self) -> float:
        """Return for how long; 0: it waits in the line."""
        return max(0.0, monotonic() - self._start_s)
