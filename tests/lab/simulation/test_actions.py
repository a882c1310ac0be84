"""Actions: organic saves follow tastes, and reactions depend on position, fatigue and saturation."""

import numpy as np
import pytest

from multitudes.data.planted import START_S
from multitudes.data.timestamps import DAY_S
from multitudes_lab.simulation.world import HIDE, NOTHING, SAVE
from tests.lab.simulation.worlds import everybody, fixed, react, small, some_items

ENDLESS = 1e9  # a depth at which everything is examined
calm = fixed(HIDE_SHARE=0.0, ASPIRATION=0.0, SATURATION=0.0, FATIGUE=0.0)


@fixed(NEW_ITEMS_SHARE=0.3)
def test_organic_actions_are_sorted_within_their_day_and_of_existing_items():
    world = small()
    for day in (-30, 0, 12):
        done = world.organic_actions(day)
        assert len(done.user_E) > 100
        assert (np.lexsort((done.time_E, done.user_E)) == np.arange(len(done.user_E))).all()
        assert ((done.time_E - START_S) // DAY_S == day).all()
        assert (world.created_I[done.item_E] <= day).all()
        assert (done.action_E == SAVE).all()
    assert (world.created_I[world.organic_actions(29).item_E] > 0).any()
    early, late = world.items_table(0), world.items_table(30)
    assert early["item_id"].to_list() == np.flatnonzero(world.created_I <= 0).tolist()
    assert len(early) / len(late) == pytest.approx(0.7, abs=0.05)
    assert len(late) == world.items


@calm
def test_the_same_appeal_lower_down_or_shown_often_is_saved_less():
    world = small(depth=10.0)
    by_place = (react(world, some_items(world, 30)) == SAVE).mean(axis=0)
    chance = np.exp(-1) / (1 + np.exp(-1))
    assert by_place == pytest.approx(chance * 0.9 ** np.arange(30), abs=0.035)  # five standard errors
    world = small(depth=ENDLESS)
    items = some_items(world, 30)
    assert (react(world, items, seen=4) == react(world, items, seen=0)).all()
    with fixed(FATIGUE=0.5):
        saved = [(react(world, items, appeal=-3.0, seen=seen) == SAVE).mean() for seen in (0, 4)]
    assert saved[0] / saved[1] == pytest.approx(3, rel=0.1)  # the odds are divided by 1 + 0.5 · 4


@calm
@pytest.mark.parametrize(("saturation", "ratio"), [(0.0, 1), (0.2, 1 + 0.2 * 17)])
def test_many_items_of_one_niche_saturate(saturation, ratio):
    world = small(depth=ENDLESS)
    alike = np.tile(np.flatnonzero(world.niche_I == 0)[:20], (world.users, 1))
    varied = np.tile([np.flatnonzero(world.niche_I == niche)[0] for niche in range(20)], (world.users, 1))
    with fixed(SATURATION=saturation):
        bored, awake = ((react(world, items, appeal=-3.0) == SAVE)[:, 15:].mean() for items in (alike, varied))
    assert awake / bored == pytest.approx(ratio, rel=0.15)


@calm
def test_items_without_appeal_are_hidden_and_loved_ones_are_not():
    world = small(depth=ENDLESS)
    assert not (react(world, some_items(world, 30), appeal=-6.0) == HIDE).any()
    with fixed(HIDE_SHARE=0.05):
        unloved, loved = ((react(world, some_items(world, 30), appeal=a) == HIDE).mean() for a in (-6.0, 1.0))
    assert unloved == pytest.approx(0.05, rel=0.1)
    assert loved < 0.005


def test_more_appeal_never_lowers_a_reaction_nor_does_an_item_below():
    world = small()
    items = some_items(world, 30)
    rank = np.array([1, 2, 3, 0])  # hide < nothing < click < save
    less, more = (rank[react(world, items, appeal=a)] for a in (-3.0, -2.0))
    assert (more >= less).all()
    assert (more > less).any()
    again = rank[react(world, items, appeal=-2.0, day=4)]
    assert (again < less).any()  # control: other draws
    whole, other = react(world, items), items.copy()
    other[:, 10:] = (other[:, 10:] + 1) % world.items
    same = react(world, other) == whole
    assert same[:, :10].all()
    assert not same[:, 10:].all()


@fixed(HIDE_SHARE=1.0)
def test_an_empty_slot_has_no_appeal_and_no_reaction_and_a_world_may_have_no_visitors():
    world = small(depth=ENDLESS)
    items = some_items(world, 8)
    items[:, 1::2] = -1
    appeal = world.appeal(3, everybody(world), items)
    assert np.isneginf(appeal[:, 1::2]).all()
    assert np.isfinite(appeal[:, ::2]).all()
    action = world.draw_reactions(3, everybody(world), items, appeal, np.zeros_like(items))
    assert (action[:, 1::2] == NOTHING).all()
    assert (action[:, ::2] == HIDE).mean() > 0.8
    nobody, nothing = np.empty(0, dtype=np.int64), np.empty((0, 30), dtype=np.int64)
    assert world.draw_reactions(0, nobody, nothing, world.appeal(0, nobody, nothing), nothing).shape == (0, 30)
    assert world.appeal(0, np.array([1]), np.empty((1, 0), dtype=np.int64)).shape == (1, 0)
