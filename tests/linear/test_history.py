"""Sums over the whole history."""

import json

import numpy as np
import pytest

from multitudes.data.own_items import positive_items
from multitudes.errors import ArtefactError
from multitudes.linear.history import HistoryWeights, LinearFactors, LinearHistory
from tests.evaluation.worlds import prepared

RANK, ITEMS = 3, 20


def history(recency: float = 0.0) -> LinearHistory:
    rng = np.random.default_rng(1)
    factors = LinearFactors(*(rng.standard_normal((ITEMS + 1, RANK)).astype(np.float32) for _ in range(2)))
    for table in factors:
        table[0] = 0
    factors.input_IR[7] = 0  # an item without training events
    return LinearHistory(factors, HistoryWeights(recency=recency))


POSITIVES = [np.array([1, 5, 9]), np.array([2, 7]), np.zeros(0, dtype=np.int64), np.array([3, ITEMS + 4])]


def test_items_without_an_input_vector_make_earlier_ones_older_and_give_a_user_no_vector() -> None:
    linear = history(1.0)
    expected = [linear.input_IR[2] / 2, linear.input_IR[3] / 2]
    np.testing.assert_allclose(linear.user_sums([POSITIVES[1], POSITIVES[3]]), expected, rtol=1e-6)
    users = history().user_vectors([*POSITIVES, np.array([7])], history_length=2)
    assert users.mask_BK.ravel().tolist() == [True, True, False, True, False]


def test_a_saved_history_is_opened_as_it_was(tmp_path) -> None:
    linear = history(0.25)
    linear.save(tmp_path)
    opened = LinearHistory.open(tmp_path)
    assert opened.weights == linear.weights
    np.testing.assert_array_equal(opened.input_IR, linear.input_IR)
    np.testing.assert_array_equal(opened.output_IR, linear.output_IR)


@pytest.mark.parametrize("name", ["linear_input.npy", "linear_output.npy", "linear.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_damaged_file_is_named(tmp_path, name, damage) -> None:
    history().save(tmp_path)
    file = tmp_path / name
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:10])
    elif name.endswith("json"):
        file.write_text(json.dumps([1]))
    else:
        np.save(file, np.zeros((3, 2), dtype=np.float32))
    with pytest.raises(ArtefactError, match="train again") as error:
        LinearHistory.open(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_only_events_of_positive_weight_count(tmp_path) -> None:
    data = prepared(tmp_path, [[1, 2, 2], [3]], [[4], [4]], [[1]] * 4)
    data.event_weight[data.event_offset[0]] = 0
    end_B = data.event_offset[:-1] + np.array([3, 1])
    assert [items.tolist() for items in positive_items(data, np.array([0, 1]), end_B)] == [[2], [3]]
