"""A store behind a deadline and a circuit breaker: one that hangs, or is gone, never holds whoever asks."""

from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as TooLate
from typing import TypeVar

from pydantic import Field

from multitudes.errors import DataError, StateError
from multitudes.ids import Id
from multitudes.state.breaker import Breaker, BreakerConfig
from multitudes.state.protocol import UserStates
from multitudes.state.records import Appended, Event, Person
from multitudes.state.threads import Threads

T = TypeVar("T")


class GuardConfig(BreakerConfig):
    """Settings of the guard around a store."""

    read_s: float = Field(0.05, gt=0, description="deadline of a read; a request goes on without it")
    write_s: float = Field(1.0, gt=0, description="deadline of a write; whoever sent it may send it again")
    threads: int = Field(8, ge=1, description="calls at a time; a further one is refused at once")


class Guarded:
    """A store that answers in time or raises StateError, whatever becomes of the store within it.

    A write that was given up may still take place: it may be sent again, since an event counts once.
    """

    def __init__(self, store: UserStates, config: GuardConfig | None = None, breaker: Breaker | None = None) -> None:
        """Take a store, which is closed with this."""
        self._store, self._config = store, config or GuardConfig()
        self._breaker = breaker or Breaker(self._config)
        self._threads = Threads(self._config.threads, "user-states")

    @property
    def open(self) -> bool:
        """Whether the circuit is open: the store failed, and is not asked for a while."""
        return self._breaker.open

    def append(self, events: Sequence[Event], timeout_s: float | None = None) -> Appended:
        """Take events in, within ``timeout_s`` if that is sooner than the deadline of a write."""
        return self._in_time(lambda: self._store.append(events), self._config.write_s, timeout_s)

    def read(self, user_ids: Sequence[Id], timeout_s: float | None = None) -> list[Person]:
        """Return what is known of users, within ``timeout_s`` if that is sooner than the deadline of a read."""
        return self._in_time(lambda: self._store.read(user_ids), self._config.read_s, timeout_s)

    def follow(self, user_id: Id, follows: Sequence[str]) -> None:
        """State what a user follows."""
        self._in_time(lambda: self._store.follow(user_id, follows), self._config.write_s)

    def forget(self, user_id: Id) -> bool:
        """Forget a user."""
        return self._in_time(lambda: self._store.forget(user_id), self._config.write_s)

    def ping(self) -> None:
        """Return where the store answers."""
        self._in_time(self._store.ping, self._config.read_s)

    def close(self) -> None:
        """Close the store, where it does not hang."""
        self._threads.close()
        closing = Threads(1, "user-states-close")
        done = closing.submit(self._store.close)
        closing.close()
        assert done is not None
        try:
            done.result(self._config.write_s)
        except TooLate:
            return

    def _in_time(self, call: Callable[[], T], deadline_s: float, timeout_s: float | None = None) -> T:
        if not self._breaker.passes():
            raise StateError("the store of user states failed just now; it is tried again in a moment")
        done = self._threads.submit(call)
        if done is None:
            raise StateError(f"{self._config.threads} calls wait for the store of user states; try again")
        within_s = deadline_s if timeout_s is None else min(deadline_s, timeout_s)
        try:
            answer = done.result(within_s)
        except TooLate:
            if within_s >= deadline_s:  # somebody in a greater hurry proves nothing against the store
                self._breaker.failed()
            raise StateError(f"the store of user states gave no answer within {within_s * 1_000:.0f} ms") from None
        except DataError:
            self._breaker.succeeded()  # it was refused, so the store is there
            raise
        except Exception as error:
            self._breaker.failed()
            raise StateError(str(error)) from error
        self._breaker.succeeded()
        return answer
