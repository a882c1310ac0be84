"""Posting lists, and the cache of recently used topics."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from multitudes.index.item_table import cache_by_topic, make_postings
from tests.index.worlds import csr

some_topics = st.lists(st.lists(st.sampled_from([1, 2, 3, 2**62]), max_size=4), max_size=12)


@given(topics_n=some_topics, seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_topics_of_items_become_ascending_rows_of_topics_and_come_back(topics_n: list[list[int]], seed: int):
    row_n = np.random.default_rng(seed).permutation(len(topics_n))
    lists = make_postings(csr(topics_n), row_n)
    for topic in (1, 2, 3, 4, 2**62):
        expected = sorted(int(row) for row, topics in zip(row_n, topics_n, strict=True) if topic in topics)
        assert lists.rows(topic).tolist() == expected
    back = lists.topics(len(topics_n))
    for item, row in enumerate(row_n.tolist()):
        assert back.topic[back.offset[row] : back.offset[row + 1]].tolist() == sorted(set(topics_n[item]))


def test_recently_used_topics_are_cached_within_the_budget():
    made: list[int] = []

    def make(topic: int) -> np.ndarray:
        made.append(topic)
        return np.full(topic, topic, dtype=np.int8)

    kept = cache_by_topic(make, max_bytes=10)
    for topic in (4, 5, 4, 5, 6, 4, 11, 11):
        assert kept(topic).tolist() == [topic] * topic
    # 6 takes the place of 4, then 4 that of 5; 11 is larger than the budget, so nothing gives way to it.
    assert made == [4, 5, 6, 4, 11, 11]
    assert kept(6).tolist() == [6] * 6
    assert made == [4, 5, 6, 4, 11, 11]
