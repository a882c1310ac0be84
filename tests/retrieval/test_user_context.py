"""Who asks: what a store knows of a user joins what the release holds, and takes its place where it must."""

from pathlib import Path

import numpy as np
import pytest

from multitudes.batches.histories import Histories
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
    return Retriever(people._release)


def did(user, item, time_s: int = NOW, action: str | None = None) -> Event:
    return Event(f"{item}@{time_s}", user, item, time_s, action)


def items(asked: UserContext, b: int = 0) -> list[int]:
    """Return the history of user b, newest first, padding and all."""
    return list(asked.histories.item_BL[b])


def test_somebody_of_whom_the_store_knows_nothing_is_as_the_release_has_them_bit_for_bit(people: UserContextBuilder):
    now, before = (
        people.from_states([UserState("ann"), UserState("eve"), UserState("bob")]),
        people.from_release(np.array([0, 2, 1])),
    )
    assert list(now.user_ids) == list(before.user_ids)
    for name in Histories._fields:
        mine, theirs = getattr(now.histories, name), getattr(before.histories, name)
        assert mine.dtype == theirs.dtype, name
        np.testing.assert_array_equal(mine, theirs, err_msg=name)
    np.testing.assert_array_equal(now.time_BL, before.time_BL)
    np.testing.assert_array_equal(now.user_B, before.user_B)
    assert [seen.tolist() for seen in now.seen] == [seen.tolist() for seen in before.seen]


def test_a_new_event_is_the_newest_of_the_history_and_the_oldest_makes_room(people: UserContextBuilder):
    asked = people.from_states([UserState("ann", (did("ann", 115),)), UserState("bob", (did("bob", 101),))])
    assert items(asked) == [15, 11, 4, 3], "item 2 is older than the four that the tower sees"
    assert asked.time_BL is not None
    assert asked.time_BL[0].tolist() == [NOW, 10 * DAY, 4 * DAY, 3 * DAY]
    assert items(asked, 1) == [1, 11, 0, 0]
    assert asked.histories.valid_BL[1].tolist() == [True, True, False, False]
    assert asked.seen[0].tolist() == [1, 2, 3, 4, 11, 15]


def test_an_event_that_came_late_takes_the_place_of_its_time(people: UserContextBuilder):
    assert items(people.from_states([UserState("ann", (did("ann", 115, 5 * DAY),))])) == [11, 15, 4, 3]
    assert items(people.from_states([UserState("ann", (did("ann", 115, DAY),))])) == [11, 4, 3, 2], (
        "older than all four"
    )


def test_an_event_that_both_hold_is_one(people: UserContextBuilder):
    both = UserState("ann", (did("ann", 104, 4 * DAY, "view"), did("ann", 111, 10 * DAY)))
    assert items(people.from_states([both])) == [11, 4, 3, 2]
    again = UserState("ann", (did("ann", 104, 12 * DAY, "view"),))
    assert items(people.from_states([again])) == [4, 11, 4, 3], "at another time it is another event"


def test_a_longer_past_that_the_store_holds_too_changes_nothing_though_times_are_tied(people: UserContextBuilder):
    """The release holds the newest four; the store all five, the fifth of the same time as the oldest of the four."""
    longer = tuple(did("ann", 100 + i, DAY * day) for i, day in ((1, 2), (2, 2), (3, 3), (4, 4), (11, 10)))
    assert items(people.from_states([UserState("ann", longer)])) == [11, 4, 3, 2]


def test_a_stranger_has_the_history_of_the_store(people: UserContextBuilder):
    asked = people.from_states([UserState("zoe", (did("zoe", 101, DAY), did("zoe", 111, 2 * DAY)), ("Drama", "Opera"))])
    assert items(asked) == [11, 1, 0, 0]
    assert asked.user_B.tolist() == [-1]
    assert asked.histories.follow_BF[0, :2].tolist() == [1, 0]
    assert asked.unknown_topics_B == [1]


