"""The world favours no method: gains of several interests or follows come from the tastes, and vanish with them."""

import pytest
from benchmarks.simulate.oracles import head, items_of, popular, saves, several, strayed

from multitudes_lab.simulation.world_config import CONTROLS
from tests.lab.simulation.worlds import small

DAYS = range(3)


def of_tastes(world, niches):
    return sum(saves(world, day, items_of(world, niches(world, day), day)) for day in DAYS)


@pytest.mark.parametrize("saturation", [0.1, 1.0])
def test_with_one_taste_showing_other_niches_never_pays(saturation):
    """However saturated users are with one niche, items they do not like do not help."""
    world = small(**CONTROLS["one taste"], saturation=saturation)
    assert of_tastes(world, strayed) < of_tastes(world, head) == of_tastes(world, several)


def test_with_several_tastes_showing_all_of_them_pays():
    """Control of the test above: the same measure detects a gain if there is one."""
    world = small(burst_share=0.0, saturation=1.0)
    assert of_tastes(world, several) > 1.1 * of_tastes(world, head)


def lift_of_follows(**changed):
    """Return the lift of lists with followed topics over lists without, in one world."""
    world, unfollowed = small(**changed), small(**changed, follows=0.0)
    with_follows, without = (sum(saves(world, day, popular(of, day)) for day in DAYS) for of in (world, unfollowed))
    return with_follows / without - 1


def test_follows_bring_saves_only_if_they_match_tastes():
    assert lift_of_follows() > 0.3
    assert abs(lift_of_follows(**CONTROLS["empty follows"])) < 0.1


def test_arms_that_show_the_same_get_the_same_reactions():
    assert of_tastes(small(), several) == of_tastes(small(), several)
