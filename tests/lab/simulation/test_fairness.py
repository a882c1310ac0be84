"""The world favours no method: gains of several interests or follows come from the tastes, and vanish with them."""

import pytest
from benchmarks.simulate.oracles import head, items_of, popular, saves, several, strayed

from multitudes_lab.simulation.world_config import CONTROLS
from tests.lab.simulation.worlds import fixed, small

DAYS = range(3)


def of_tastes(world, niches):
    return sum(saves(world, day, items_of(world, niches(world, day), day)) for day in DAYS)


@pytest.mark.parametrize("saturation", [0.1, 1.0])
def test_showing_other_niches_pays_with_several_tastes_alone(saturation):
    """However saturated users are with one niche, items they do not like do not help."""
    with fixed(SATURATION=saturation):
        world = small(**CONTROLS["one taste"])
        assert of_tastes(world, strayed) < of_tastes(world, head) == of_tastes(world, several)
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
