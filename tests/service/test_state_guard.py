"""The guard of a store: its circuit breaker, its deadlines, and what is measured. Time is simulated where possible."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event as Gate
from time import monotonic, sleep, time

import pytest

from multitudes.errors import ArtefactError, DataError, MissingError, StateError
from multitudes.ids import Id
from multitudes.service.circuit_breaker import CircuitBreaker
from multitudes.service.state_guard import GuardConfig, GuardedStates
from multitudes.state.erasure_requests import ErasureRequests
from multitudes.state.protocol import AppendResult, Event, UserState, UserStateStore
from multitudes.state.sqlite import SQLiteStateStore
from tests.clock import Clock
from tests.waiting import until


def test_failures_in_a_row_open_it_and_one_success_closes_it():
    clock = Clock()
    breaker = CircuitBreaker(2, 5, clock)
    for _ in range(3):  # never two in a row
        breaker.record_failure()
        assert breaker.allow()
        breaker.record_success()
    assert not breaker.is_open
    breaker.record_failure()
    assert breaker.allow()
    breaker.record_failure()
    assert not breaker.allow()
    assert breaker.is_open
    clock.now_s = 4.9
    assert not breaker.allow()
    clock.now_s = 5
    assert [breaker.allow() for _ in range(3)] == [True, False, False], "one tries for all"
    breaker.record_success()
    assert [breaker.allow() for _ in range(3)] == [True] * 3
    assert not breaker.is_open


def test_who_tries_in_vain_lets_it_rest_again_and_who_never_reports_does_not_block_it():
    clock = Clock()
    breaker = CircuitBreaker(1, 5, clock)
    breaker.record_failure()
    clock.now_s = 6
    assert breaker.allow()
    breaker.record_failure()
    clock.now_s = 10.9
    assert not breaker.allow()
    clock.now_s = 11
    assert breaker.allow()  # and is never heard of
    clock.now_s = 15.9
    assert not breaker.allow()
    clock.now_s = 16
    assert breaker.allow()


LONG = 30.0  # of a busy machine
MOMENT = 0.01
PATIENCE = 0.25
Calls = list[tuple[str, bool]]
Guarded = Callable[..., GuardedStates]


class Store:
    """Answers when ``going`` is set; raises what it is told to."""

    def __init__(self) -> None:
        self.going, self.calls, self.lasts_s = Gate(), 0, 0.0
        self.hanging = 1  # calls that it has got before time passes, where time is played
        self.error: Exception | None = None
        self.going.set()

    def read(self, user_ids: Sequence[Id]) -> list[UserState]:
        self.calls += 1
        self.going.wait()
        sleep(self.lasts_s)
        if self.error is not None:
            raise self.error
        return [UserState(user_id) for user_id in user_ids]

    def append(self, events: Sequence[Event]) -> AppendResult:
        self.read([])
        return AppendResult([True] * len(events))

    def set_followed_topics(self, user_id: Id, followed_topics: Sequence[str]) -> None:
        self.read([user_id, *followed_topics])

    def erase(self, user_id: Id, at_s: int | None = None) -> bool:  # noqa: ARG002
        return bool(self.read([user_id]))

    def ping(self) -> None:
        self.read([])

    def check(self) -> None:
        self.read([])

    def close(self) -> None:
        self.read([])


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.going.set()


@pytest.fixture
def _played(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time pass for whoever waits for a store that hangs, once it was asked, and for nobody else."""
    clock, wait = Clock(), asyncio.wait

    async def pass_time(answers: Sequence[asyncio.Future[object]], timeout: float) -> object:
        if store.going.is_set():
            return await wait(answers, timeout=LONG)
        due_s = clock.now_s + timeout
        async with asyncio.timeout(LONG):
            while store.calls < store.hanging:
                await asyncio.sleep(MOMENT)
        clock.now_s = max(clock.now_s, due_s)
        return None

    monkeypatch.setattr("multitudes.service.daemon_threads.monotonic", clock)
    monkeypatch.setattr(asyncio, "wait", pass_time)


