"""What the catalogue adds to an index: sums that the index does not know, and an order that follows its items."""

import numpy as np

from multitudes.index.exact import ExactIndex
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Topics
from multitudes.retrieval.catalogue import Catalogue

ITEMS = 3_000


def world():
    rng = np.random.default_rng(1)
    topics = Topics(np.arange(ITEMS + 1), np.arange(ITEMS) % 2 + 1)
    index = LiveIndex(ExactIndex.build(np.arange(1, ITEMS + 1), rng.standard_normal((ITEMS, 8)), topics))
    return index, rng.standard_normal((40, 8)).astype(np.float32)


def test_the_popular_order_follows_the_items_that_come_and_go():
    index, _ = world()
    catalogue = Catalogue(index, np.concatenate([[0], np.arange(ITEMS)]))  # item 3000 is the most popular
    assert catalogue.items_by_popularity()[:3].tolist() == [3_000, 2_999, 2_998]
    index.remove([3_000])
    index.add([5_000], np.ones((1, 8)))
    assert catalogue.items_by_popularity()[:2].tolist() == [2_999, 2_998]
    assert catalogue.items_by_popularity()[-2:].tolist() == [1, 5_000], (
        "nobody has seen it yet; ties by the smaller number"
    )
