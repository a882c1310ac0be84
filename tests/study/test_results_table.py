"""The segments of the users of a study."""

import numpy as np

from multitudes.batches.held_out import held_out_users
from multitudes.study.results_table import effective_topics, segment_users, tercile_labels
from tests.evaluation.worlds import prepared

TOPICS = [[1], [2], [3], [4], []]  # of items 1 to 5; item 5 has none


def world(folder, past, **more):
    return prepared(folder, past, future=[[4]] * len(past), topics=TOPICS, **more)


def test_topics_names_buckets_and_activity_of_users_are_counted(tmp_path):
    data = world(tmp_path, [[1, 1, 1], [1, 2], [1, 1, 1, 1, 1, 1, 1, 1, 1, 2], [5], [1, 2, 3]])
    one, two, hardly_two, none, three = effective_topics(data, held_out_users(data, "test"))
    assert (one, two, none, three) == (1, 2, 0, 3)
    assert 1 < hardly_two < 1.5
    day = 86_400
    times = [[0, 1, 100 * day], [*(n * day for n in range(95, 100)), 100 * day]]
    found = segment_users(world(tmp_path, [[1, 1], [1, 2, 1, 2, 5]], times=times), "test")
    assert found.rows() == [("100", "casual", "1-9", "1.0-1.0"), ("101", "core", "1-9", "2.0-2.0")]
    found = segment_users(world(tmp_path, [[1, 2]], ordered_only=True), "test")
    assert found["activity"].to_list() == [None]
    assert found["tastes"].to_list() == ["2.0-2.0"]


def test_tastes_part_the_users_into_thirds_of_their_own_data_set():
    expected = "8.0-9.0 1.0-2.0 1.0-2.0 3.0-7.0 8.0-9.0 3.0-7.0"
    assert tercile_labels(np.array([9.0, 1, 2, 3, 8, 7])) == expected.split()
    assert set(tercile_labels(np.array([1.0] * 7 + [4.0]))) == {"1.0-1.0", "4.0-4.0"}, "equal users stay together"
    assert tercile_labels(np.empty(0)) == []
