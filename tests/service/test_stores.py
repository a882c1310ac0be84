"""The user states asked from threads: a burst waits in line, a store that hangs holds nobody, and comes back."""

import asyncio
from collections.abc import Sequence
from threading import Event as Gate
from time import sleep

import pytest

from multitudes.errors import StateError
from multitudes.ids import Id
from multitudes.service.stores import ThreadedStates
from multitudes.state.guarded import GuardConfig, Guarded
from multitudes.state.records import Appended, Event, Person

LONG = 30.0  # of a busy machine


class Slow:
    """A store whose reads take a moment, or hang until the gate is opened."""

    def __init__(self, seconds: float = 0.01, gate: Gate | None = None) -> None:
        self.seconds, self.gate, self.closed = seconds, gate, False

    def read(self, user_ids: Sequence[Id]) -> list[Person]:
        if self.gate is not None:
            self.gate.wait(LONG)
        sleep(self.seconds)
        return [Person(user) for user in user_ids]

    def append(self, events: Sequence[Event]) -> Appended:
        return Appended([True] * len(events))

    def follow(self, user_id: Id, follows: Sequence[str]) -> None: ...

    def forget(self, user_id: Id) -> bool:  # noqa: ARG002
        return True

    def ping(self) -> None: ...

    def close(self) -> None:
        self.closed = True


def config(**changes) -> GuardConfig:
    return GuardConfig.model_validate({"threads": 2, "read_s": LONG, "write_s": LONG, **changes})


def test_a_burst_waits_in_line_and_all_are_answered():
    states = ThreadedStates(Slow(), config())

    async def burst() -> list[list[Person]]:
        return await asyncio.gather(*(states.read([user], LONG) for user in range(50)))

    assert [person.user_id for (person,) in asyncio.run(burst())] == list(range(50))
    states.close()


def test_without_the_line_a_burst_is_taken_for_a_failure():
    """Control: the guard alone lets two through and refuses the rest."""
    gate = Gate()
    states = Guarded(Slow(gate=gate), config())

    async def burst() -> list[object]:
        calls = [asyncio.to_thread(states.read, [user]) for user in range(6)]
        tasks = [asyncio.create_task(call) for call in calls]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        gate.set()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    assert sum(isinstance(one, StateError) for one in asyncio.run(burst())) >= 1
    states.close()


def test_a_store_that_hangs_is_given_up_and_is_asked_again_when_it_answers():
    gate = Gate()
    states = ThreadedStates(Slow(gate=gate), config(failures=1_000))

    async def tried() -> None:
        with pytest.raises(StateError, match="did not answer within 20 ms"):
            await states.read([1], 0.02)
        gate.set()
        assert (await states.read([1], LONG))[0].user_id == 1

    asyncio.run(tried())
    states.close()


def test_no_more_wait_than_can(monkeypatch):
    monkeypatch.setattr("multitudes.service.stores._WAITING", 3)
    gate = Gate()
    states = ThreadedStates(Slow(gate=gate), config())

    async def crowd() -> None:
        waiting = [asyncio.create_task(states.read([user], LONG)) for user in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(StateError, match="behind with its work"):
            await states.read([4], LONG)
        gate.set()
        await asyncio.gather(*waiting)
        assert await states.read([4], LONG), "there is room again"

    asyncio.run(crowd())
    states.close()


def test_where_a_store_lies_is_told_to_the_journal_and_to_nobody_outside(caplog):
    class Gone(Slow):
        def read(self, user_ids: Sequence[Id]) -> list[Person]:  # noqa: ARG002
            raise StateError("redis://10.0.0.7:6379: connection refused")

    states = ThreadedStates(Gone(), config())
    with pytest.raises(StateError, match=r"^the store of user states failed; it is tried again in a moment$"):
        asyncio.run(states.read([1], LONG))
    assert "redis://10.0.0.7:6379: connection refused" in caplog.text
    states.close()


def test_closing_closes_the_store():
    store = Slow()
    states = ThreadedStates(store, config())
    states.close()
    assert store.closed
