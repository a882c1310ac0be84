"""The contract of every store of user states, on SQLite and on a real Redis server, against a dictionary."""

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multitudes.errors import DataError, StateError
from multitudes.state.protocol import Event, StateConfig, UserState, UserStateStore
from multitudes.state.sqlite import SQLiteStateStore
from tests.state.plain import Clock, PlainStates
from tests.state.redis_server import PROGRAM, WHY_NOT, RedisServer

pytestmark = pytest.mark.contract
CONFIG = StateConfig(keep=4, remember_ids_s=100, skew_s=10, timeout_s=60)
NOW = Clock().now_s
Make = Callable[..., UserStateStore]  # an empty store, or with again=True the one before opened once more


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    running = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield running
    running.kill()


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.skipif(PROGRAM is None, reason=WHY_NOT))])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    opened: list[UserStateStore] = []
    number = count()
    last = 0

    def make(clock: Clock | None = None, *, again: bool = False) -> UserStateStore:
        nonlocal last
        clock = clock or Clock()
        last = last if again else next(number)
        if request.param == "sqlite":
            opened.append(SQLiteStateStore(tmp_path / f"{last}.db", CONFIG, clock))
        else:
            from multitudes.state.redis import RedisStateStore  # noqa: PLC0415 (an extra)

            url = request.getfixturevalue("server").url
            opened.append(RedisStateStore(url, CONFIG, clock, prefix=f"{tmp_path.name}-{last}"))
        return opened[-1]

    yield make
    for states in opened:
        states.close()


def did(event_id: str, user, item=1, time_s: int = NOW, action: str | None = None) -> Event:
    return Event(event_id, user, item, time_s, action)


def test_events_are_read_oldest_first_also_after_reopening(make: Make):
    states = make()
    a, b, c = did("a", "ann", 5, NOW - 1), did("b", "ann", 6, NOW - 3, "view"), did("c", "bob", 7)
    d = did("d", "ann", 8, NOW - 1)
    assert states.append([a, b, c, d]).new == [True] * 4
    bob = UserState("bob", (c,))
    expected = [bob, UserState("zoe"), UserState("ann", (b, a, d)), bob]
    assert states.read(["bob", "zoe", "ann", "bob"]) == expected
    assert make(again=True).read(["bob", "zoe", "ann", "bob"]) == expected
    assert make().read(["bob", "ann"]) == [UserState("bob"), UserState("ann")], "control: another one"


def test_ids_are_stored_exactly(make: Make):
    states = make()
    odd: list[int | str] = [2**63 - 1, -(2**63), 2**53 + 1, 1, 0]
    odd += ["1", "", "a b", "ü{x}:*?[", "naïve\x00nul", "\n", "i1", "💫", "1" * 1_000]
    pairs = zip(odd, odd[::-1], strict=True)
    events = [did(f"e{n}\x00", user, item, NOW, "\u2028") for n, (user, item) in enumerate(pairs)]
    assert all(states.append(events).new)
    read = states.read(odd)
    assert [person.events for person in read] == [(event,) for event in events]
    assert [type(person.events[0].item_id) for person in read] == [type(item) for item in odd[::-1]]


@pytest.mark.parametrize(
    "wrong",
    [
        did("a", 2**63),
        did("a", "ann", "\ud800"),
        did("a", "x" * 1_025),
        did("\udfff", "ann"),
        did("a", True),
        did("a", "ann", 1.5),
        did("a", "ann", time_s=NOW * 1_000),
    ],
)
def test_what_cannot_be_stored_exactly_is_rejected_and_nothing_is_stored(make: Make, wrong: Event):
    states = make()
    with pytest.raises(DataError):
        states.append([did("good", "ann"), wrong])
    assert states.read(["ann"]) == [UserState("ann")]


def test_a_time_beyond_the_clock_tolerance_is_set_to_now_and_a_closed_store_says_so(make: Make):
    states = make()
    appended = states.append([did("a", "ann", 1, NOW + 11), did("b", "ann", 2, NOW + 10), did("a", "ann", 1, NOW + 11)])
    assert appended == ([True, True, False], 1)
    assert [(e.item_id, e.time_s) for e in states.read(["ann"])[0].events] == [(1, NOW), (2, NOW + 10)]
    with closing(make()) as states:
        states.ping()
    with pytest.raises(StateError):
        states.read(["ann"])
    with pytest.raises(StateError):
        states.append([did("a", "ann")])
    states.close()


def test_an_event_id_is_remembered_for_the_configured_time(make: Make):
    clock = Clock()
    states = make(clock)
    states.append([did("a", "ann")])
    clock.now_s += CONFIG.remember_ids_s - 1
    assert states.append([did("a", "ann")]).new == [False]
    clock.now_s += 1
    assert states.append([did("a", "ann")]).new == [True]


def test_followed_topics_are_the_last_ones_set_and_none_differs_from_never_set(make: Make):
    states = make()
    states.append([did("a", "ann")])
    assert states.read(["ann"])[0].followed_topics is None
    states.set_followed_topics("ann", ["Drama", 'Film "noir"\x00'])
    assert states.read(["ann"])[0].followed_topics == ("Drama", 'Film "noir"\x00')
    states.set_followed_topics("ann", [])
    assert states.read(["ann"])[0].followed_topics == ()
    with pytest.raises(DataError):
        states.set_followed_topics("ann", ["\ud800"])


