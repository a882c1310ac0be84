"""One list of several arms: nothing is there twice, and no arm stands above the others more often than they do."""

from collections import Counter

import numpy as np
import pytest

from multitudes.experiments.interleaving import team_draft

APART = {"a": list(range(10)), "b": list(range(100, 110))}
SHARED = {"a": [1, 2, 3, 4, 5], "b": [3, 1, 9, 2, 7]}


def drafts(rankings, n: int, times: int = 2_000) -> list[dict[int, str]]:
    generator = np.random.default_rng(0)
    return [team_draft(rankings, n, generator) for _ in range(times)]


def test_every_round_has_a_pick_of_each_arm_and_it_is_the_best_that_was_left():
    for drafted in drafts(SHARED, 4, 200):
        picked: list[int] = []
        for item, arm in drafted.items():
            assert item == next(one for one in SHARED[arm] if one not in picked)
            picked.append(item)
        teams = list(drafted.values())
        assert {*teams[:2]} == {*teams[2:]} == {"a", "b"}
    assert len({tuple(drafted) for drafted in drafts(SHARED, 4, 200)}) > 2  # the order is drawn


@pytest.mark.parametrize("n", [1, 4, 5])
def test_each_arm_is_as_often_in_each_place(n):
    by_place = [Counter(list(drafted.values())[place] for drafted in drafts(APART, n)) for place in range(n)]
    assert all(abs(found["a"] - found["b"]) < 200 for found in by_place)  # four and a half deviations
    assert all(sum(found.values()) == 2_000 for found in by_place)


def test_three_arms_are_as_good_as_two():
    drafted = drafts(APART | {"c": list(range(200, 210))}, 9)
    assert all(Counter(one.values()) == {"a": 3, "b": 3, "c": 3} for one in drafted)
    first = Counter(next(iter(one.values())) for one in drafted)
    assert min(first.values()) > 550


def test_where_a_list_ends_no_arm_has_more_places():
    for drafted in drafts({"a": [1], "b": [2, 3, 4]}, 4, 50):
        assert sorted(drafted.values()) == ["a", "b"]
    assert team_draft({"a": [], "b": []}, 4, np.random.default_rng(0)) == {}


def test_equal_lists_are_their_own_interleaving_and_each_arm_has_half():
    for drafted in drafts({"a": [5, 6, 7, 8], "b": [5, 6, 7, 8]}, 4, 50):
        assert list(drafted) == [5, 6, 7, 8]
        assert sorted(drafted.values()) == ["a", "a", "b", "b"]
