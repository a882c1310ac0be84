"""The store of user states behind a deadline and a circuit breaker: one that hangs, or is gone, holds nobody up."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Generic, Protocol, TypeVar

from pydantic import Field

from multitudes.errors import DataError, StateError
from multitudes.ids import Id
from multitudes.service.breaker import Breaker, BreakerConfig
from multitudes.service.threads import Threads
from multitudes.state.marks import Marks
from multitudes.state.protocol import UserStates
from multitudes.state.records import Appended, Event, Person

T = TypeVar("T")
_WAITING = 256  # calls that may be under way or wait for a thread; a store that keeps up needs a handful
_PATIENCE = 2  # times the deadline of a call: waiting for a thread, and then for the store


class GuardConfig(BreakerConfig):
    """Settings of the guard around a store."""

    read_s: float = Field(0.05, gt=0, description="deadline of a read; a request goes on without it")
    write_s: float = Field(1.0, gt=0, description="deadline of a write; whoever sent it may send it again")
    threads: int = Field(8, ge=1, description="calls at a time; further ones wait in line")


class Measure(Protocol):
    """Takes in how long a call took, and whether the store failed."""

    def __call__(self, call: str, seconds: float, *, failed: bool) -> None: ...  # noqa: D102


class GuardedStates:
    """Answers in time or raises StateError, whatever becomes of the store within it; what it does is measured.

    A burst waits in line for a thread, and that is no failure of the store; that a call then takes too long is one. A
    write that was given up may still take place: it may be sent again, since an event counts once.
    """

    def __init__(
        self,
        store: UserStates,
        marks: Marks,
        measure: Measure,
        config: GuardConfig | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        """Take a store, which is closed with this, and the marks of who asked to be forgotten on this machine."""
        self._store, self._marks, self._measure, self._config = store, marks, measure, config or GuardConfig()
        self._breaker = breaker or Breaker(self._config)
        self._threads = Threads(self._config.threads, "user-states")
        self._pending = 0

    @property
    def open(self) -> bool:
        """Whether the circuit is open: the store failed, and is not asked for a while."""
        return self._breaker.open

    async def append(self, events: Sequence[Event]) -> Appended:
        """Take events in; they are durable when this returns."""
        return await self._measured("append", lambda: self._store.append(events), self._config.write_s)

    async def read(self, user_ids: Sequence[Id], within_s: float) -> list[Person]:
        """Return what is known of users, or give up after ``within_s``."""
        return await self._measured("read", lambda: self._store.read(user_ids), self._config.read_s, within_s)

    async def follow(self, user_id: Id, follows: Sequence[str]) -> None:
        """State what a user follows."""
        await self._measured("follow", lambda: self._store.follow(user_id, follows), self._config.write_s)

    async def forget(self, user_id: Id) -> bool:
        """Forget a user; from the first moment, and whatever becomes of the store, ``forgot`` knows it."""
        await asyncio.to_thread(self._marks.add, user_id)
        return await self._measured("forget", lambda: self._store.forget(user_id), self._config.write_s)

    def forgot(self, user_id: Id) -> bool:
        """Tell whether a user asked on this machine to be forgotten, without asking the store."""
        return user_id in self._marks

    async def ping(self) -> None:
        """Return where the store answers."""
        await self._measured("ping", self._store.ping, self._config.read_s)

    def close(self) -> None:
        """Close the store, where it does not hang."""
        self._threads.close()
        closing = Threads(1, "user-states-close")
        done = closing.submit(self._store.close)
        closing.close()
        try:
            done.result(self._config.write_s)
        except TimeoutError:
            return

    async def _measured(self, name: str, do: Callable[[], T], deadline_s: float, within_s: float = float("inf")) -> T:
        start_s, failed = monotonic(), False
        try:
            return await self._guarded(_Call(do), deadline_s, min(within_s, _PATIENCE * deadline_s))
        except StateError:
            failed = True
            raise
        finally:
            self._measure(name, monotonic() - start_s, failed=failed)

    async def _guarded(self, call: "_Call[T]", deadline_s: float, within_s: float) -> T:
        if self._pending >= _WAITING:
            raise StateError("the store of user states is behind with its work; come again later")
        if not self._breaker.passes():
            raise StateError("the store of user states failed just now; it is tried again in a moment")
        self._pending += 1
        try:
            answer = await self._in_time(call, deadline_s, within_s)
        except TimeoutError:
            if hangs := call.lasts_s() >= deadline_s:  # somebody in a greater hurry proves nothing against the store
                self._breaker.failed()
            given_s = deadline_s if hangs else within_s
            raise StateError(f"the store of user states gave no answer within {given_s * 1e3:.0f} ms") from None
        except DataError:
            self._breaker.succeeded()  # it was refused, so the store is there
            raise
        except Exception as error:
            self._breaker.failed()
            # The store's own words name its place: they are for the journal, and nobody's business outside.
            logging.getLogger(__name__).error("%s", error)
            raise StateError("the store of user states failed; it is tried again in a moment") from None
        finally:
            self._pending -= 1
        self._breaker.succeeded()
        return answer

    async def _in_time(self, call: "_Call[T]", deadline_s: float, within_s: float) -> T:
        """Return the answer of a call.

        Raises:
            TimeoutError: it took longer than ``deadline_s``, or than ``within_s`` with its time in the line.
        """
        answer = asyncio.wrap_future(self._threads.submit(call))
        until_s, left_s = monotonic() + within_s, min(deadline_s, within_s)
        try:
            while not answer.done() and left_s > 0:
                await asyncio.wait([answer], timeout=left_s)
                left_s = min(deadline_s - call.lasts_s(), until_s - monotonic())
            if not answer.done():
                raise TimeoutError
            return answer.result()
        finally:
            answer.cancel()  # what still waits in the line is not done for nobody


class _Call(Generic[T]):
    """A call that knows since when it has been under way."""

    def __init__(self, do: Callable[[], T]) -> None:
        self._do, self._began_s = do, float("inf")

    def __call__(self) -> T:
        self._began_s = monotonic()
        return self._do()

    def lasts_s(self) -> float:
        """Return for how long; 0: it waits in the line."""
        return max(0.0, monotonic() - self._began_s)
