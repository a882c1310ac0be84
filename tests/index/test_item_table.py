"""The cache of recently used topics."""

import numpy as np

from multitudes.index.item_table import cache_by_topic


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
