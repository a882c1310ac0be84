"""The user states, asked from threads: who asks waits, and nobody else, and never beyond a deadline."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from multitudes.errors import StateError
from multitudes.ids import Id
from multitudes.state.guarded import GuardConfig, Guarded
from multitudes.state.protocol import UserStates
from multitudes.state.records import Appended, Event, Person

T = TypeVar("T")
_WAITING = 256  # calls that may wait for a thread; a store that keeps up needs a handful
_PATIENCE = 2  # times the deadline of the guard: waiting for a thread, and then for the store


class ThreadedStates:
    """The asynchronous face of a store.

    It has as many threads as the guard lets through at once: a burst waits here, in line, where the guard would refuse
    it and take it for a failure of the store.
    """

    def __init__(self, store: UserStates, config: GuardConfig | None = None) -> None:
        """Take a store, which is closed with this."""
        self._config = config or GuardConfig()
        self._store = Guarded(store, self._config)
        self._threads = ThreadPoolExecutor(self._config.threads, thread_name_prefix="state")
        self._pending = 0

    @property
    def open(self) -> bool:
        """Whether the store failed, and is not asked for a while."""
        return self._store.open

    async def append(self, events: Sequence[Event]) -> Appended:
        """Take events in; they are durable when this returns."""
        return await self._run(lambda: self._store.append(events), _PATIENCE * self._config.write_s)

    async def read(self, user_ids: Sequence[Id], within_s: float) -> list[Person]:
        """Return what is known of users, or give up after ``within_s``."""
        return await self._run(lambda: self._store.read(user_ids), min(within_s, _PATIENCE * self._config.read_s))

    async def follow(self, user_id: Id, follows: Sequence[str]) -> None:
        """State what a user follows."""
        await self._run(lambda: self._store.follow(user_id, follows), _PATIENCE * self._config.write_s)

    async def forget(self, user_id: Id) -> bool:
        """Forget a user."""
        return await self._run(lambda: self._store.forget(user_id), _PATIENCE * self._config.write_s)

    async def ping(self) -> None:
        """Return where the store answers."""
        await self._run(self._store.ping, _PATIENCE * self._config.read_s)

    def close(self) -> None:
        """Let go of the store."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._store.close()

    async def _run(self, call: Callable[[], T], within_s: float) -> T:
        if self._pending >= _WAITING:
            raise StateError("the store of user states is behind with its work; come again later")
        self._pending += 1
        try:
            async with asyncio.timeout(within_s):
                return await asyncio.wrap_future(self._threads.submit(call))
        except TimeoutError:
            raise StateError(f"the store of user states did not answer within {within_s * 1e3:.0f} ms") from None
        except StateError as error:
            if error.__cause__ is None:
                raise
            # The store's own words name its place: they are for the journal, and nobody's business outside.
            logging.getLogger(__name__).error("%s", error)
            raise StateError("the store of user states failed; it is tried again in a moment") from None
        finally:
            self._pending -= 1
