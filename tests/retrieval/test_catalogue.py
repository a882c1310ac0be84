"""Popular items: their order follows the items that come and go, and some may be left out, however many."""

from typing import Any

import numpy as np
import pytest

from multitudes.errors import UnavailableError
from multitudes.retrieval.catalogue import Catalogue, popular_items
from tests.retrieval.worlds import catalogue


def test_the_popular_order_follows_the_items_that_come_and_go():
    world = catalogue(np.ones((3_000, 8)), counts=np.arange(3_000))  # item 3000 is the most popular
    assert world.items_by_popularity()[:3].tolist() == [3_000, 2_999, 2_998]
    world.index.remove([3_000])
    world.index.add([5_000], np.ones((1, 8)))
    assert world.items_by_popularity()[:2].tolist() == [2_999, 2_998]
    assert world.items_by_popularity()[-2:].tolist() == [1, 5_000], "nobody has seen it; ties by the smaller number"


@pytest.mark.parametrize("left_out", [0, 1, 70, 500, 1_990, 2_000])
@pytest.mark.parametrize("n", [1, 20, 3_000])
def test_popular_items_without_others_are_those_of_a_plain_look_down_the_list(n, left_out):
    rng = np.random.default_rng(left_out)
    world = catalogue(np.ones((2_000, 1)), counts=rng.integers(0, 50, 2_000))
    top = world.items_by_popularity()[:left_out]  # the worst case: just those that would come first
    without = rng.permutation(np.concatenate([top, [0, 5_000]]))  # and numbers that there are none of
    expected = [item for item in world.items_by_popularity().tolist() if item not in set(without.tolist())][:n]
    assert popular_items(world, n, without).tolist() == expected


class Server:
    """An index on a server."""

    is_away = False

    def ids(self):
        if self.is_away:
            raise UnavailableError("no answer within 2 s")
        return np.arange(1, 21)


def test_popular_items_stand_in_for_a_server_that_is_away_and_ask_it_nothing():
    server: Any = Server()
    world = Catalogue(server, np.arange(21))
    server.is_away = True
    assert popular_items(world, 3, np.array([20])).tolist() == [19, 18, 17]
