from dataclasses import replace

import numpy as np
import pytest

from multitudes.data import arrays
from multitudes.data.prepared import VALIDATION
from multitudes.linear.popularity import user_counts
from tests.evaluation.worlds import prepared


@pytest.fixture(params=[1, 3, 5_000_000])
def data(tmp_path, request, monkeypatch):
    monkeypatch.setattr(arrays, "BATCH_ROWS", request.param)
    past, future = [[1, 1, 1, 2], [], [3, 1], [2, 3]], [[3], [3], [3], [1]]
    times = [[0, 1, 2, 9, 10], [10], [8, 9, 10], [0, 8, 10]]
    return prepared(tmp_path, past, future, [[1]] * 3, times=[np.array(row) for row in times])


def test_a_user_counts_once_for_an_item_and_only_for_recent_positive_examples(data):
    assert data.item_count.tolist() == [0, 4, 2, 2]
    assert user_counts(data).tolist() == [0, 2, 2, 2]
    last_second = replace(data, manifest=data.manifest | {"recent_s": 1})
    assert user_counts(last_second, recent=True).tolist() == [0, 1, 1, 0]
    assert user_counts(replace(data, manifest=data.manifest | {"recent_s": 2}), recent=True).tolist() == [0, 1, 1, 2]
    weight = data.event_weight.copy()
    weight[0:3] = -1
    assert user_counts(replace(data, event_weight=weight)).tolist() == [0, 1, 2, 2]


def test_validation_events_are_not_counted_and_do_not_move_what_is_recent(data):
    split = data.event_split.copy()
    split[3] = VALIDATION  # the second user of item 2, at second 9
    changed = replace(data, event_split=split)
    assert user_counts(changed).tolist() == [0, 2, 1, 2]
    time = data.event_time.copy()
    time[3] = 50
    later = replace(changed, event_time=time, manifest=data.manifest | {"recent_s": 2})
    assert user_counts(later, recent=True).tolist() == [0, 1, 0, 2], "the last second of training is 9"
