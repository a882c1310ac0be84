"""The world keeps its promises, each beside a control without what is promised."""

import numpy as np

from multitudes.simulate.world import World
from multitudes.simulate.world_config import WorldConfig

SMALL = WorldConfig(users=400, items=600, topics=10, niches=30)


def test_the_same_configuration_is_the_same_world_and_batches_do_not_matter():
    one, other = World(SMALL), World(SMALL)
    everybody, items = np.arange(400), np.arange(400 * 20).reshape(400, 20) % 600
    appeal = one.appeal(3, everybody, items)
    action = one.react(3, everybody, items, appeal, np.zeros_like(items))
    half = everybody[::-2]
    np.testing.assert_array_equal(other.appeal(3, half, items[half]), appeal[half])
    assert (other.react(3, half, items[half], appeal[half], np.zeros_like(items[half])) == action[half]).all()
    for given, again in zip(one.organic(3), other.organic(3), strict=True):
        np.testing.assert_array_equal(given, again)
    assert one.items_table(3).equals(other.items_table(3))
    assert one.users_table().equals(other.users_table())
    assert not World(SMALL.model_copy(update={"seed": 1})).users_table().equals(one.users_table())
