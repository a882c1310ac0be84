"""The baselines on a world of five items, written out by hand."""

import dataclasses

import numpy as np
import pytest

from multitudes.batches.held_out import held_out_users, seen_items
from multitudes.evaluation.baselines import Baselines
from tests.evaluation.worlds import prepared

# Popularity: item 1 three times, 2 twice, 3 and 4 once, 5 never. The recent count is the reverse by item number.
PAST = [[1, 2, 3], [1, 4], [1, 2]]
FUTURE = [[5], [2], [1]]
TOPICS = [[1], [2], [1, 2], [2], [3]]
FOLLOWS = [[3, 1], [2], []]


@pytest.fixture
def data(tmp_path):
    return prepared(tmp_path, PAST, FUTURE, TOPICS, FOLLOWS)


def lists(data, kind, length=5):
    held = held_out_users(data, "test")
    return {
        name: rows.tolist() for name, rows in Baselines(data).lists(held, seen_items(data, held), kind, length).items()
    }


def test_popularity_ranks_by_training_events_and_ends_in_zeros_where_the_history_is_excluded(data):
    assert lists(data, "all")["popularity"] == [[1, 2, 3, 4, 5]] * 3
    assert lists(data, "new")["popularity"] == [[4, 5, 0, 0, 0], [2, 3, 5, 0, 0], [3, 4, 5, 0, 0]]
    assert lists(data, "all")["recent_popularity"][0][0] == 5
    assert lists(data, "all")["own_history"][0] == [3, 2, 1, 4, 5]
    assert "own_history" not in lists(data, "new")


def test_popularity_counts_users_for_first_time_targets_and_events_for_all(tmp_path):
    data = prepared(tmp_path, [[1, 1, 1, 1], [2], [2], [4]], [[3], [3], [3], [3]], [[1]] * 5)
    assert lists(data, "all", 3)["popularity"][3] == [1, 2, 4]
    assert lists(data, "new", 3)["popularity"][3] == [2, 1, 3]
    assert lists(data, "new", 3)["recent_popularity"][3] == [1, 2, 3]  # the last second of training
    assert lists(data, "all", 3)["recent_popularity"] == [[5, 4, 2]] * 4  # the counts of the world


def test_an_order_only_log_has_no_recent_popularity_and_later_topics_are_not_followed_yet(tmp_path):
    assert "recent_popularity" not in lists(prepared(tmp_path, PAST, FUTURE, TOPICS, ordered_only=True), "all")
    data = prepared(tmp_path, PAST, [[5, 4], [2], [1]], TOPICS, FOLLOWS)
    later = dataclasses.replace(data, event_after_follows=np.arange(len(data.event_item)) > len(PAST[0]))
    assert held_out_users(later, "test").target.tolist() == [4, 2, 1]
    found = lists(later, "all")["followed_topics"]
    assert found[0] == [1, 2, 3, 4, 5]
    assert found[1:] == lists(data, "all")["followed_topics"][1:]


def test_followed_topics_take_turns_and_popular_items_fill_the_rest(data):
    found = lists(data, "all")["followed_topics"]
    assert found[0] == [5, 1, 3, 2, 4]  # topic 3: 5 · topic 1: 1, 3 · then popular
    assert found[1] == [2, 3, 4, 1, 5]
    assert found[2] == [1, 2, 3, 4, 5]  # follows nothing


@pytest.mark.parametrize("kind", ["new", "all"])
def test_a_smaller_budget_is_the_top_of_a_larger_one_and_items_are_unique(data, kind):
    small, large = lists(data, kind, 2), lists(data, kind, 5)
    for name, rows in small.items():
        assert rows == [row[:2] for row in large[name]]
        for row in large[name]:
            items = [item for item in row if item]
            assert len(set(items)) == len(items)