def test_an_erased_user_who_returns_is_new(make: Make):
    clock = Clock()
    states = make(clock)
    states.append([did("a", "ann"), did("b", "bob")])
    states.set_followed_topics("ann", ["Drama"])
    clock.now_s += 5
    assert states.erase("ann")
    assert states.read(["ann", "bob"]) == [
        UserState("ann", erased=True, erased_at_s=NOW + 5),
        UserState("bob", (did("b", "bob"),)),
    ]
    assert states.append([did("z", "ann")]).new == [False], "it is from before they asked"
    assert states.append([did("c", "ann", 2, NOW + 5)]).new == [True]
    assert states.read(["ann"]) == [UserState("ann", (did("c", "ann", 2, NOW + 5),), None, True, NOW + 5)]
    assert not states.erase("eve"), "nothing was known"
    assert states.read(["eve"])[0].erased, "but a release may hold something"


def test_an_event_from_before_an_erasure_is_not_new_whatever_time_its_sender_gives(make: Make):
    clock = Clock()
    states = make(clock)
    states.append([did("a", "ann"), did("b", "bob")])
    clock.now_s += 5
    states.erase("ann")
    for time_s in (NOW + 5, NOW + 14, NOW + 500):  # without a time, by a clock ahead, by one far ahead
        assert states.append([did("a", "ann", time_s=time_s)]).new == [False]
    assert not states.erase("ann")
    assert states.append([did("a", "ann", time_s=NOW + 5)]).new == [False], "also after a second erasure"
    assert states.append([did("b", "ann", time_s=NOW + 5)]).new == [True], "control: the event of another user"
    clock.now_s += CONFIG.remember_ids_s + 1
    assert states.append([did("a", "ann", time_s=clock.now_s)]).new == [True], "event_ids are remembered for so long"


def test_an_erased_user_is_served_as_new_after_the_clock_went_back(make: Make):
    clock = Clock()
    states = make(clock)
    states.append([did("a", "ann")])
    states.erase("ann")
    clock.now_s -= 7_200
    assert states.append([did("late", "ann", time_s=clock.now_s - 60)]).new == [False]
    assert states.append([did("a", "ann", time_s=clock.now_s)]).new == [False], "sent again"
    now = [did("b", "ann", time_s=clock.now_s), did("c", "ann", time_s=clock.now_s - 1), did("d", "ann", time_s=NOW)]
    assert states.append(now).new == [True] * 3
    assert len(states.read(["ann"])[0].events) == 3


def test_an_event_from_while_the_clock_was_ahead_does_not_stay_the_newest(make: Make):
    clock = Clock()
    states = make(clock)
    clock.now_s += 8_640_000
    states.append([did("a", "ann", 1, clock.now_s), did("b", "ann", 2, clock.now_s + 5)])
    clock.now_s = NOW
    states.append([did("c", "ann", 3, NOW)])
    (ann,) = states.read(["ann"])
    assert [(event.item_id, event.time_s) for event in ann.events] == [(1, NOW), (2, NOW), (3, NOW)]
    clock.now_s += 60
    states.append([did("d", "ann", 4, clock.now_s), did("e", "ann", 5, clock.now_s + 10)])
    (ann,) = states.read(["ann"])
    found = [(event.item_id, event.time_s - NOW) for event in ann.events]
    assert found == [(2, 0), (3, 0), (4, 60), (5, 70)], "control: within the skew it keeps its time"


EVENTS = st.lists(
    st.builds(
        Event,
        event_id=st.sampled_from("abcdefghi"),
        user_id=st.sampled_from([str, int]),  # the same number, as a text and as a number
        item_id=st.sampled_from([1, "1", 2]),
        time_s=st.integers(-5, 30),  # from now
        action=st.sampled_from([None, "view"]),
    ),
    max_size=6,
)
STEPS: st.SearchStrategy[tuple[str, Any]] = st.one_of(
    st.tuples(st.just("append"), EVENTS),
    st.tuples(st.just("forget"), st.sampled_from([str, int])),
    st.tuples(st.just("follow"), st.lists(st.sampled_from(["x", "y"]), max_size=2)),
    st.tuples(st.just("wait"), st.sampled_from([1, 40, CONFIG.remember_ids_s])),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_any_sequence_of_calls_does_what_a_dictionary_does(make: Make, data: st.DataObject):
    clock = Clock()
    states = make(clock)
    for number in range(3):
        plain = PlainStates(CONFIG, clock)
        for what, argument in data.draw(st.lists(STEPS, max_size=10)):
            if what == "append":
                now = clock.now_s
                events = [e._replace(user_id=e.user_id(number), time_s=now + e.time_s) for e in argument]
                assert states.append(events).new == plain.append(events)
            elif what == "forget":
                assert states.erase(argument(number)) == plain.forget(argument(number))
            elif what == "follow":
                states.set_followed_topics(str(number), argument)
                plain.follow(str(number), argument)
            else:
                clock.now_s += argument
            assert states.read([str(number), number]) == plain.read([str(number), number])
    states.close()


def test_an_event_that_several_threads_append_is_new_to_one_of_them(make: Make):
    stores, events = [make(), make(again=True)], [did(str(n), "ann") for n in range(30)]
    found: list[list[bool]] = []
    begin = Barrier(6)

    def append(states: UserStateStore) -> None:
        begin.wait()
        found.append([states.append([event]).new[0] for event in events])

    threads = [Thread(target=append, args=(stores[n % 2],)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sum(each) for each in zip(*found, strict=True)] == [1] * 30
