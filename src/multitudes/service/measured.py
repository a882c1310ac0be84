"""User states whose calls are timed, and counted where they fail."""

from collections.abc import Awaitable, Sequence
from time import perf_counter
from typing import TypeVar

from multitudes.errors import StateError
from multitudes.ids import Id
from multitudes.service.measures import Measures
from multitudes.service.parts import States
from multitudes.state.records import Appended, Event, Person

T = TypeVar("T")


class MeasuredStates:
    """The states behind it, as they are."""

    def __init__(self, states: States, measures: Measures) -> None:
        self._states, self._measures = states, measures

    async def append(self, events: Sequence[Event]) -> Appended:
        """Take events in."""
        return await self._timed("append", self._states.append(events))

    async def read(self, user_ids: Sequence[Id], within_s: float) -> list[Person]:
        """Return what is known of users."""
        return await self._timed("read", self._states.read(user_ids, within_s))

    async def follow(self, user_id: Id, follows: Sequence[str]) -> None:
        """State what a user follows."""
        await self._timed("follow", self._states.follow(user_id, follows))

    async def forget(self, user_id: Id) -> bool:
        """Forget a user."""
        return await self._timed("forget", self._states.forget(user_id))

    async def ping(self) -> None:
        """Return where the store answers."""
        await self._timed("ping", self._states.ping())

    async def _timed(self, call: str, answer: Awaitable[T]) -> T:
        start_s, failed = perf_counter(), False
        try:
            return await answer
        except StateError:
            failed = True
            raise
        finally:
            self._measures.state(call, perf_counter() - start_s, failed=failed)
