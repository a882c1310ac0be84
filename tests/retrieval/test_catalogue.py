"""What the catalogue adds to an index: sums that the index does not know, and an order that follows its items."""

import numpy as np

from multitudes.index.exact import ExactIndex
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import ANY_TOPIC, Topics
from multitudes.retrieval.catalogue import Catalogue

ITEMS = 3_000


def world():
    rng = np.random.default_rng(1)
    topics = Topics(np.arange(ITEMS + 1), np.arange(ITEMS) % 2 + 1)
    index = LiveIndex(ExactIndex.build(np.arange(1, ITEMS + 1), rng.standard_normal((ITEMS, 8)), topics))
    return index, rng.standard_normal((40, 8)).astype(np.float32)


def test_only_the_sums_that_are_not_known_are_estimated_each_over_its_own_topic():
    index, queries = world()
    topic_Q = np.arange(40) % 3  # 0 is any topic
    assert ANY_TOPIC == 0
    hits = index.search(queries, 50, topic_Q=topic_Q, log_sums=True)
    exact = hits.log_sum_Q
    assert exact is not None
    forgotten = np.where(np.arange(40) < 30, np.nan, exact + 7).astype(np.float32)  # the last ten as no estimate is
    catalogue = Catalogue(index, np.zeros(ITEMS + 1, dtype=np.int64))
    found = catalogue.log_sums(queries, topic_Q, hits._replace(log_sum_Q=forgotten))
    np.testing.assert_allclose(found[:30], exact[:30], rtol=1e-5, err_msg="the sample holds every item")
    assert (found[30:] == exact[30:] + 7).all()
    # The control: a sum over all items is another than that of a topic.
    everything = index.search(queries, 50, log_sums=True).log_sum_Q
    assert everything is not None
    assert np.abs(found - everything)[:30][topic_Q[:30] > 0].min() > 0.1


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


def test_excluded_items_count_in_a_sum_and_those_that_the_index_does_not_hold_do_not():
    rng = np.random.default_rng(2)
    vectors, queries = rng.standard_normal((20_000, 8)), rng.standard_normal((6, 8)).astype(np.float32)
    index = LiveIndex(ExactIndex.build(np.arange(1, 20_001), vectors))
    catalogue = Catalogue(index, np.zeros(20_001, dtype=np.int64))
    excluded = [index.search(queries[:1], 100).ids(0), np.array([30_000, 7, 7])]
    excluded_Q = [excluded[q // 3] for q in range(6)]  # two users
    topic_Q = np.full(6, ANY_TOPIC)
    hits = index.search(queries, 100, excluded=excluded_Q, log_sums=True)
    exact = hits.log_sum_Q
    assert exact is not None
    forgotten = hits._replace(log_sum_Q=np.full(6, np.nan, np.float32))
    found = catalogue.log_sums(queries, topic_Q, forgotten, excluded_Q)
    assert np.abs(found - exact).max() < 0.07
    assert np.abs(catalogue.log_sums(queries, topic_Q, forgotten) - exact).max() > 0.1, "the control"


def test_what_is_excluded_does_not_count_in_the_sum_of_another_topic():
    index, queries = world()
    catalogue, topic_Q = Catalogue(index, np.zeros(ITEMS + 1, dtype=np.int64)), np.full(40, 2)
    excluded = [np.arange(1, 401)] * 40  # half of them have the topic
    hits = index.search(queries, 50, excluded=excluded, topic_Q=topic_Q, log_sums=True)
    exact = hits.log_sum_Q
    assert exact is not None
    forgotten = hits._replace(log_sum_Q=np.full(40, np.nan, np.float32))
    np.testing.assert_allclose(catalogue.log_sums(queries, topic_Q, forgotten, excluded), exact, rtol=1e-5)
