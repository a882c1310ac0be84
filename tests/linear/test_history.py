"""Sums over the whole history, joined to the vectors of a tower."""

import json

import numpy as np
import pytest

from multitudes.batches.user_vectors import InterestKind, UserVectors
from multitudes.data.own_items import positive_items
from multitudes.errors import ArtefactError
from multitudes.linear.history import HistoryWeights, LinearFactors, LinearHistory
from tests.evaluation.worlds import prepared

RANK, ITEMS = 3, 20


def history(recency: float = 0.0, weight: float = 1.0) -> LinearHistory:
    rng = np.random.default_rng(1)
    factors = LinearFactors(*(rng.standard_normal((ITEMS + 1, RANK)).astype(np.float32) for _ in range(2)))
    for table in factors:
        table[0] = 0
    factors.input_IR[7] = 0  # an item without training events
    return LinearHistory(factors, HistoryWeights(weight=weight, recency=recency))


def tower_vectors(users: int) -> UserVectors:
    kinds: tuple[InterestKind, ...] = ("unconditioned", "implicit", "explicit")
    vectors_BKD = np.random.default_rng(2).standard_normal((users, 3, 5)).astype(np.float32)
    mask_BK = np.ones((users, 3), dtype=np.bool_)
    mask_BK[0, 2] = False
    return UserVectors.alike(kinds, vectors_BKD, mask_BK, history_length=4)


POSITIVES = [np.array([1, 5, 9]), np.array([2, 7]), np.zeros(0, dtype=np.int64), np.array([3, ITEMS + 4])]


def test_a_joined_score_is_the_sum_of_both_scores() -> None:
    linear, vectors = history(0.5, 2.0), tower_vectors(len(POSITIVES))
    item_ID = np.random.default_rng(3).standard_normal((ITEMS + 1, 5)).astype(np.float32)
    joined, joined_items = linear.join_users(vectors, POSITIVES), linear.join_items(item_ID)
    for b, items in enumerate(POSITIVES):
        later = {int(i): len(items) - 1 - place for place, i in enumerate(items) if i <= ITEMS}
        u = sum(((1 + r) ** -0.5 * linear.input_IR[i].astype(np.float64) for i, r in later.items()), np.zeros(RANK))
        for k in range(len(vectors.kinds)):
            expected = item_ID @ vectors.vectors_BKD[b, k] + 2.0 * (linear.output_IR @ u)
            np.testing.assert_allclose(joined_items @ joined.vectors_BKD[b, k], expected, atol=1e-4)
    np.testing.assert_array_equal(joined.mask_BK, vectors.mask_BK)
    np.testing.assert_array_equal(joined.weight_BK, vectors.weight_BK)


def test_items_without_an_input_vector_make_earlier_ones_older_and_later_ones_get_zeros() -> None:
    linear = history(1.0)
    expected = [linear.input_IR[2] / 2, linear.input_IR[3] / 2]
    np.testing.assert_allclose(linear.user_sums([POSITIVES[1], POSITIVES[3]]), expected, rtol=1e-6)
    users = history().user_vectors([*POSITIVES, np.array([7])], history_length=2)
    assert users.mask_BK.ravel().tolist() == [True, True, False, True, False]
    joined = history().join_items(np.ones((ITEMS + 3, 2), dtype=np.float32))
    assert joined.shape == (ITEMS + 3, 2 + RANK)
    assert not joined[ITEMS + 1 :, 2:].any()


def test_a_saved_history_is_opened_as_it_was(tmp_path) -> None:
    linear = history(0.25, weight=1.5)
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
