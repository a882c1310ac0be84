"""The planted world has the properties that its documentation names."""

import numpy as np
import pytest

from multitudes.data.planted import NOISE, PlantedConfig, PlantedWorld, plant, sample_distinct, write_world
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.errors import UsageError

SMALL = PlantedConfig(users=300, items=400, events=12_000, niches=40, topics=10)


@pytest.fixture(scope="module")
def world() -> PlantedWorld:
    return plant(SMALL)


def test_users_have_distinct_tastes_with_their_weights_and_events_follow_them(world):
    assert all(len(set(tastes)) == 3 for tastes in world.user_taste_UK.tolist())
    from_taste = world.event_taste != NOISE
    niche = world.item_niche[world.event_item]
    expected = world.user_taste_UK[world.event_user, world.event_taste]
    assert (niche[from_taste] == expected[from_taste]).all()
    assert (niche[~from_taste] != expected[~from_taste]).mean() > 0.9  # noise is anywhere
    assert np.mean(~from_taste) == pytest.approx(SMALL.noise_share + SMALL.hide_share, abs=0.01)
    share = np.zeros_like(world.user_weight_UK)
    np.add.at(share, (world.event_user[from_taste], world.event_taste[from_taste]), 1)
    share /= share.sum(axis=1, keepdims=True)
    busy = np.bincount(world.event_user) > 100
    assert busy.sum() > 10
    assert np.abs(share - world.user_weight_UK)[busy].mean() < 0.05
    assert (world.event_taste[world.event_hide] == NOISE).all()
    sourced = np.flatnonzero(world.event_source != NOISE)
    assert 0.1 < len(sourced) / SMALL.events < SMALL.sourced_share
    for event in sourced[:200]:
        user = world.event_user[event]
        follows = world.user_follow[world.user_follow_offset[user] : world.user_follow_offset[user + 1]]
        assert world.event_source[event] in follows
        assert world.event_source[event] == world.niche_topic[world.item_niche[world.event_item[event]]]


@pytest.mark.parametrize(("columns", "kinds"), [(1, 1), (3, 60), (3, 5), (40, 100), (60, 60)])
def test_distinct_numbers_are_drawn_for_any_number_of_kinds(columns, kinds):
    drawn = sample_distinct(np.random.default_rng(0), 200, columns, kinds)
    assert all(len(set(row)) == columns for row in drawn.tolist())
    assert set(drawn.ravel().tolist()) == set(range(kinds))


def test_a_world_is_a_function_of_its_seed_and_times_strictly_increase(world):
    again, other = plant(SMALL), plant(SMALL.model_copy(update={"seed": 1}))
    assert (again.event_item == world.event_item).all()
    assert (again.event_time == world.event_time).all()
    assert not (other.event_item == world.event_item).all()
    crowded = plant(SMALL.model_copy(update={"users": 1, "events": 50_000, "days": 1}))
    assert (np.diff(crowded.event_time) > 0).all()


def test_the_prepared_events_come_in_the_order_of_the_truth(world, tmp_path):
    write_world(world, tmp_path / "data")
    found = prepare(tmp_path / "data", tmp_path / "out", PrepareConfig(threads=1))
    assert found.event_time.tolist() == world.event_time.tolist()
    assert np.repeat(np.arange(found.n_users), np.diff(found.event_offset)).tolist() == world.event_user.tolist()
    item_id = np.append(-1, found.items["item_id"].to_numpy())[found.event_item]
    assert (item_id == world.event_item)[found.event_item > 0].all()
    assert (found.event_valid == (world.item_has_features[world.event_item] & ~world.event_hide)).all()
    logged = np.array(["", *(f"topic-{topic:03d}" for topic in range(SMALL.topics))])[world.event_source + 1]
    assert np.array(found.topics)[found.event_source].tolist() == logged.tolist()


@pytest.mark.parametrize("wrong", [{"tastes": 41}, {"niches": 500}, {"events": 100}])
def test_an_impossible_world_is_rejected(wrong):
    with pytest.raises(UsageError, match="expected"):
        plant(SMALL.model_copy(update=wrong))
