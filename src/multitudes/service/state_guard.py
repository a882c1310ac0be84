"""The store of user states behind deadlines and circuit breakers: a store that hangs or is gone delays no request.

Trials of ``reliability`` show what happens without: ``store`` without both, ``neighbours`` without a breaker for the
writes of each client, ``guards`` and ``erasure`` without the check for damage and the repeated erasures.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Event as GateEvent
from threading import Thread
from time import monotonic, time
from typing import NamedTuple, TypeVar

from cachetools import LRUCache

from multitudes.errors import ArtefactError, DataError, StateError
from multitudes.ids import Id
from multitudes.service.circuit_breaker import CircuitBreaker
from multitudes.service.daemon_threads import DaemonThreads, await_in_time
from multitudes.state.erasure_requests import ErasureRequests
from multitudes.state.protocol import AppendResult, Event, UserState, UserStateStore

T = TypeVar("T")
_WRITES = frozenset({"append", "follow", "forget"})
# Calls that run or wait for a thread, of reads and again of writes; a store that keeps up needs a handful.
_MAX_PENDING = 512
_MAX_WRITERS = 1_000  # clients whose writes have a circuit breaker; the one that wrote least recently is dropped
_TOTAL_DEADLINES = 2  # bound of a call in deadlines: one to wait for a thread, one for the store


@dataclass(frozen=True)
class GuardConfig:
    """Deadlines, threads and circuit breaker of the guard around a store."""

    failures: int = 5  # in a row, after which the circuit breaker is open: no call is made
    reset_timeout_s: float = 1.0  # then one call decides whether it closes
    read_s: float = 0.05  # deadline of a read; after it, a request is answered without the user state
    write_s: float = 1.0  # deadline of a write; its sender may repeat it
    threads: int = 8  # reads at a time, and as many writes; further ones are queued
    check_s: float = 3600  # between two checks of the whole store for damage; the first is at the start


RecordCall = Callable[[str, float, StateError | None], None]  # the name of a call, its seconds, and how it failed


class GuardedStates:
    """A store whose calls return in time or raise ``StateError``; every call is measured.

    Erasures of this machine that the store does not know, because it was away then or was restored from an older
    backup, are repeated before anything else is read or written of the user.

    A call that takes too long is a failure of the store; waiting for a thread in a burst of calls is not. A write that
    timed out may still take place. It may be repeated, since an event counts once.
    """

    def __init__(
        self,
        store: UserStateStore,
        erasure_requests: ErasureRequests,
        record: RecordCall,
        config: GuardConfig | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Guard ``store``, which ``close`` closes; ``record`` is called after every call."""
        self._store, self._erasure_requests, self._record = store, erasure_requests, record
        self._config = config or GuardConfig()
        self._new_breaker = partial(CircuitBreaker, self._config.failures, self._config.reset_timeout_s, clock)
        self._read_breaker, self._write_breakers = self._new_breaker(), LRUCache[str, CircuitBreaker](_MAX_WRITERS)
        self._reads, self._writes = (
            DaemonThreads(self._config.threads, f"user-states-{name}") for name in ("reads", "writes")
        )
        self.is_damaged = False  # whether the store is, as its last check or a call since found
        self._rejects_writes = False  # whether it did the last time; not if it only took too long
        self._closing = GateEvent()

    @property
    def is_open(self) -> bool:
        """Whether the circuit breaker of reads is open: the store failed, and is not read for a while."""
        return self._read_breaker.is_open

    async def append(self, events: Sequence[Event], client: str = "") -> AppendResult:
        """Store events of a client; they are durable when this returns."""
        await self._repeat_erasures([event.user_id for event in events])
        return await self._call("append", lambda: self._store.append(events), self._config.write_s, client=client)

    async def read(self, user_ids: Sequence[Id], within_s: float) -> list[UserState]:
        """Return the state of each user, within ``within_s`` seconds."""
        states = await self._call("read", lambda: self._store.read(user_ids), self._config.read_s, within_s)
        erased_s = self._erasure_requests.erased_at_s(user_ids)
        return [await self._erased_if_asked(state, erased_s.get(state.user_id)) for state in states]

    async def set_followed_topics(self, user_id: Id, followed_topics: Sequence[str], client: str = "") -> None:
        """Set the topics that a user follows, as a client says."""
        await self._repeat_erasures([user_id])
        write = partial(self._store.set_followed_topics, user_id, followed_topics)
        await self._call("follow", write, self._config.write_s, client=client)

    async def erase(self, user_id: Id) -> bool:
        """Erase a user; ``is_erased`` is true from the start, even if the store fails."""
        at_s = int(time())
        await asyncio.to_thread(self._erasure_requests.add, user_id, at_s)
        return await self._call("forget", lambda: self._store.erase(user_id, at_s), self._config.write_s)

    def is_erased(self, user_id: Id) -> bool:
        """Return whether a user asked on this machine to be erased, without calling the store."""
        return user_id in self._erasure_requests

    async def ping(self) -> None:
        """Return if the store answers, and took the last write.

        Raises:
            DamagedRequestsError: nobody knows who asked to be erased; every request of a user is refused.
        """
        self._erasure_requests.check()
        if self.is_damaged:
            raise StateError("the store of user states is damaged; restore a backup")
        await self._call("ping", self._store.ping, self._config.read_s)
        if self._rejects_writes:
            raise StateError("the store of user states rejects events; often its disk or memory is full")

    def start(self) -> None:
        """Check the store for damage now and then, in a thread that nothing waits for."""
        Thread(target=self._check_periodically, name="user-states-check", daemon=True).start()

    def check(self) -> None:
        """Check the whole store, however long it takes; ``ping`` reports damage from then on."""
        try:
            self._store.check()
        except ArtefactError as error:
            logging.getLogger(__name__).error("%s", error)  # before: who sees the damage finds its reason
            self.is_damaged = True
        except StateError as error:  # ``ping`` reports it
            logging.getLogger(__name__).warning("the store of user states is not checked: %s", error)
        else:
            self.is_damaged = False

    def _check_periodically(self) -> None:
        self.check()
        while not self._closing.wait(self._config.check_s):
            self.check()

    def close(self) -> None:
        """Close the store, unless it hangs."""
        self._closing.set()
        self._reads.close()
        self._writes.close()
        closing = DaemonThreads(1, "user-states-close")
        closed = closing.submit(self._store.close)
        closing.close()
        with suppress(TimeoutError):
            closed.result(self._config.write_s)

    async def _repeat_erasures(self, user_ids: Sequence[Id]) -> None:
        """Repeat the erasures that the store does not know."""
        erased_s = self._erasure_requests.erased_at_s(user_ids)
        if not erased_s:
            return
        asked = list(erased_s)
        for state in await self._call("read", lambda: self._store.read(asked), self._config.write_s):
            if _is_before(state, erased_s[state.user_id]):
                await self._repeat_erasure(state.user_id, erased_s[state.user_id])

    async def _repeat_erasure(self, user_id: Id, erased_s: int) -> None:
        await self._call("forget", lambda: self._store.erase(user_id, erased_s), self._config.write_s)

    async def _erased_if_asked(self, state: UserState, erased_s: int | None) -> UserState:
        """Return a state, or an empty one if the user asked to be erased since it was written."""
        if erased_s is None or not _is_before(state, erased_s):
            return state
        with suppress(StateError):  # the next call repeats it
            await self._repeat_erasure(state.user_id, erased_s)
        return UserState(state.user_id, erased=True, erased_at_s=erased_s)

    async def _call(
        self, name: str, call: Callable[[], T], deadline_s: float, within_s: float = float("inf"), client: str = ""
    ) -> T:
        start_s, failure = monotonic(), None
        try:
            within_s = min(within_s, _TOTAL_DEADLINES * deadline_s)
            return await self._call_guarded(name, call, deadline_s, within_s, client)
        except StateError as error:
            failure = error
            raise
        finally:
            self._record(name, monotonic() - start_s, failure)

    async def _call_guarded(
        self, name: str, call: Callable[[], T], deadline_s: float, within_s: float, client: str
    ) -> T:
        # Slow writes of a client stop further ones of that client: no read, and no write of another.
        threads, breaker = self._reads, self._read_breaker
        if name in _WRITES:
            threads, breaker = self._writes, self._write_breakers.setdefault(client, self._new_breaker())
        if threads.pending >= _MAX_PENDING:
            raise StateError("the store of user states is behind with its work; come again later")
        if not breaker.allow():
            raise StateError("the store of user states failed just now; it is tried again in a moment")
        threads.pending += 1
        submitted = threads.submit(call)
        try:
            answer = await await_in_time(submitted, deadline_s, within_s)
        except TimeoutError:
            if hangs := submitted.running_s() >= deadline_s:  # else the caller had less time than the store may take
                breaker.record_failure()
            given_s = deadline_s if hangs else within_s
            raise StateError(f"the store of user states gave no answer within {given_s * 1e3:.0f} ms") from None
        except DataError:
            breaker.record_success()  # the store answered, and rejected the data
            raise
        except Exception as error:
            breaker.record_failure()
            self._rejects_writes |= name in _WRITES
            self.is_damaged = self.is_damaged or isinstance(error, ArtefactError)
            # The error contains the address of the store, which clients must not see.
            logging.getLogger(__name__).error("%s", error)
            raise StateError("the store of user states failed; it is tried again in a moment") from None
        finally:
            threads.pending -= 1
        breaker.record_success()
        self._rejects_writes &= name not in _WRITES
        return answer


class StateLookup(NamedTuple):
    """The user states that some requests need."""

    users: Mapping[Id, UserState]
    failure: str  # why there are none, or empty
    ms: float

    def of(self, user_id: Id | None) -> UserState | None:
        """Return the state of a user; None for an anonymous one, or if it was not read."""
        return None if user_id is None else self.users.get(user_id)


async def look_up_states(states: GuardedStates, user_ids: Iterable[Id | None], within_s: float) -> StateLookup:
    """Read the states of users in one call; if that fails, only those who asked to be erased have one, an empty one.

    An answer without them is better than none, but never for an erased user.
    """
    known = list({user_id: None for user_id in user_ids if user_id is not None})
    start_s = monotonic()
    found, failure = list[UserState](), ""
    if known:
        try:
            found = await states.read(known, within_s)
        except StateError as error:
            failure = str(error)
            found = [UserState(user_id, erased=True) for user_id in known if states.is_erased(user_id)]
    return StateLookup({state.user_id: state for state in found}, failure, (monotonic() - start_s) * 1e3)


def _is_before(state: UserState, erased_s: int) -> bool:
    """Return whether a state is from before an erasure that was asked for at ``erased_s``."""
    return not state.erased or (state.erased_at_s or 0) < erased_s
