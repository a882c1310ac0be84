"""What users like: several niches, slowly others, at times a burst; what they save and what appeals follows it."""

import numpy as np
import pytest

from tests.simulation.worlds import everybody, organic, small, some_items

STEADY = {"taste_life_days": 1e9, "burst_share": 0.0, "stray_share": 0.0, "return_share": 0.0}


def shares(world, first, end):
    """Return what everybody saved by niche (U, niches), as shares; users without a save are left out."""
    user, item = organic(world, first, end)
    count = np.zeros((world.users, world.config.niches))
    np.add.at(count, (user, world.niche_I[item]), 1)
    return count[count.sum(axis=1) > 0] / count.sum(axis=1, keepdims=True)[count.sum(axis=1) > 0]


def as_shares(world, day):
    niche_UK, weight_UK = world.tastes(day)
    share = np.zeros((world.users, world.config.niches))
    np.add.at(share, (np.arange(len(niche_UK))[:, None], niche_UK), weight_UK)
    return share


def overlap(world, day, other):
    """Return the mean share of their tastes that users have in common with those of another day."""
    one, two = (as_shares(world, d) for d in (day, other))
    return np.minimum(one, two).sum(axis=1).mean()


def test_users_hold_several_tastes_whose_weights_sum_to_one():
    niche, weight = small().tastes(0)
    assert niche.shape == weight.shape == (4_000, 5)  # four for long and a burst
    assert weight.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (weight >= 0).all()
    effective = 1 / (weight**2).sum(axis=1)
    assert 1.8 < effective.mean() < 3


def test_with_one_taste_everybody_saves_one_niche_and_with_four_several():
    for tastes, all_in_one in ((1, True), (4, False)):
        world = small(**STEADY, tastes=tastes)
        largest = shares(world, -30, 30).max(axis=1)
        assert (largest.mean() == 1) == all_in_one
    assert largest.mean() < 0.8


def test_what_is_saved_is_what_is_liked_as_much_as_it_is_liked():
    world = small(**STEADY, readiness_spread=0.0)
    user, item = organic(world, -60, 0)
    liked = as_shares(world, 0)
    expected = liked[user].sum(axis=0)
    found = np.bincount(world.niche_I[item], minlength=world.config.niches)
    assert found == pytest.approx(expected, rel=0.15)
    assert (liked[user, world.niche_I[item]] > 0).all()


def test_an_item_of_a_taste_appeals_by_its_weight_and_one_of_its_topic_a_little():
    plain = {"quality_spread": 0.0, "pair_spread": 0.0, "freshness": 0.0, "readiness_spread": 0.0}
    world = small(**STEADY, **plain, tastes=1)
    loved = world.tastes(0)[0][:, 0]
    items = some_items(world, 60)
    odds = np.exp(world.appeal(0, everybody(world), items))
    config, topics = world.config, np.asarray(world.topic_I)
    same = world.niche_I[items] == loved[:, None]
    kin = (topics[items] == (loved % config.topics)[:, None]) & ~same
    assert odds[same] == pytest.approx(config.loved_odds + config.unloved_odds, rel=1e-4)
    assert odds[kin] == pytest.approx(config.kinship * config.loved_odds + config.unloved_odds, rel=1e-4)
    assert odds[~same & ~kin] == pytest.approx(config.unloved_odds, rel=1e-4)


def appeals(items, day=0, **changed):
    """Return the appeal of ``items`` in a world in which nothing but what is changed tells items of a niche apart."""
    same = {"quality_spread": 0.0, "pair_spread": 0.0, "freshness": 0.0, "new_items_share": 0.3}
    world = small(**STEADY, **same | changed)
    return world, world.appeal(day, everybody(world), np.tile(items, (world.users, 1)))


def test_items_differ_by_quality_for_all_alike_and_by_a_little_for_each_user():
    items = np.arange(60, 600)  # the first of each niche were always there
    _, plain = appeals(items)
    world, by_quality = appeals(items, quality_spread=0.5)
    assert np.abs(by_quality - plain - world.catalogue.quality_I[items]).max() < 1e-5
    assert world.catalogue.quality_I.std() == pytest.approx(0.5, abs=0.03)
    _, by_pair = appeals(items, pair_spread=0.5)
    own = by_pair - plain
    assert own.std() == pytest.approx(0.5, abs=0.01)
    assert own.mean(axis=0).std() < 0.02
    assert own.mean(axis=1).std() < 0.05


def test_an_item_is_fresh_for_some_days():
    items = np.arange(60, 600)
    _, plain = appeals(items, day=20)
    world, fresh = appeals(items, day=20, freshness=1.0)
    age = 20 - world.created_I[items]
    more = (fresh - plain).mean(axis=0)
    assert more[age == 0] == pytest.approx(1, abs=1e-4)
    assert (more[(age > 0) & (age < 4)] > 0.25).all()
    assert (more[age > 10] < 0.05).all()


def test_tastes_drift_slowly():
    world = small(burst_share=0.0, taste_life_days=200.0)
    near, far = overlap(world, 0, 7), overlap(world, 0, 100)
    assert near > 0.9
    assert far < 0.4
    steady = small(burst_share=0.0, taste_life_days=1e6)
    assert overlap(steady, 0, 100) > 0.99


def test_a_burst_is_over_represented_in_its_days_and_gone_after_them():
    world = small(burst_share=0.3, burst_weight=0.4, stray_share=0.0, return_share=0.0)
    share: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for day in range(-60, 0):
        niche, weight = world.tastes(day)
        done = world.organic_actions(day)
        in_burst = niche[done.user_E, -1] == world.niche_I[done.item_E]
        on = weight[done.user_E, -1] > 0
        for state, found in share.items():
            found.append(in_burst[on == state])
    while_on, while_off = (np.concatenate(share[state]).mean() for state in (True, False))
    assert 0.38 < while_on < 0.5
    assert while_off < 0.06
    on = np.stack([world.tastes(day)[1][:, -1] > 0 for day in range(100)])
    assert on.mean() == pytest.approx(0.3, abs=0.01)
    assert (on[1:] != on[:-1]).mean() < 2 / world.config.burst_days  # they come in days that hang together


def test_without_bursts_there_is_none():
    assert not small(burst_share=0.0).tastes(5)[1][:, -1].any()
