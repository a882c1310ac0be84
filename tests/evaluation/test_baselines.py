"""The baselines on a world of five items, written out by hand, and co-visitation on others."""

import dataclasses

import numpy as np
import pytest

from multitudes.batches.held_out import held_out_users, seen_items
from multitudes.data.prepared import VALIDATION
from multitudes.evaluation import baselines
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
    found = Baselines(data).lists(held, seen_items(data, held), kind, length)
    return {name: rows.tolist() for name, rows in found.items()}


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


SAME_TOPIC = [[1]] * 6


def near(folder, past, future=None, **settings):
    world = prepared(folder, past, future or [[6]] * len(past), SAME_TOPIC)
    return baselines.co_visitation_matrix(world, **settings).toarray()


def test_nearness_grows_with_proximity_within_the_training_events_of_a_user(tmp_path):
    found = near(tmp_path, [[1, 2, 3], [2, 1]])
    assert found[1].tolist() == pytest.approx([0, 0, 2 / 2, 0.5 / 2, 0, 0, 0])
    assert found[3].tolist() == pytest.approx([0, 0.5, 1, 0, 0, 0, 0])
    world = prepared(tmp_path, [[1], [2, 3]], [[4], [5]], SAME_TOPIC)
    assert np.argwhere(baselines.co_visitation_matrix(world).toarray()).tolist() == [[2, 3], [3, 2]]
    validated = np.where(world.event_item == 3, VALIDATION, world.event_split)
    assert baselines.co_visitation_matrix(dataclasses.replace(world, event_split=validated)).nnz == 0
    rng = np.random.default_rng(0)
    past = [rng.integers(1, 7, 20).tolist() for _ in range(15)]
    assert np.array_equal(near(tmp_path, past), near(tmp_path, past, pairs_per_chunk=1))


def test_only_the_nearest_neighbours_of_the_newest_items_are_kept(tmp_path, monkeypatch):
    world = prepared(tmp_path, [[1, 2], [3, 4], [1, 3], [3, 1]], [[6]] * 4, SAME_TOPIC)
    matrix = baselines.co_visitation_matrix(world)
    older_first, newer_first = baselines.co_visitation_candidates(matrix, [np.array([1, 3]), np.array([3, 1])], 6)
    assert older_first.tolist().index(2) < older_first.tolist().index(4)
    assert newer_first.tolist().index(4) < newer_first.tolist().index(2)
    matrix = baselines.co_visitation_matrix(prepared(tmp_path, [[1, 2], [3, 4]], [[6]] * 2, SAME_TOPIC))
    monkeypatch.setattr(baselines, "MAX_HISTORY", 1)
    assert baselines.co_visitation_candidates(matrix, [np.array([1, 3])], 6)[0].tolist() == [2]
    monkeypatch.setattr(baselines, "MAX_NEIGHBOURS", 2)
    found = near(tmp_path, [[3, 1, 2], [5, 1, 4], [1, 4]])
    assert np.flatnonzero(found[1]).tolist() == [2, 4]
    monkeypatch.setattr(baselines, "WINDOW", 2)
    found = near(tmp_path, [[1, 1, 2, 3, 4]])
    assert found[1].tolist() == pytest.approx([0, 0, 1.5 / 2, 0.5 / 2, 0, 0, 0])  # 4 is three events away


def test_a_shorter_list_is_the_top_of_a_longer_one(tmp_path):
    matrix = baselines.co_visitation_matrix(prepared(tmp_path, [[1, 2, 3, 4, 5]] * 2, [[6]] * 2, SAME_TOPIC))
    past = [np.array([5]), np.array([], dtype=np.int64)]
    short, long = (baselines.co_visitation_candidates(matrix, past, length) for length in (1, 6))
    assert len(short[0]) < len(long[0])
    assert long[0][: len(short[0])].tolist() == short[0].tolist()
    assert long[1].tolist() == []


def test_co_visitation_finds_items_that_popularity_misses(tmp_path):
    """Two groups of items: 1, 2, 3 and 4, 5, 6. A user who begins with one group continues with it."""
    past = [[1, 2, 3], [2, 3, 1], [4, 5, 6], [6, 5, 4], [5, 4, 6], [1]]
    world = prepared(tmp_path, past, [[1]] * 5 + [[2]], SAME_TOPIC)
    held = held_out_users(world, "test")
    found = Baselines(world).lists(held, seen_items(world, held), "new", 2)
    assert sorted(found["covisit"][-1].tolist()) == [2, 3]
    assert set(found["popularity"][-1].tolist()) != {2, 3}  # the control knows nobody
