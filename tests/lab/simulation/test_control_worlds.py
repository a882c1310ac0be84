"""The property that makes each control world, and that the world favours no method."""

import numpy as np
import pytest
from benchmarks.simulate.oracles import head, items_of, popular, saves, several, stray

from multitudes_lab.simulation.world_config import CONTROLS
from tests.lab.simulation.worlds import everybody, fixed, organic, small


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


DAYS = range(3)


def of_tastes(world, niches):
    return sum(saves(world, day, items_of(world, niches(world, day), day)) for day in DAYS)


@pytest.mark.parametrize("saturation", [0.1, 1.0])
def test_showing_other_niches_pays_with_several_tastes_alone(saturation):
    """However saturated users are with one niche, items they do not like do not help."""
    with fixed(SATURATION=saturation):
        world = small(**CONTROLS["one taste"])
        assert of_tastes(world, stray) < of_tastes(world, head) == of_tastes(world, several)
        world = small(burst_share=0.0)  # control: the same measure detects a gain if there is one
        assert of_tastes(world, several) > 1.1 * of_tastes(world, head)


def lift_of_follows(**changed):
    """Return the lift of lists with followed topics over lists without, in one world."""
    world = small(**changed)
    with fixed(FOLLOWS=0.0):
        unfollowed = small(**changed)
    with_follows, without = (sum(saves(world, day, popular(of, day)) for day in DAYS) for of in (world, unfollowed))
    return with_follows / without - 1


def test_follows_bring_saves_only_if_they_match_tastes():
    assert lift_of_follows() > 0.3
    assert abs(lift_of_follows(**CONTROLS["empty follows"])) < 0.1
