"""The three rules for splits, compared with plain Python on small random data."""

from collections import Counter, defaultdict
from decimal import Decimal
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multitudes.data.splits import exact_quantile, split_function
from multitudes.data.user_batches import UserEvents

# (user, time) pairs; few distinct times, so that ties are the rule.
WORLDS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8)), min_size=1, max_size=40)
TIMES = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9)


def split_of(world, name, validation=0.1, test=0.1):
    """Return [(user, time, split)] in the stable order."""
    ordered = sorted(world)
    numbers, events = zip(*sorted(Counter(user for user, _ in world).items()), strict=True)
    time_E = np.array([time for _, time in ordered])
    split = split_function(name, validation, test, lambda: [time_E])
    split_E = split(UserEvents(np.array(numbers), np.array(events), time_E))
    return [(*event, part) for event, part in zip(ordered, split_E.tolist(), strict=True)]


def by_user(rows):
    users = defaultdict(list)
    for user, time, split in rows:
        users[user].append((time, split))
    return users.values()


@pytest.mark.parametrize("name", ["time", "user", "leave_one_out"])
@settings(max_examples=25, deadline=None)
@given(world=WORLDS)
def test_no_split_has_events_after_a_later_one(name, world):
    for events in by_user(split_of(world, name)):
        assert [split for _, split in events] == sorted(split for _, split in events)


@pytest.mark.parametrize("name", ["time", "user"])
@settings(max_examples=25, deadline=None)
@given(world=WORLDS)
def test_events_of_one_time_are_never_separated(name, world):
    rows = split_of(world, name, 0.2, 0.3)
    groups = defaultdict(set)
    for user, time, split in rows:
        groups[time if name == "time" else (user, time)].add(split)
    assert all(len(splits) == 1 for splits in groups.values())


@settings(max_examples=25, deadline=None)
@given(world=WORLDS)
def test_every_user_with_three_times_has_all_three_splits_under_the_user_rule(world):
    for events in by_user(split_of(world, "user")):
        moments = {time for time, _ in events}
        expected = {0, 1, 2} if len(moments) >= 3 else {0}
        assert {split for _, split in events} == expected


@pytest.mark.parametrize(
    ("times", "shares", "expected"),
    [
        (range(10), (0.2, 0.3), [0] * 5 + [1] * 2 + [2] * 3),
        ([1, 2, 3, 4, 5, 5, 5], (0.1, 0.1), [0, 0, 0, 1, 2, 2, 2]),  # a tied end goes to the test split
        ([1, 2] + [3] * 8, (0.4, 0.4), [0, 1] + [2] * 8),  # ties of nearly all events leave a time to each split
        ([1] + [2] * 8 + [3], (0.4, 0.4), [0] + [1] * 8 + [2]),
    ],
)
def test_the_user_rule_takes_the_last_shares_and_separates_no_ties(times, shares, expected):
    assert [split for *_, split in split_of([(0, time) for time in times], "user", *shares)] == expected


def test_each_rule_cuts_users_where_it_says():
    world = [(time % 2, time) for time in range(20)]
    by_time = sorted(split_of(world, "time"), key=lambda row: row[1])
    assert [split for *_, split in by_time] == [0] * 16 + [1] * 2 + [2] * 2
    rows = split_of([(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (1, 2)], "leave_one_out")
    assert [split for *_, split in rows] == [0, 0, 1, 2, 0, 0]


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(TIMES, min_size=1, max_size=30), share=st.sampled_from([0.001, 0.1, 0.5, 0.7000000000000001, 0.8])
)
def test_a_quantile_is_the_smallest_value_with_the_share_at_or_below_it(values, share):
    array = np.array(values, dtype=np.int64)
    expected = sorted(values)[max(1, ceil(Decimal(repr(share)) * len(values))) - 1]
    assert exact_quantile(lambda: np.array_split(array, 3), share) == expected
