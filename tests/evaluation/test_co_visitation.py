"""Co-visitation on histories that can be counted by hand."""

import dataclasses

import numpy as np
import pytest

from multitudes.batches.held_out import held_out_users, seen_items
from multitudes.data.prepared import VALIDATION
from multitudes.evaluation import baselines
from multitudes.evaluation.baselines import Baselines
from tests.evaluation.worlds import prepared

TOPICS = [[1]] * 6


def near(folder, past, future=None, **settings):
    return baselines.co_visitation_matrix(
        prepared(folder, past, future or [[6]] * len(past), TOPICS), **settings
    ).toarray()


def test_nearness_grows_with_proximity_within_the_training_events_of_a_user(tmp_path):
    found = near(tmp_path, [[1, 2, 3], [2, 1]])
    assert found[1].tolist() == pytest.approx([0, 0, 2 / 2, 0.5 / 2, 0, 0, 0])
    assert found[3].tolist() == pytest.approx([0, 0.5, 1, 0, 0, 0, 0])
    world = prepared(tmp_path, [[1], [2, 3]], [[4], [5]], TOPICS)
    assert np.argwhere(baselines.co_visitation_matrix(world).toarray()).tolist() == [[2, 3], [3, 2]]
    validated = np.where(world.event_item == 3, VALIDATION, world.event_split)
    assert baselines.co_visitation_matrix(dataclasses.replace(world, event_split=validated)).nnz == 0
    rng = np.random.default_rng(0)
    past = [rng.integers(1, 7, 20).tolist() for _ in range(15)]
    assert np.array_equal(near(tmp_path, past), near(tmp_path, past, pairs_per_chunk=1))


def test_only_the_nearest_neighbours_of_the_newest_items_are_kept(tmp_path, monkeypatch):
    world = prepared(tmp_path, [[1, 2], [3, 4], [1, 3], [3, 1]], [[6]] * 4, TOPICS)
    matrix = baselines.co_visitation_matrix(world)
    older_first, newer_first = baselines.co_visitation_candidates(matrix, [np.array([1, 3]), np.array([3, 1])], 6)
    assert older_first.tolist().index(2) < older_first.tolist().index(4)
    assert newer_first.tolist().index(4) < newer_first.tolist().index(2)
    matrix = baselines.co_visitation_matrix(prepared(tmp_path, [[1, 2], [3, 4]], [[6]] * 2, TOPICS))
    monkeypatch.setattr(baselines, "MAX_HISTORY", 1)
    assert baselines.co_visitation_candidates(matrix, [np.array([1, 3])], 6)[0].tolist() == [2]
    monkeypatch.setattr(baselines, "MAX_NEIGHBOURS", 2)
    found = near(tmp_path, [[3, 1, 2], [5, 1, 4], [1, 4]])
    assert np.flatnonzero(found[1]).tolist() == [2, 4]
    monkeypatch.setattr(baselines, "WINDOW", 2)
    found = near(tmp_path, [[1, 1, 2, 3, 4]])
    assert found[1].tolist() == pytest.approx([0, 0, 1.5 / 2, 0.5 / 2, 0, 0, 0])  # 4 is three events away


def test_a_shorter_list_is_the_top_of_a_longer_one(tmp_path):
    matrix = baselines.co_visitation_matrix(prepared(tmp_path, [[1, 2, 3, 4, 5]] * 2, [[6]] * 2, TOPICS))
    past = [np.array([5]), np.array([], dtype=np.int64)]
    short, long = (baselines.co_visitation_candidates(matrix, past, length) for length in (1, 6))
    assert len(short[0]) < len(long[0])
    assert long[0][: len(short[0])].tolist() == short[0].tolist()
    assert long[1].tolist() == []


def test_co_visitation_finds_items_that_popularity_misses(tmp_path):
    """Two groups of items: 1, 2, 3 and 4, 5, 6. A user who begins with one group continues with it."""
    past = [[1, 2, 3], [2, 3, 1], [4, 5, 6], [6, 5, 4], [5, 4, 6], [1]]
    world = prepared(tmp_path, past, [[1]] * 5 + [[2]], TOPICS)
    held = held_out_users(world, "test")
    found = Baselines(world).lists(held, seen_items(world, held), "new", 2)
    assert sorted(found["covisit"][-1].tolist()) == [2, 3]
    assert set(found["popularity"][-1].tolist()) != {2, 3}  # the control knows nobody
