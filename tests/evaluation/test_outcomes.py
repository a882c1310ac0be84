"""The measures of one list, counted by hand."""

import numpy as np
import pytest

from multitudes.batches.held_out import held_out_users
from multitudes.evaluation.list_metrics import ItemFacts
from multitudes.evaluation.outcomes import ListKey, hit_rates_by_segment, list_measures, target_measures
from tests.evaluation.worlds import prepared

# Item 1 makes half of the events (head), 2 and 3 the torso, 4, 5 and 6 the tail.
PAST = [[1, 1, 1, 1, 1], [2, 2, 3], [4, 5]]
FUTURE = [[2, 4], [1, 4, 6], [6]]
TOPICS = [[1], [1, 2], [2], [3], [3], [1]]
LISTS = np.array([[4, 3, 0], [1, 6, 2], [1, 2, 3]])  # finds 4; 1 and 6; nothing


@pytest.fixture
def found(tmp_path):
    data = prepared(tmp_path, PAST, FUTURE, TOPICS)
    held, items = held_out_users(data, "test"), ItemFacts.from_prepared(data)
    return list_measures(LISTS, held, items), target_measures(held, items)


def test_hits_and_topics_are_those_of_found_targets_and_hit_rates_those_of_their_class(found):
    measures, targets = found
    assert targets["targets"].tolist() == [2, 3, 1]
    assert measures["hits"].tolist() == [1, 2, 0]
    assert measures["topics"].tolist() == [1, 1, 0]  # 4: topic 3 · 1 and 6: topic 1
    assert measures["candidate_topics"].tolist() == [2, 2, 2]
    assert measures["candidates"].tolist() == [2, 3, 3]
    names = ("head", "torso", "tail")
    assert [targets[f"{name}_targets"].tolist() for name in names] == [[0, 1, 0], [1, 0, 0], [1, 2, 1]]
    assert [measures[f"{name}_hits"].tolist() for name in names] == [[0, 1, 0], [0, 0, 0], [1, 1, 0]]
    parts = hit_rates_by_segment({ListKey("list", 3): measures}, targets, {}, 3, "list")["popularity"]
    rates = {label: part["methods"]["list"]["hr@3"]["mean"] for label, part in parts.items()}
    assert rates == {"head": 1, "torso": 0, "tail": 0.5}
    assert {label: part["users"] for label, part in parts.items()} == {"head": 1, "torso": 1, "tail": 3}
