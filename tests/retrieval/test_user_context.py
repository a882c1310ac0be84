"""Who asks: what a store knows of a user joins what the release holds, and takes its place where it must."""

from pathlib import Path

import numpy as np
import pytest

from multitudes.release.release import Release
from multitudes.retrieval.request import Request
from multitudes.retrieval.response import Recommendation
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.user_context import UserContext, UserContextBuilder
from multitudes.seeding import generator
from multitudes.state.protocol import Event, UserState
from tests.release.small_release import DAY, publish_small

NOW = 20 * DAY


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> UserContextBuilder:
    root: Path = tmp_path_factory.mktemp("releases")
    publish_small(root, negative_actions=("hide",))
    return UserContextBuilder(Release.open(root))


@pytest.fixture(scope="module")
def retriever(people: UserContextBuilder) -> Retriever:
    return Retriever(people.release)


def did(user, item, time_s: int = NOW, action: str | None = None) -> Event:
    return Event(f"{item}@{time_s}", user, item, time_s, action)


def items(asked: UserContext) -> list[int]:
    """Return the history, newest first, padding and all."""
    return list(asked.histories.item_BL[0])


def ask(people: UserContextBuilder, user, *events: Event, **state) -> UserContext:
    return people.from_state(UserState(user, events, **state))


@pytest.mark.parametrize(("user", "number"), [("ann", 0), ("eve", 2), ("bob", 1)])
def test_somebody_of_whom_the_store_knows_nothing_is_as_the_release_has_them(people: UserContextBuilder, user, number):
    now, before = ask(people, user), people.from_release([number])[0]
    assert (now.user_id, now.user) == (before.user_id, before.user) == (user, number)
    for name in now.histories._fields:
        mine, theirs = getattr(now.histories, name), getattr(before.histories, name)
        assert mine.dtype == theirs.dtype, name
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(now.time_BL, before.time_BL)
    assert now.seen.tolist() == before.seen.tolist()


def test_a_new_event_is_the_newest_of_the_history_and_the_oldest_makes_room(people: UserContextBuilder):
    asked = ask(people, "ann", did("ann", 115))
    assert items(asked) == [15, 11, 4, 3], "item 2 is older than the four that the tower sees"
    assert asked.time_BL is not None
    assert asked.time_BL[0].tolist() == [NOW, 10 * DAY, 4 * DAY, 3 * DAY]
    assert asked.seen.tolist() == [1, 2, 3, 4, 11, 15]
    short = ask(people, "bob", did("bob", 101))
    assert items(short) == [1, 11, 0, 0]
    assert short.histories.valid_BL[0].tolist() == [True, True, False, False]


def test_a_longer_past_that_the_store_holds_too_changes_nothing_though_times_are_tied(people: UserContextBuilder):
    """The release holds the newest four; the store all five, the fifth of the same time as the oldest of the four."""
    longer = (did("ann", 100 + i, DAY * day) for i, day in ((1, 2), (2, 2), (3, 3), (4, 4), (11, 10)))
    assert items(ask(people, "ann", *longer)) == [11, 4, 3, 2]


def test_a_stranger_has_the_history_of_the_store_without_what_training_would_not_use(people: UserContextBuilder):
    events = did("zoe", 101, DAY), did("zoe", 999, DAY), did("zoe", "101", DAY), did("zoe", 111, 2 * DAY)
    asked = ask(people, "zoe", *events, followed_topics=("Drama", "Opera"))
    assert items(asked) == [11, 1, 0, 0]
    assert (asked.user, asked.unknown_items, asked.unknown_topics) == (-1, (999, "101"), ("Opera",))
    assert asked.histories.follow_BF[0, :2].tolist() == [1, 0]
    assert asked.seen.tolist() == [1, 11]
    events = (did("zoe", 101, 1, "view"), did("zoe", 102, 2, "hide"), did("zoe", 120, 3), did("zoe", 103, 4, "sing"))
    asked = ask(people, "zoe", *events)
    assert items(asked) == [3, 20, 2, 1]
    assert asked.histories.action_BL[0].tolist() == [1, 1, 2, 1]
    assert asked.histories.valid_BL[0].tolist() == [True, False, False, True]


@pytest.mark.parametrize(("stated", "expected"), [(None, 2), (("Drama",), 1), ((), 0)])
def test_follows_that_were_stated_count_alone_even_where_there_are_none(people: UserContextBuilder, stated, expected):
    assert ask(people, "ann", followed_topics=stated).histories.follow_BF[0, :2].tolist() == [expected, 0]


@pytest.mark.parametrize("events", [(did("ann", 115),), ()])
def test_of_somebody_forgotten_nothing_of_the_release_is_used(people: UserContextBuilder, events):
    asked = ask(people, "ann", *events, erased=True)
    assert items(asked) == [*([15] if events else [0]), 0, 0, 0]
    assert asked.user == -1
    assert not asked.histories.follow_BF.any()
    assert asked.seen.tolist() == ([15] if events else [])


def joined(people: UserContextBuilder, asked: UserContext, events: list[Event]) -> list[tuple[int, int, int]]:
    """Return item, time and action of a joined history, newest first, one event after another."""
    code = {name: number for number, name in enumerate(people.release.manifest.actions, start=1)}
    assert asked.time_BL is not None
    columns = (asked.histories.item_BL[0], asked.time_BL[0], asked.histories.action_BL[0])
    stored = [row for row in zip(*(column.tolist() for column in columns), strict=True) if row[2] > 0]
    told = dict[tuple[int, int, int], None]()
    for event in events:
        item = int(people.release.item_names.numbers([event.item_id])[0])
        one = (item, event.time_s, code.get(event.action or "", people.release.manifest.default_action))
        if item and one not in stored:
            told[one] = None
    # What was told stands before what the release holds of the same time: it holds the newest.
    return sorted([*told, *stored[::-1]], key=lambda one: one[1])[::-1]


@pytest.mark.parametrize("user", ["ann", "bob", "zoe"])
def test_joining_many_events_is_joining_them_one_by_one(people: UserContextBuilder, user: str):
    rng, release = generator(0, user), ask(people, user)
    for _ in range(30):
        drawn = zip(rng.integers(100, 123, 12).tolist(), rng.integers(1, 12, 12).tolist(), strict=True)
        events = [did(user, item, DAY * day, [None, "view", "hide"][item % 3]) for item, day in drawn]
        now = ask(people, user, *events)
        expected, length = joined(people, release, events), len(items(now))
        assert len(expected) > length, "else nothing makes room"
        assert now.time_BL is not None
        columns = (now.histories.item_BL[0], now.time_BL[0], now.histories.action_BL[0])
        assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected[:length]


def answers(retriever: Retriever, *persons: UserState) -> list[Recommendation]:
    return retriever.answer([Request(person.user_id, user_state=person, n=8) for person in persons])


def test_an_event_of_the_store_is_in_the_next_answer(retriever: Retriever):
    before, after = answers(retriever, UserState("ann"), UserState("ann", (did("ann", 105),)))
    assert 105 in [candidate.item_id for candidate in before.candidates]
    assert 105 not in [candidate.item_id for candidate in after.candidates], "seen"
    names = [
        {interest.kind: interest.items[0] for interest in answer.interests if interest.items}
        for answer in (before, after)
    ]
    assert [each["implicit"] for each in names] == ["Film 111", "Film 105"]
    again, unknown = answers(retriever, UserState("ann"), UserState("ann", (did("ann", 999),)))
    assert again == before, "control: one user's event is in no other answer"
    assert unknown.candidates == before.candidates
    assert unknown.unknown_items == (999,)
