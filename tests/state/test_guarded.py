"""A store that hangs, dies or refuses never holds whoever asks, and is used again once it answers."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event as Signal

import pytest

from multitudes.errors import DataError, MissingError, StateError
from multitudes.ids import Id
from multitudes.state.breaker import Breaker, BreakerConfig
from multitudes.state.config import StateConfig
from multitudes.state.guarded import GuardConfig, Guarded
from multitudes.state.records import Appended, Event, Person
from tests.state.redis_server import PROGRAM, WHY_NOT, RedisServer

PATIENT = GuardConfig(read_s=20, write_s=20)


class Store:
    """Answers when ``going`` is set; raises what it is told to."""

    def __init__(self) -> None:
        self.going, self.calls = Signal(), 0
        self.error: Exception | None = None
        self.going.set()

    def read(self, user_ids: Sequence[Id]) -> list[Person]:
        self.calls += 1
        self.going.wait()
        if self.error is not None:
            raise self.error
        return [Person(user_id) for user_id in user_ids]

    def append(self, events: Sequence[Event]) -> Appended:
        self.read([])
        return Appended([True] * len(events))

    def follow(self, user_id: Id, follows: Sequence[str]) -> None:
        self.read([user_id, *follows])

    def forget(self, user_id: Id) -> bool:
        return bool(self.read([user_id]))

    def ping(self) -> None:
        self.read([])

    def close(self) -> None:
        self.read([])


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.going.set()


def test_what_the_store_answers_is_passed_on(store: Store):
    guarded = Guarded(store, PATIENT)
    assert guarded.read(["ann"]) == [Person("ann")]
    assert guarded.append([Event("a", "ann", 1, 0)]) == Appended([True])
    assert guarded.forget("ann")
    guarded.follow("ann", ())
    guarded.ping()
    guarded.close()
    assert store.calls == 6


def test_a_store_that_hangs_is_given_up_and_then_not_asked_at_all_until_it_has_rested(store: Store):
    now_s = [0.0]
    breaker = Breaker(BreakerConfig(failures=2, rest_s=5), lambda: now_s[0])
    guarded = Guarded(store, GuardConfig(read_s=0.01, write_s=20), breaker)
    store.going.clear()
    for _ in range(2):
        with pytest.raises(StateError, match="gave no answer within 10 ms"):
            guarded.read(["ann"])
    assert guarded.open
    for _ in range(20):
        with pytest.raises(StateError, match="failed just now"):
            guarded.append([])
    assert store.calls <= 2, "nothing was asked of it"
    store.going.set()
    now_s[0] = 5
    assert guarded.append([]) == Appended([])
    assert not guarded.open


def test_when_every_thread_hangs_a_further_call_is_refused_at_once(store: Store):
    guarded = Guarded(store, GuardConfig(read_s=0.01, write_s=20, threads=2, failures=100))
    store.going.clear()
    for _ in range(2):
        with pytest.raises(StateError, match="gave no answer"):
            guarded.read(["ann"])
    with pytest.raises(StateError, match="2 calls wait"):
        guarded.append([])  # control: with a thread for it, this would hang for 20 s
    assert store.calls <= 2


def test_somebody_in_a_hurry_gives_up_sooner_and_opens_nothing_for_the_others(store: Store):
    guarded = Guarded(store, GuardConfig(read_s=20, write_s=20, failures=1))
    store.going.clear()
    with pytest.raises(StateError, match="within 1 ms"):
        guarded.read(["ann"], timeout_s=0.001)
    store.going.set()
    assert guarded.read(["ann"]) == [Person("ann")]


def test_what_the_store_raises_counts_unless_the_data_are_to_blame(store: Store):
    guarded = Guarded(store, GuardConfig(read_s=20, failures=2))
    store.error = DataError("no such id")
    for _ in range(3):
        with pytest.raises(DataError, match="no such id"):
            guarded.read(["ann"])
    store.error = MissingError("no space left")
    for _ in range(2):
        with pytest.raises(StateError, match="no space left"):
            guarded.read(["ann"])
    assert guarded.open


def test_closing_does_not_wait_for_a_store_that_hangs(store: Store):
    guarded = Guarded(store, GuardConfig(write_s=0.01))
    store.going.clear()
    guarded.close()
    assert not store.going.is_set()


@pytest.mark.skipif(PROGRAM is None, reason=WHY_NOT)
def test_a_server_that_stops_is_given_up_and_used_again_when_it_goes_on_or_is_started_anew(tmp_path: Path):
    from multitudes.state.redis import RedisStates  # noqa: PLC0415 (an extra)

    server = RedisServer(tmp_path).start()
    states = RedisStates(server.url, StateConfig(timeout_s=0.3))
    guarded = Guarded(states, GuardConfig(read_s=5, write_s=5, failures=1, rest_s=0.01))
    ann = Event("a", "ann", 1, 0)
    try:
        assert guarded.append([ann]).new == [True]
        server.pause()
        with pytest.raises(StateError):
            guarded.read(["ann"])
        server.resume()
        assert until_it_answers(guarded) == [Person("ann", (ann,))]
        server.kill()
        with pytest.raises(StateError):
            guarded.read(["ann"])
        server.start()
        assert until_it_answers(guarded) == [Person("ann")], "it keeps nothing on a disk"
        assert guarded.append([ann]).new == [True]
    finally:
        server.kill()
        guarded.close()


def until_it_answers(guarded: Guarded) -> list[Person]:
    """Ask until the store answers; there is a last time."""
    for _ in range(500):
        try:
            return guarded.read(["ann"])
        except StateError:
            time.sleep(0.02)
    return guarded.read(["ann"])