@pytest.fixture
def measured() -> Calls:
    """The calls that were measured, and whether the store failed."""
    return []


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    """Return a function that puts a store behind the guard, as a process of this machine does."""

    def guard(
        store: UserStateStore, measured: Calls | None = None, clock: Callable[[], float] = monotonic, **config: float
    ) -> GuardedStates:
        def measure(call: str, seconds: float, failure: StateError | None) -> None:
            assert seconds >= 0
            if measured is not None:
                measured.append((call, failure is not None))

        settings = replace(GuardConfig(threads=2, read_s=LONG, write_s=LONG), **config)  # type: ignore[arg-type]
        return GuardedStates(store, ErasureRequests(tmp_path / "forgotten"), measure, settings, clock)

    return guard


def test_what_the_store_answers_is_passed_on_and_measured(store: Store, measured: Calls, guarded: Guarded):
    states = guarded(store, measured)
    assert asyncio.run(states.read(["ann"], LONG)) == [UserState("ann")]
    assert asyncio.run(states.append([Event("a", "ann", 1, 0)])) == AppendResult([True])
    assert asyncio.run(states.erase("ann"))
    asyncio.run(states.set_followed_topics("bob", ()))
    asyncio.run(states.ping())
    assert measured == [(call, False) for call in ("read", "append", "forget", "follow", "ping")]
    states.close()
    assert store.calls == 6, "it was closed too"


@pytest.mark.usefixtures("_played")
def test_a_store_that_hangs_is_given_up_and_then_not_asked_at_all_until_it_has_rested(
    store: Store, measured: Calls, guarded: Guarded
):
    clock = Clock()
    states = guarded(store, measured, clock, failures=2, reset_timeout_s=5.0, read_s=PATIENCE)
    store.going.clear()
    for store.hanging in (1, 2):
        with pytest.raises(StateError, match="the store of user states gave no answer within 250 ms"):
            asyncio.run(states.read(["ann"], LONG))
    assert states.is_open
    for _ in range(20):
        with pytest.raises(StateError, match="failed just now"):
            asyncio.run(states.read(["ann"], LONG))
    assert store.calls <= 2, "nothing was asked of it"
    assert measured[:3] == [("read", True)] * 3
    store.going.set()
    clock.now_s = 5
    assert asyncio.run(states.read(["ann"], LONG)) == [UserState("ann")]
    assert not states.is_open


@pytest.mark.usefixtures("_played")
def test_slow_writes_of_a_client_stop_its_own_and_neither_reads_nor_those_of_others(store: Store, guarded: Guarded):
    states = guarded(store, failures=1, reset_timeout_s=LONG, write_s=PATIENCE)
    store.going.clear()
    for _ in range(2):
        with pytest.raises(StateError):
            asyncio.run(states.append([], "greedy"))
    assert store.calls == 1, "the second was not asked of it"
    store.going.set()
    assert asyncio.run(states.append([], "modest")) == AppendResult([])
    asyncio.run(states.set_followed_topics("ann", [], "modest"))
    with pytest.raises(StateError, match="failed just now"):
        asyncio.run(states.set_followed_topics("ann", [], "greedy"))
    assert asyncio.run(states.read(["ann"], LONG)) == [UserState("ann")]
    assert not states.is_open


def test_a_burst_waits_in_line_and_all_are_answered(store: Store, guarded: Guarded):
    store.lasts_s = MOMENT
    states = guarded(store, failures=1)

    async def burst() -> list[list[UserState]]:
        return await asyncio.gather(*(states.read([user], LONG) for user in range(50)))

    assert [person.user_id for (person,) in asyncio.run(burst())] == list(range(50))
    states.close()


@pytest.mark.usefixtures("_played")
def test_who_gives_up_in_the_line_says_nothing_against_the_store_and_is_not_asked_for(store: Store, guarded: Guarded):
    """Control: the two whose turn it was do say something."""
    store.going.clear()
    store.hanging = 2

    async def crowd(states: GuardedStates) -> list[object]:
        return await asyncio.gather(*(states.read([user], LONG) for user in range(6)), return_exceptions=True)

    for failures, opens in ((3, False), (2, True)):
        store.calls, states = 0, guarded(store, failures=failures, read_s=PATIENCE)
        assert all(isinstance(one, StateError) for one in asyncio.run(crowd(states)))
        assert (store.calls, states.is_open) == (2, opens)


