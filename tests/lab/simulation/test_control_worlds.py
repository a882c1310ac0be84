"""The property that makes each control world: it is there, and not in the default world."""

import numpy as np
import pytest

from multitudes_lab.simulation.world_config import CONTROLS
from tests.lab.simulation.worlds import everybody, organic, small


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
