"""The most popular items without some others, however deep in the list the next ones stand."""

import numpy as np
import pytest

from multitudes.retrieval.catalogue import popular_items
from tests.retrieval.worlds import catalogue

ITEMS = 2_000


@pytest.mark.parametrize("left_out", [0, 1, 70, 500, 1_990, ITEMS])
@pytest.mark.parametrize("n", [1, 20, 3_000])
def test_as_a_plain_look_down_the_list_would_have_it(n, left_out):
    rng = np.random.default_rng(left_out)
    world = catalogue(np.ones((ITEMS, 1)), counts=rng.integers(0, 50, ITEMS))
    top = world.items_by_popularity()[:left_out]  # the worst case: just those that would come first
    without = rng.permutation(np.concatenate([top, [0, 5_000]]))  # and numbers that there are none of
    expected = [item for item in world.items_by_popularity().tolist() if item not in set(without.tolist())][:n]
    assert popular_items(world, n, without).tolist() == expected
