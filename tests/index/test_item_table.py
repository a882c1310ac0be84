"""The vectors of topics: mapped, or in the cache of recently used ones."""

from pathlib import Path

import numpy as np
import pytest

from multitudes.errors import ArtefactError
from multitudes.index import files, item_table
from multitudes.index.item_table import cache_by_topic, make_item_table
from multitudes.index.protocol import Topics


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


def test_the_vectors_of_topics_lie_in_a_file_unless_they_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    vectors_nD = np.random.default_rng(3).standard_normal((6, 2)).astype(np.float32)
    topics = Topics(np.array([0, 2, 3, 3, 5, 6, 7]), np.array([1, 3, 3, 1, 3, 1, 3]))
    table = make_item_table(np.arange(6), vectors_nD, topics)
    for limit, is_mapped in ((7 * 8, True), (7 * 8 - 1, False)):
        monkeypatch.setattr(item_table, "_CACHE_BYTES", limit)
        (folder := tmp_path / str(limit)).mkdir()
        files.save_segment(folder, table, {"kind": "exact"})
        loaded = files.load_item_table(folder)
        assert loaded.by_topic_MD is not None
        for topic in (1, 2, 3, 4):
            found = loaded.topic_vectors(topic)
            assert found.tolist() == table.topic_vectors(topic).tolist()
            assert np.shares_memory(found, loaded.by_topic_MD) is (is_mapped and len(found) > 0)
    np.save(folder / "topic_vectors.npy", np.zeros((6, 2), np.float32))
    with pytest.raises(ArtefactError, match=r"topic_vectors.npy: has shape \(6, 2\); "):
        files.load_item_table(folder)
