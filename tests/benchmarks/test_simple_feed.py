"""The feed of the calibration: popular items and those of followed topics, none twice, learned from nobody."""

import numpy as np
from benchmarks.simulate.calibration import gini
from benchmarks.simulate.simple_feed import simulate_feed

from tests.lab.simulation.worlds import small


def test_a_run_is_a_function_of_the_world_and_the_feed_adds_to_the_past():
    world = small(users=600)
    events = simulate_feed(world, past=10, days=3)
    assert events.equals(simulate_feed(world, past=10, days=3))
    assert events["timestamp"].is_sorted()
    alone = simulate_feed(world, past=13, days=0)
    assert len(events) != len(alone)
    assert 0 < gini(np.bincount(events["item_id"])) < 1
