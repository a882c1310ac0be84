from itertools import pairwise

import numpy as np
import pytest
from benchmarks.index import changes, clock, requests
from benchmarks.index.corpus import VECTORS_PER_USER
from benchmarks.index.world import CASES, World, first_distinct, make, topic_of

from multitudes.index.exact import ExactIndex
from multitudes.index.live import LiveIndex

USERS, ITEMS = 8, 3_000


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    assert make(str(folder), "latent", ITEMS, 16, USERS, related=True)["topics"] == 4 * len(CASES)
    return World.open(folder)


@pytest.fixture(scope="module")
def index(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exact")
    LiveIndex(ExactIndex.build(world.ids(), world.item_nD, world.topics())).save(folder)
    return folder


def test_topics_have_their_sizes_and_correlated_ones_lie_near_somebody(world):
    topic_M = world.topics().topic
    size_T = np.bincount(topic_M)
    for case, (share, _) in CASES.items():
        assert {size_T[topic_of(case, user)] for user in range(USERS)} == {round(share * ITEMS)}
    rows = np.repeat(np.arange(ITEMS), np.diff(world.topics().offset))
    middle = {t: np.linalg.norm(world.item_nD[rows[topic_M == t]].mean(axis=0)) for t in np.unique(topic_M).tolist()}
    assert middle[topic_of("1 % correlated", 0)] > 3 * middle[topic_of("1 %", 0)]


def test_the_best_within_a_topic_belong_to_it(world):
    topics = world.topics()
    for case in CASES:
        for user, best_KM in enumerate(world.topic_best(case)):
            for item in best_KM[0, :5].tolist():
                assert topic_of(case, user) in topics.topic[topics.offset[item - 1] : topics.offset[item]]


def test_the_first_distinct_go_by_their_best_rank():
    assert first_distinct(np.array([[1, 2, 3], [4, 1, 5]]), 4).tolist() == [1, 4, 2, 3]


def test_the_exact_index_finds_all_that_is_wanted_in_every_way_of_asking(world, index):
    places = requests.shared_limits()
    assert (int(places.sum()), len(places), int(np.ptp(places))) == (200, VECTORS_PER_USER, 1)
    where = (str(world.folder), str(index), "exact", USERS, 2)
    found = requests.measure(*where) | requests.measure_topics(*where)
    assert len(found) == 10 + 2 * len(CASES)
    for way, figures in found.items():
        assert (way, figures["recall"], figures["short"]) == (way, pytest.approx(1, abs=0.002), 0)
        assert set(figures["ms"]) == {"p50", "p90", "p99"}


def test_an_index_that_lacks_half_finds_half_and_goes_short_in_small_topics(world, index, tmp_path):
    half = world.ids()[::2]
    offset, topic = world.topics()
    kept = np.repeat(np.arange(ITEMS) % 2 == 0, np.diff(offset))
    length_n = np.diff(offset)[::2]
    topics = (np.concatenate([[0], np.cumsum(length_n)]), topic[kept])
    LiveIndex(ExactIndex.build(half, world.item_nD[::2], type(world.topics())(*topics))).save(tmp_path)
    where = (str(world.folder), str(tmp_path), "exact", USERS, 1)
    assert 0.35 < requests.measure(*where)[requests.IN_FULL]["recall"] < 0.65
    assert requests.measure_topics(*where)["0.1 %"]["short"] > 0


def test_what_is_best_after_changes_has_the_new_and_lacks_the_gone(world):
    nearest = world.best_of(3)[0, :2]
    copy_nD = world.user_BKD[3, :1]
    answer = changes.best_after(world, 3, nearest[:1], copy_nD)[0].tolist()
    assert answer[:2] == [ITEMS + 1, nearest[1]]


def test_each_way_asks_every_user_and_no_user_twice_in_a_row():
    asked: list[tuple[str, int]] = []

    def way(name):
        def ask(user):
            asked.append((name, user))
            return np.zeros((1, 0), dtype=np.int64)

        return ask

    found = clock.time_ways({"a": way("a"), "b": way("b")}, 50, rounds=2)
    counted = asked[2 * 20 :]  # behind the warm-up
    for name in ("a", "b"):
        assert sorted(user for which, user in counted if which == name) == sorted([*range(50)] * 2)
        assert found[name].wall_RB.shape == (2, 50)
        assert (found[name].wall_RB > 0).all()
    assert all(one[1] != other[1] for one, other in pairwise(counted))
