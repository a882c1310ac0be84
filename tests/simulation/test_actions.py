"""What users save by themselves: the past that a model learns from, of items that were there."""

import numpy as np
import pytest
from benchmarks.simulate.calibration import gini

from multitudes.data.planted import START_S
from multitudes.data.timestamps import DAY_S
from multitudes.simulation.world import SAVE
from tests.simulation.worlds import organic, small


def test_it_is_sorted_lies_in_its_day_and_is_of_items_that_are_there():
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


def test_the_items_of_a_day_are_those_that_were_born():
    world = small(new_items_share=0.3)
    early, late = world.items_table(0), world.items_table(30)
    assert early["item_id"].to_list() == np.flatnonzero(world.created_I <= 0).tolist()
    assert len(late) == world.items
    assert len(early) / world.items == pytest.approx(0.7, abs=0.05)
    assert len(small(new_items_share=0.0).items_table(0)) == 2_000


def test_returns_are_repeats():
    def repeated(world):
        user, item = organic(world, -60, 0)
        return 1 - len(np.unique(user * world.items + item)) / len(user)

    plain = {"popularity_spread": 0.0}
    assert repeated(small(**plain, return_share=0.5)) > repeated(small(**plain, return_share=0.0)) + 0.05


def test_popularity_is_as_uneven_as_it_is_set():
    def unevenness(world):
        _, item = organic(world, -60, 0)
        return gini(np.bincount(item, minlength=world.items))

    plain = {"return_share": 0.0, "niche_skew": 0.0, "new_items_share": 0.0}
    assert unevenness(small(**plain, popularity_spread=1.4)) > unevenness(small(**plain, popularity_spread=0.0)) + 0.2


def test_strays_follow_no_taste():
    world = small(stray_share=1.0, burst_share=0.0, return_share=0.0, niche_skew=0.0)
    user, item = organic(world, -30, 0)
    niche, _ = world.tastes(-15)
    assert (world.niche_I[item][:, None] == niche[user, :-1]).any(axis=1).mean() < 0.1  # 4 of 60


def test_quality_and_popularity_go_together_as_far_as_is_set():
    for correlation in (0.0, 0.6):
        world = small(quality_popularity=correlation, quality_spread=1.0)
        shelf, quality = world.catalogue.niche_index, world.catalogue.quality_I
        known = np.log(np.diff(shelf.popularity_cdf))
        found = np.corrcoef(known, quality[shelf.item_I])[0, 1]
        assert found == pytest.approx(correlation, abs=0.07)
