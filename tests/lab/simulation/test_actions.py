"""Actions: organic saves follow tastes, and reactions depend on position, fatigue and saturation."""

import numpy as np
import pytest

from multitudes.data.planted import START_S
from multitudes.data.timestamps import DAY_S
from multitudes_lab.simulation.world import HIDE, NOTHING, SAVE
from tests.lab.simulation.worlds import everybody, fixed, react, small, some_items


def test_organic_actions_are_sorted_within_their_day_and_of_existing_items():
    world = small(new_items_share=0.5)
    for day in (-30, 0, 12):
        done = world.organic_actions(day)
        assert len(done.user_E) > 100
        assert (np.lexsort((done.time_E, done.user_E)) == np.arange(len(done.user_E))).all()
        assert (done.time_E // DAY_S == (START_S + day * DAY_S) // DAY_S).mean() < 1  # START_S is no midnight
        assert ((done.time_E - START_S) // DAY_S == day).all()
        assert (world.created_I[done.item_E] <= day).all()
        assert (done.action_E == SAVE).all()
    assert (world.created_I[world.organic_actions(29).item_E] > 0).any()


def test_the_items_of_a_day_are_those_that_exist():
    world = small(new_items_share=0.3)
    early, late = world.items_table(0), world.items_table(30)
    assert early["item_id"].to_list() == np.flatnonzero(world.created_I <= 0).tolist()
    assert len(late) == world.items
    assert len(early) / world.items == pytest.approx(0.7, abs=0.05)
    assert len(small(new_items_share=0.0).items_table(0)) == 2_000


ENDLESS = 1e9  # a depth at which everything is examined
PLAIN = {"saturation": 0.0, "fatigue": 0.0}
calm = fixed(HIDE_SHARE=0.0, ASPIRATION=0.0)


@calm
def test_the_same_appeal_lower_down_is_saved_less():
    world = small(**PLAIN, depth=10.0)
    by_place = (react(world, some_items(world, 30)) == SAVE).mean(axis=0)
    chance = np.exp(-1) / (1 + np.exp(-1))
    expected = chance * 0.9 ** np.arange(30)
    assert by_place == pytest.approx(expected, abs=0.035)  # five standard errors
    assert by_place[:3].mean() > 3 * by_place[-10:].mean()


@calm
def test_items_shown_often_are_saved_less():
    world = small(**PLAIN | {"fatigue": 0.5}, depth=ENDLESS)
    items = some_items(world, 30)
    saved = [(react(world, items, appeal=-3.0, seen=seen) == SAVE).mean() for seen in (0, 4)]
    assert saved[0] / saved[1] == pytest.approx(3, rel=0.1)  # the odds are divided by 1 + 0.5 · 4
    rested = small(**PLAIN, depth=ENDLESS)
    assert (react(rested, items, seen=4) == react(rested, items, seen=0)).all()


@calm
def test_many_items_of_one_niche_saturate():
    world = small(**PLAIN | {"saturation": 0.2}, depth=ENDLESS)
    of_niche = np.flatnonzero(world.niche_I == 0)[:20]
    alike = np.tile(of_niche, (world.users, 1))
    varied = np.tile([np.flatnonzero(world.niche_I == niche)[0] for niche in range(20)], (world.users, 1))
    last = slice(15, 20)
    bored, awake = ((react(world, items, appeal=-3.0) == SAVE)[:, last].mean() for items in (alike, varied))
    assert awake / bored == pytest.approx(1 + 0.2 * 17, rel=0.15)
    patient = small(**PLAIN, depth=ENDLESS)
    bored, awake = ((react(patient, items, appeal=-3.0) == SAVE)[:, last].mean() for items in (alike, varied))
    assert awake / bored == pytest.approx(1, rel=0.1)


def test_items_without_appeal_are_hidden_and_loved_ones_are_not():
    world = small(depth=ENDLESS, saturation=0.0)
    with fixed(HIDE_SHARE=0.05):
        unloved, loved = ((react(world, some_items(world, 30), appeal=a) == HIDE).mean() for a in (-6.0, 1.0))
    assert unloved == pytest.approx(0.05, rel=0.1)
    assert loved < 0.005
    with fixed(HIDE_SHARE=0.0):
        assert not (react(world, some_items(world, 30), appeal=-6.0) == HIDE).any()


def test_more_appeal_never_lowers_a_reaction():
    world = small()
    items = some_items(world, 30)
    rank = np.array([1, 2, 3, 0])  # hide < nothing < click < save
    less, more = (rank[react(world, items, appeal=a)] for a in (-3.0, -2.0))
    assert (more >= less).all()
    assert (more > less).any()
    again = rank[react(world, items, appeal=-2.0, day=4)]
    assert (again < less).any()  # control: other draws


def test_reactions_do_not_depend_on_items_below_or_on_other_users():
    world = small()
    items = some_items(world, 30)
    whole = react(world, items)
    other = items.copy()
    other[:, 10:] = (other[:, 10:] + 1) % world.items
    assert (react(world, other)[:, :10] == whole[:, :10]).all()
    assert (react(world, other)[:, 10:] != whole[:, 10:]).any()


@fixed(HIDE_SHARE=1.0)
def test_an_empty_slot_has_no_appeal_and_no_reaction():
    world = small(depth=ENDLESS)
    items = some_items(world, 8)
    items[:, 1::2] = -1
    appeal = world.appeal(3, everybody(world), items)
    assert np.isneginf(appeal[:, 1::2]).all()
    assert np.isfinite(appeal[:, ::2]).all()
    action = world.draw_reactions(3, everybody(world), items, appeal, np.zeros_like(items))
    assert (action[:, 1::2] == NOTHING).all()
    assert (action[:, ::2] == HIDE).mean() > 0.8


def test_a_world_without_visitors_has_empty_results():
    world = small()
    nobody, nothing = np.empty(0, dtype=np.int64), np.empty((0, 30), dtype=np.int64)
    appeal = world.appeal(0, nobody, nothing)
    assert appeal.shape == (0, 30)
    assert world.draw_reactions(0, nobody, nothing, appeal, nothing).shape == (0, 30)
    assert world.appeal(0, np.array([1]), np.empty((1, 0), dtype=np.int64)).shape == (1, 0)
