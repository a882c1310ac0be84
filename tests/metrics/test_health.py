"""Health of interests: worlds in which they are alive, and worlds in which they have collapsed."""

import numpy as np
import pytest

from multitudes.metrics import interests


def test_equal_weights_count_fully_and_one_heavy_weight_counts_once():
    weight = np.array([[0.25] * 4, [1, 0, 0, 0], [0, 0, 0, 0]])
    assert interests.effective_interests(weight) == pytest.approx([4, 1, 0])


def test_collapsed_interests_have_cosine_one_and_separate_ones_zero():
    same = np.ones((1, 3, 3)) * np.array([1, 2, 5])[:, None]  # the length does not matter
    vectors = np.concatenate([same, np.eye(3)[None]])
    assert interests.mean_pairwise_cosine(vectors, np.ones((2, 3), dtype=bool)) == pytest.approx([1, 0])


def test_a_masked_vector_takes_no_part_in_the_cosine():
    vectors = np.stack([np.eye(3)[[0, 1, 0]]])
    mask = np.array([[True, True, False]])
    assert interests.mean_pairwise_cosine(vectors, mask) == pytest.approx([0])
    assert interests.mean_pairwise_cosine(vectors, np.ones_like(mask)) == pytest.approx([1 / 3])


def test_one_interest_alone_has_no_cosine():
    assert np.isnan(interests.mean_pairwise_cosine(np.ones((1, 2, 2)), np.array([[True, False]]))).all()


def test_overlap_counts_items_in_both_lists_and_no_padding():
    first = np.array([[1, 2, 3, 0], [1, 2, 0, 0], [0, 0, 0, 0]])
    second = np.array([[3, 4, 5, 0], [2, 1, 7, 0], [1, 2, 0, 0]])
    assert interests.overlap(first, second)[:2].tolist() == [1 / 3, 1]
    assert np.isnan(interests.overlap(first, second)[2])
