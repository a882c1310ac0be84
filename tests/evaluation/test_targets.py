"""The users and targets of an evaluation."""

import dataclasses

import numpy as np
import pytest

from multitudes.batches.held_out import held_out_users, seen_items, select_users
from multitudes.evaluation.targets import subsample, targets_of_kind
from tests.evaluation.worlds import prepared

PAST = [[1, 2, 1], [3], [2, 2]]
FUTURE = [[1, 3], [3], [1]]  # user 0: one repeat and one new; user 1: a repeat only; user 2: one new


@pytest.fixture
def data(tmp_path):
    return prepared(tmp_path, PAST, FUTURE, topics=[[1], [1], [2]])


def test_first_time_targets_are_not_in_the_history_and_all_targets_keep_the_repeats_of_each_user(data):
    held = targets_of_kind(held_out_users(data, "test"), "new")
    assert held.user_B.tolist() == [0, 2]
    assert held.target.tolist() == [3, 1]
    assert held.target_offset.tolist() == [0, 1, 2]
    held = targets_of_kind(held_out_users(data, "test"), "all")
    assert held.user_B.tolist() == [0, 1, 2]
    assert held.target.tolist() == [1, 3, 3, 1]
    held = select_users(held_out_users(data, "test"), np.array([0, 2]))
    assert held.user_B.tolist() == [0, 2]
    assert held.target.tolist() == [1, 3, 1]


def test_targets_are_positive_events_of_known_items_after_the_follows(data):
    last_of_user_0 = np.arange(len(data.event_item)) == len(PAST[0]) + 1  # its first-time target, item 3
    for no_target in (
        {"event_weight": np.where(last_of_user_0, 0, data.event_weight)},
        {"event_after_follows": ~last_of_user_0},
        {"event_item": np.where(last_of_user_0, 0, data.event_item)},
    ):
        held = held_out_users(dataclasses.replace(data, **no_target), "test")
        assert held.target.tolist() == [1, 3, 1]
        assert held.end_B.tolist() == held_out_users(data, "test").end_B.tolist()


def test_seen_items_are_the_entire_history_newest_first_without_repeats(data):
    seen = seen_items(data, held_out_users(data, "test"))
    assert [items.tolist() for items in seen] == [[1, 2], [3], [2]]


def test_a_sample_is_drawn_from_all_users_and_is_the_same_for_the_same_seed(tmp_path):
    many = prepared(tmp_path, [[1]] * 300, [[2]] * 300, topics=[[1], [1]])
    held = held_out_users(many, "test")
    first, again, other = subsample(held, 30, seed=0), subsample(held, 30, seed=0), subsample(held, 30, seed=1)
    assert len(first) == 30
    assert np.array_equal(first.user_B, again.user_B)
    assert not np.array_equal(first.user_B, other.user_B)
    assert first.user_B.max() > 200  # the first 30 of the file would end at 29
    assert subsample(held, 0, seed=0) is held