def test_unknown_items_are_counted_and_take_no_place(people: UserContextBuilder):
    asked = people.from_states([UserState("zoe", tuple(did("zoe", item, DAY) for item in (101, 999, "101", 102)))])
    assert items(asked) == [2, 1, 0, 0]
    assert asked.unknown_items_B == [2]
    assert asked.seen[0].tolist() == [1, 2]


def test_follows_that_were_stated_count_alone_even_where_there_are_none(people: UserContextBuilder):
    asked = people.from_states(
        [UserState("ann"), UserState("ann", followed_topics=("Drama",)), UserState("ann", followed_topics=())]
    )
    assert asked.histories.follow_BF[:, :2].tolist() == [[2, 0], [1, 0], [0, 0]]


def test_of_somebody_forgotten_nothing_of_the_release_is_used(people: UserContextBuilder):
    asked = people.from_states([UserState("ann", (did("ann", 115),), erased=True), UserState("ann", erased=True)])
    assert [items(asked, b) for b in range(2)] == [[15, 0, 0, 0], [0, 0, 0, 0]]
    assert asked.user_B.tolist() == [-1, -1]
    assert not asked.histories.follow_BF.any()
    assert [seen.tolist() for seen in asked.seen] == [[15], []]


def test_what_training_would_not_use_is_not_used(people: UserContextBuilder):
    """A negative action, and an item without features; an action that the release does not know is its usual one."""
    events = (did("zoe", 101, 1, "view"), did("zoe", 102, 2, "hide"), did("zoe", 120, 3), did("zoe", 103, 4, "sing"))
    asked = people.from_states([UserState("zoe", events)])
    assert items(asked) == [3, 20, 2, 1]
    assert asked.histories.action_BL[0].tolist() == [1, 1, 2, 1]
    assert asked.histories.valid_BL[0].tolist() == [True, False, False, True]


def joined(people: UserContextBuilder, asked: UserContext, events: list[Event]) -> list[tuple[int, int, int]]:
    """Return item, time and action of a joined history, newest first, one event after another."""
    code = {name: number for number, name in enumerate(people._release.manifest.actions, start=1)}
    assert asked.time_BL is not None
    columns = (asked.histories.item_BL[0], asked.time_BL[0], asked.histories.action_BL[0])
    stored = [row for row in zip(*(column.tolist() for column in columns), strict=True) if row[2] > 0]
    told = dict[tuple[int, int, int], None]()
    for event in events:
        item = int(people.item_numbers([event.item_id])[0])
        one = (item, event.time_s, code.get(event.action or "", people._release.manifest.default_action))
        if item and one not in stored:
            told[one] = None
    # What was told stands before what the release holds of the same time: it holds the newest.
    return sorted([*told, *stored[::-1]], key=lambda one: one[1])[::-1]


@pytest.mark.parametrize("user", ["ann", "bob", "zoe"])
def test_joining_many_events_is_joining_them_one_by_one(people: UserContextBuilder, user: str):
    rng, release = generator(0, user), people.from_states([UserState(user)])
    for _ in range(30):
        drawn = zip(rng.integers(100, 123, 12).tolist(), rng.integers(1, 12, 12).tolist(), strict=True)
        events = [did(user, item, DAY * day, [None, "view", "hide"][item % 3]) for item, day in drawn]
        now = people.from_states([UserState(user, tuple(events))])
        expected, length = joined(people, release, events), len(items(now))
        assert len(expected) > length, "else nothing makes room"
        assert now.time_BL is not None
        columns = (now.histories.item_BL[0], now.time_BL[0], now.histories.action_BL[0])
        assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected[:length]


def answers(retriever: Retriever, *persons: UserState) -> list[Recommendation]:
    return retriever.answer([Request(person.user_id, user_state=person, n=8) for person in persons])


def test_an_answer_with_an_empty_store_is_the_answer_without_one(retriever: Retriever):
    with_store = answers(retriever, UserState("ann"), UserState("bob"))
    assert with_store == retriever.answer([Request("ann", n=8), Request("bob", n=8)])


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
    assert unknown.unknown_items == 1
