"""Quality of interests: distinct and collapsed ones."""

import numpy as np
import pytest

from multitudes.metrics import diversity


def test_equal_weights_count_fully_and_overlap_leaves_padding_out():
    weight = np.array([[0.25] * 4, [1, 0, 0, 0], [0, 0, 0, 0]])
    assert diversity.effective_interests(weight) == pytest.approx([4, 1, 0])
    first = np.array([[1, 2, 3, 0], [1, 2, 0, 0], [0, 0, 0, 0]])
    second = np.array([[3, 4, 5, 0], [2, 1, 7, 0], [1, 2, 0, 0]])
    assert diversity.overlap(first, second)[:2].tolist() == [1 / 3, 1]
    assert np.isnan(diversity.overlap(first, second)[2])


def test_collapsed_interests_have_cosine_one_separate_ones_zero_and_one_alone_none():
    same = np.ones((1, 3, 3)) * np.array([1, 2, 5])[:, None]  # the length does not matter
    vectors = np.concatenate([same, np.eye(3)[None]])
    assert diversity.mean_pairwise_cosine(vectors, np.ones((2, 3), dtype=bool)) == pytest.approx([1, 0])
    vectors = np.stack([np.eye(3)[[0, 1, 0]]])
    mask = np.array([[True, True, False]])
    assert diversity.mean_pairwise_cosine(vectors, mask) == pytest.approx([0])
    assert diversity.mean_pairwise_cosine(vectors, np.ones_like(mask)) == pytest.approx([1 / 3])
    assert np.isnan(diversity.mean_pairwise_cosine(np.ones((1, 2, 2)), np.array([[True, False]]))).all()