def test_somebody_in_a_hurry_gives_up_sooner_and_opens_nothing_for_the_others(store: Store, guarded: Guarded):
    states = guarded(store, failures=1)
    store.going.clear()
    with pytest.raises(StateError, match="within 1 ms"):
        asyncio.run(states.read(["ann"], 0.001))
    store.going.set()
    assert asyncio.run(states.read(["ann"], LONG)) == [UserState("ann")]


def test_no_more_wait_than_can(monkeypatch, store: Store, guarded: Guarded):
    monkeypatch.setattr("multitudes.service.state_guard._MAX_PENDING", 3)
    store.going.clear()
    states = guarded(store)

    async def crowd() -> None:
        waiting = [asyncio.create_task(states.read([user], LONG)) for user in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(StateError, match="behind with its work"):
            await states.read([4], LONG)
        store.going.set()
        await asyncio.gather(*waiting)
        assert await states.read([4], LONG), "there is room again"

    asyncio.run(crowd())
    states.close()


def test_what_the_store_raises_counts_unless_the_data_are_to_blame(store: Store, measured: Calls, guarded: Guarded):
    states = guarded(store, measured, failures=2)
    store.error = DataError("no such id")
    for _ in range(3):
        with pytest.raises(DataError, match="no such id"):
            asyncio.run(states.read(["ann"], LONG))
    assert not any(failed for _, failed in measured)
    for error, told in ((MissingError("no space left"), StateError), (DataError("no such id"), DataError)):
        store.error = error
        with pytest.raises(told):
            asyncio.run(states.read(["ann"], LONG))
    store.error = MissingError("no space left")
    for failed in range(2):
        assert not states.is_open, f"{failed} in a row: a refusal between them is an answer"
        with pytest.raises(StateError, match="the store of user states failed"):
            asyncio.run(states.read(["ann"], LONG))
    assert states.is_open


def test_a_store_that_took_no_event_is_not_well_until_it_takes_one_though_it_answers(store: Store, guarded: Guarded):
    states = guarded(store)
    store.error = StateError("no space left")
    with pytest.raises(StateError, match="failed"):
        asyncio.run(states.append([Event("a", "ann", 1, 0)]))
    store.error = None
    asyncio.run(states.read(["ann"], LONG))
    with pytest.raises(StateError, match="rejects events; often its disk or memory is full"):
        asyncio.run(states.ping())
    asyncio.run(states.append([Event("a", "ann", 1, 0)]))
    asyncio.run(states.ping())


def test_where_a_store_lies_is_told_to_the_journal_and_to_nobody_outside(store: Store, caplog, guarded: Guarded):
    store.error = StateError("redis://10.0.0.7:6379: connection refused")
    states = guarded(store)
    with pytest.raises(StateError, match=r"^the store of user states failed; it is tried again in a moment$"):
        asyncio.run(states.read([1], LONG))
    assert "redis://10.0.0.7:6379: connection refused" in caplog.text


def test_who_asks_to_be_forgotten_is_known_to_all_processes_of_the_machine_whatever_becomes_of_the_store(
    store: Store, guarded: Guarded
):
    here, there = guarded(store), guarded(store)
    store.error = StateError("gone")
    with pytest.raises(StateError):
        asyncio.run(here.erase("ann"))
    assert [states.is_erased(user) for states in (here, there) for user in ("ann", "bob")] == [True, False] * 2
    assert store.calls == 1, "it was not asked who is forgotten"


def test_a_restored_backup_brings_no_event_of_an_erased_user_back(tmp_path: Path, guarded: Guarded):
    file = tmp_path / "state.db"
    backup = SQLiteStateStore(file)
    backup.append([Event("a", "ann", 1, 1_000), Event("b", "bob", 2, 1_000)])
    backup.set_followed_topics("ann", ["Drama"])
    backup.close()
    before = file.read_bytes()
    running = guarded(SQLiteStateStore(file))
    assert asyncio.run(running.erase("ann"))
    running.close()
    file.write_bytes(before)
    store = SQLiteStateStore(file)
    assert store.read(["ann"])[0].events, "control: the file has them"
    states = guarded(store)
    ann, bob = asyncio.run(states.read(["ann", "bob"], LONG))
    assert (ann.events, ann.followed_topics, ann.erased) == ((), None, True)
    assert (len(bob.events), bob.erased) == (1, False)
    assert store.read(["ann"])[0].events == (), "nor has the file any more"
    now_s = int(time())
    late, new = Event("z", "ann", 3, now_s - 60), Event("c", "ann", 3, now_s)
    assert asyncio.run(states.append([late, new])).new == [False, True], "who comes back is new"
    assert asyncio.run(states.read(["ann"], LONG))[0].events == (new,)
    states.close()


def test_events_do_not_reach_a_restored_backup_before_the_erasure_is_repeated(tmp_path: Path, guarded: Guarded):
    states = guarded(SQLiteStateStore(tmp_path / "state.db"))
    ErasureRequests(tmp_path / "forgotten").add("ann", int(time()))
    assert asyncio.run(states.append([Event("a", "ann", 1, 1_000), Event("b", "bob", 1, 1_000)])).new == [False, True]
    asyncio.run(states.set_followed_topics("ann", ["Drama"]))
    (ann,) = asyncio.run(states.read(["ann"], LONG))
    assert (ann.erased, ann.followed_topics) == (True, ("Drama",))
    states.close()


def test_an_erasure_that_the_store_knows_is_not_repeated(tmp_path: Path, measured: Calls, guarded: Guarded):
    states = guarded(SQLiteStateStore(tmp_path / "state.db"), measured)
    asyncio.run(states.erase("ann"))
    asyncio.run(states.append([Event("c", "ann", 3, int(time()))]))
    assert len(asyncio.run(states.read(["ann"], LONG))[0].events) == 1
    assert [call for call, _ in measured] == ["forget", "read", "append", "read"]
    states.close()


def test_closing_does_not_wait_for_a_store_that_hangs(store: Store, guarded: Guarded):
    states = guarded(store, write_s=MOMENT)
    store.going.clear()
    states.close()
    assert not store.going.is_set()


def test_damaged_pages_are_found_at_the_start_and_reported(tmp_path: Path, guarded: Guarded, caplog):
    file = tmp_path / "state.db"
    store = SQLiteStateStore(file)
    for number in range(2_000):
        store.append([Event(f"e{number}", number, f"item-{number}", 1_000 + number)])
    store.close()
    healthy = guarded(SQLiteStateStore(file))
    healthy.check()
    asyncio.run(healthy.ping())
    healthy.close()
    content = bytearray(file.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 8_192] = b"\xff" * 8_192
    file.write_bytes(content)
    states = guarded(SQLiteStateStore(file))
    asyncio.run(states.ping())  # it reads one page
    assert not states.is_damaged
    states.start()
    until(lambda: states.is_damaged)
    with pytest.raises(StateError, match="the store of user states is damaged; restore a backup"):
        asyncio.run(states.ping())
    assert f"{file}: " in caplog.text
    states.close()


def test_damage_that_a_call_meets_is_reported_until_a_check_finds_none(store: Store, guarded: Guarded):
    states = guarded(store)
    store.error = ArtefactError("damaged")
    with pytest.raises(StateError, match="failed"):
        asyncio.run(states.read(["ann"], LONG))
    assert states.is_damaged
    store.error = None
    states.check()
    assert not states.is_damaged
    asyncio.run(states.ping())


def test_writes_that_hang_take_no_thread_from_reads(tmp_path):
    class Hanging(SQLiteStateStore):
        def append(self, events: Sequence[Event]) -> AppendResult:
            gate.wait(60)
            return super().append(events)

    async def once() -> list[UserState]:
        requests = ErasureRequests(tmp_path / "forgotten")
        states = GuardedStates(
            Hanging(tmp_path / "s"), requests, lambda *_: None, GuardConfig(threads=2, read_s=30, write_s=60)
        )
        writes = [asyncio.create_task(states.append([Event(f"e-{n}", "ann", n, 1_700_000_000)])) for n in range(8)]
        await asyncio.sleep(0)
        try:
            return await states.read(["ann"], 20)
        finally:
            gate.set()
            await asyncio.gather(*writes)
            states.close()

    gate = Gate()
    assert asyncio.run(once()) == [UserState("ann")]
