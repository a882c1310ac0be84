"""The three rules that hold events out, against plain Python on random small worlds."""

from collections import Counter, defaultdict

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multitudes.data.duck import DuckDB
from multitudes.data.splits import expression

# (user, time) pairs; few distinct times, so that ties are the rule.
WORLDS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8)), min_size=1, max_size=40)


CONNECTION = duckdb.connect()
ENGINE = DuckDB(CONNECTION)


def split_of(world, rule, validation=0.1, test=0.1):
    """Return [(user, time, split)] in the stable order."""
    ordered = sorted(world)
    place: Counter[int] = Counter()
    total = Counter(user for user, _ in ordered)
    rows = []
    for user, time in ordered:
        place[user] += 1
        rows.append({"number": user, "time": time, "place": place[user], "total": total[user]})
    frame = pl.DataFrame(rows)  # noqa: F841 (the engine finds it by its name)
    CONNECTION.execute("CREATE OR REPLACE TABLE placed AS SELECT * FROM frame")
    ENGINE.execute("DROP TABLE IF EXISTS cut")
    sql = expression(ENGINE, rule, validation, test)
    return ENGINE.execute(f"SELECT number, time, {sql} FROM placed ORDER BY number, place").fetchall()


def by_user(rows):
    users = defaultdict(list)
    for user, time, split in rows:
        users[user].append((time, split))
    return users.values()


@pytest.mark.parametrize("rule", ["time", "user", "leave_one_out"])
@settings(max_examples=25, deadline=None)
@given(world=WORLDS)
def test_no_part_sees_a_later_one(rule, world):
    for events in by_user(split_of(world, rule)):
        assert [split for _, split in events] == sorted(split for _, split in events)


@pytest.mark.parametrize("rule", ["time", "user"])
@settings(max_examples=25, deadline=None)
@given(world=WORLDS)
def test_events_of_one_time_are_never_parted(rule, world):
    rows = split_of(world, rule, 0.2, 0.3)
    groups = defaultdict(set)
    for user, time, split in rows:
        groups[time if rule == "time" else (user, time)].add(split)
    assert all(len(splits) == 1 for splits in groups.values())


@settings(max_examples=25, deadline=None)
@given(world=WORLDS)
def test_every_user_with_three_moments_has_all_three_parts_under_the_user_split(world):
    for events in by_user(split_of(world, "user")):
        moments = {time for time, _ in events}
        expected = {0, 1, 2} if len(moments) >= 3 else {0}
        assert {split for _, split in events} == expected


def test_the_user_split_takes_the_last_shares():
    rows = split_of([(0, time) for time in range(10)], "user", 0.2, 0.3)
    assert [split for *_, split in rows] == [0] * 5 + [1] * 2 + [2] * 3


def test_a_tied_end_goes_to_the_test_part_as_a_whole():
    rows = split_of([(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (0, 5), (0, 5)], "user")
    assert [split for *_, split in rows] == [0, 0, 0, 1, 2, 2, 2]


def test_a_tied_end_that_is_nearly_everything_leaves_a_moment_to_each_part():
    rows = split_of([(0, 1), (0, 2)] + [(0, 3)] * 8, "user", 0.4, 0.4)
    assert [split for *_, split in rows] == [0, 1] + [2] * 8


def test_a_tied_middle_that_is_nearly_everything_leaves_a_moment_to_each_part():
    rows = split_of([(0, 1)] + [(0, 2)] * 8 + [(0, 3)], "user", 0.4, 0.4)
    assert [split for *_, split in rows] == [0] + [1] * 8 + [2]


def test_the_time_split_cuts_all_users_at_the_same_moments():
    world = [(time % 2, time) for time in range(20)]
    assert [split for _, time, split in sorted(split_of(world, "time"), key=lambda row: row[1])] == (
        [0] * 16 + [1] * 2 + [2] * 2
    )


def test_leave_one_out_takes_the_last_two_events_of_users_with_three():
    rows = split_of([(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (1, 2)], "leave_one_out")
    assert [split for *_, split in rows] == [0, 0, 1, 2, 0, 0]
