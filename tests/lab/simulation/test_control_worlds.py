"""The property that makes each control world: it is there, and not in the default world."""

import numpy as np
import pytest

from multitudes_lab.simulation.world_config import CONTROLS
from tests.lab.simulation.worlds import everybody, fixed, organic, small

PLAIN = {"QUALITY_SPREAD": 0.0, "PAIR_SPREAD": 0.0, "FRESHNESS": 0.0, "READINESS_SPREAD": 0.0}


def loved_by_two(world) -> float:
    """Return the share of the items that a user of the world loves for two tastes, among those loved for any."""
    items, (niche_UK, _) = world.catalogue, world.tastes(0)
    loved = np.zeros((world.users, world.items), dtype=np.int64)
    for k in range(world.config.tastes):
        niche = niche_UK[:, k, None]
        is_new = (niche_UK[:, :k] != niche).all(axis=1, keepdims=True)
        loved += is_new & ((niche == items.niche_I) | (niche == items.second_niche_I))
    return float((loved > 1).sum() / (loved > 0).sum())


@pytest.mark.parametrize(("overlap", "low", "high"), [(0.0, 0, 0), (0.5, 0.05, 0.3), (1.0, 0.25, 0.6)])
def test_items_are_loved_for_two_tastes_where_tastes_overlap(overlap, low, high):
    assert low <= loved_by_two(small(overlap=overlap)) <= high


@fixed(**PLAIN)
def test_an_item_of_two_tastes_appeals_by_the_weights_of_both():
    world = small(**CONTROLS["overlapping tastes"], burst_share=0.0, taste_life_days=1e9)
    niche_UK, weight_UK = world.tastes(0)
    near = niche_UK[:, 1] == (niche_UK[:, 0] + 1) % world.config.niches
    near &= (niche_UK[:, 2:] != niche_UK[:, :1]).all(axis=1) & (niche_UK[:, 2:] != niche_UK[:, 1:2]).all(axis=1)
    assert 0.3 < near.mean() < 0.6
    user = np.flatnonzero(near)[0]
    of_both = (world.niche_I == niche_UK[user, 0]) & (world.catalogue.second_niche_I == niche_UK[user, 1])
    of_first = (world.niche_I == niche_UK[user, 0]) & (world.catalogue.second_niche_I < 0)
    item = [np.flatnonzero(of_both)[0], np.flatnonzero(of_first)[0]]
    both, first = np.exp(world.appeal(0, np.array([user]), np.array([item])))[0]
    expected = weight_UK[user, :2].sum() / weight_UK[user, 0]
    assert both / first == pytest.approx(expected, rel=0.15)


@fixed(STRAY_SHARE=0.0, RETURN_SHARE=0.0)
def test_users_find_items_of_two_niches_by_either():
    world = small(**CONTROLS["overlapping tastes"], burst_share=0.0, taste_life_days=1e9)
    user, item = organic(world, -10, 0)
    niche = world.tastes(0)[0][user]
    by_first = (world.niche_I[item][:, None] == niche).any(axis=1)
    by_second = (world.catalogue.second_niche_I[item][:, None] == niche).any(axis=1)
    assert (by_first | by_second).all()
    assert (by_second & ~by_first).mean() > 0.1


def information(one, other) -> float:
    """Return the mutual information of two columns of categories, in nats."""
    joint = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(joint, (one, other), 1 / len(one))
    free = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    return float((joint[joint > 0] * np.log(joint[joint > 0] / free[joint > 0])).sum())


def excess_information(world) -> float:
    """Return the information of the topics of the items about their niches, beyond that of shuffled topics."""
    niche, topic = world.niche_I.astype(np.int64), world.topic_I
    chance = np.random.default_rng(0).permutation(topic)
    return information(niche, topic) - information(niche, chance)


def test_topics_tell_nothing_about_niches_where_they_are_others():
    default, weak, other = (excess_information(small(items=20_000, topic_noise=noise)) for noise in (0.0, 0.7, 1.0))
    assert abs(other) < 0.02
    assert 0.1 < weak < default / 3
    assert default > 2


def test_followed_topics_match_saved_niches_only_where_topics_are_the_tastes():
    """A follow is of the topic of a taste; its items are of the taste only in the default world."""

    def lift(world):
        user, item = organic(world, -30, 0)
        follows = np.zeros((world.users, world.config.topics), dtype=np.bool_)
        follows[np.repeat(everybody(world), np.diff(world.followed_offset)), world.followed_topic] = True
        strangers = np.random.default_rng(0).permutation(user)
        return follows[user, world.topic_I[item]].mean() / follows[strangers, world.topic_I[item]].mean()

    assert lift(small()) > 1.5
    assert lift(small(**CONTROLS["other topics"])) == pytest.approx(1, abs=0.1)


@fixed(**PLAIN)
def test_where_topics_are_others_users_still_like_those_that_they_follow_a_little():
    world = small(**CONTROLS["other topics"], informative_follows=1.0)
    user = np.repeat(everybody(world), np.diff(world.followed_offset))
    item = np.arange(0, world.items, 7)
    appeal = world.appeal(0, everybody(world), np.tile(item, (world.users, 1)))
    is_of_followed = np.zeros(appeal.shape, dtype=np.bool_)
    for follower, topic in zip(user, world.followed_topic, strict=True):
        is_of_followed[follower] |= world.topic_I[item] == topic
    assert np.median(appeal[is_of_followed]) > np.median(appeal[~is_of_followed])
