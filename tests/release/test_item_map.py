"""The map of the items: near vectors lie near each other, whether they were laid out or asked for later."""

import numpy as np
import pytest

from multitudes.index.exact import ExactIndex
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Topics
from multitudes.release import item_map
from multitudes.release.item_map import ItemMap, lay_out_items, lay_out_vectors, name_regions, open_item_map
from multitudes.release.release import Release

GROUPS, SIZE = 6, 40


def grouped_vectors() -> np.ndarray:
    """Return groups of vectors of the same direction, up to noise and length."""
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(GROUPS, 16))
    vectors = np.repeat(centre, SIZE, axis=0) + 0.3 * rng.normal(size=(GROUPS * SIZE, 16))
    return (vectors * rng.uniform(0.5, 2, (len(vectors), 1))).astype(np.float32)


def share_of_own_group(position: np.ndarray, group: np.ndarray) -> float:
    distance = ((position[:, None] - position) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    near = distance.argsort(axis=1)[:, :10]
    return float((group[near] == group[:, None]).mean())


def test_items_of_a_group_lie_together_within_the_map():
    group = np.repeat(np.arange(GROUPS), SIZE)
    position = lay_out_vectors(grouped_vectors())
    assert position.min() >= 0
    assert position.max() <= 1
    assert share_of_own_group(position, group) > 0.95
    shuffled = np.random.default_rng(2).permutation(group)
    assert share_of_own_group(position, shuffled) < 0.4, "the control: random groups do not"
    assert np.array_equal(position, lay_out_vectors(grouped_vectors()))


@pytest.mark.parametrize(("items", "width"), [(0, 4), (1, 4), (3, 1), (11, 2)])
def test_a_map_of_few_items_is_finite(items, width):
    position = lay_out_vectors(np.random.default_rng(1).normal(size=(items, width)).astype(np.float32))
    assert position.shape == (items, 2)
    assert np.isfinite(position).all()
    assert np.isfinite(lay_out_vectors(np.zeros((items, width), dtype=np.float32))).all()


def test_an_item_that_was_not_laid_out_lies_among_its_neighbours(monkeypatch):
    monkeypatch.setattr(item_map, "MAX_MAP_ITEMS", GROUPS * SIZE - GROUPS)
    vectors = grouped_vectors()
    ids = np.arange(1, len(vectors) + 1)
    index = LiveIndex(ExactIndex.build(ids, vectors, Topics(np.zeros(len(ids) + 1, dtype=int), np.zeros(0, dtype=int))))
    last = ids % SIZE == 1  # one item of each group is the least popular
    count = np.concatenate([[0], np.where(last, 1, 5)])
    item, position = lay_out_items(index, count)
    assert not np.isin(ids[last], item).any()
    laid_out = ItemMap(item, position, vectors[item - 1] / np.linalg.norm(vectors[item - 1], axis=1, keepdims=True))
    for number in ids[last].tolist():
        (place,) = laid_out.positions(index, np.array([number]))
        nearest = item[((position - place) ** 2).sum(axis=1).argmin()]
        assert (nearest - 1) // SIZE == (number - 1) // SIZE
    assert np.isnan(laid_out.positions(index, np.array([10_000]))).all()


def test_a_release_without_a_map_is_laid_out_when_it_is_explored(shared_releases):
    release = Release.open(shared_releases)
    assert release.map_item is None
    opened = open_item_map(release)
    assert opened.item_S.tolist() == list(range(1, 21))
    assert share_of_own_group(opened.position_S2, np.repeat([0, 1], 10)) > 0.7


def test_a_topic_names_the_part_of_the_map_where_its_items_gather_and_a_topic_of_all_parts_names_none():
    rng = np.random.default_rng(0)
    position_S2 = np.repeat([[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]], 100, axis=0) + rng.normal(0, 0.02, (300, 2))
    topic_S = np.repeat([1, 2, 3], 100)
    topics = Topics(np.arange(0, 601, 2), np.stack([topic_S, np.full(300, 4)], axis=1).ravel())
    regions = name_regions(position_S2.astype(np.float32), topics, 4)
    assert sorted((topic, round(x, 1), round(y, 1)) for topic, x, y in regions) == [
        (1, 0.1, 0.1),
        (2, 0.9, 0.1),
        (3, 0.5, 0.9),
    ]
    shuffled = topics._replace(topic=topics.topic.reshape(300, 2)[rng.permutation(300)].ravel())
    assert len(name_regions(position_S2.astype(np.float32), shuffled, 4)) == 0
    assert name_regions(np.zeros((0, 2), dtype=np.float32), Topics(np.zeros(1, int), np.zeros(0, int)), 0) == []
