"""Linear models against brute force, and in a world of which the answer is known."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multitudes.errors import UsageError
from multitudes.linear import ease_model, item_knn
from multitudes.linear.ease_model import EaseByItems, EaseByUsers, fit_ease
from multitudes.linear.ials import fit_ials
from multitudes.linear.item_knn import fit_item_knn, top_neighbours
from tests.linear.test_ease import closed_form


def weigh(matrix: csr_array, exponent: float) -> NDArray[np.float64]:
    """Return interactions with each row times √n^(−exponent), of mean square 1."""
    dense = matrix.toarray().astype(np.float64)
    weighted = dense * dense.sum(axis=1, keepdims=True).clip(min=1) ** (-exponent / 2)
    return np.asarray(weighted / np.sqrt((weighted[dense > 0] ** 2).mean()))


def weighted_history(users: int, items: int) -> csr_array:
    history = interactions(users, items, seed=1)
    history.data *= np.random.default_rng(2).random(history.nnz, dtype=np.float32)
    return history


def interactions(users: int, items: int, share: float = 0.2, seed: int = 0) -> csr_array:
    dense = (np.random.default_rng(seed).random((users, items + 1)) < share).astype(np.float32)
    dense[:, 0] = 0
    return csr_array(dense)


@pytest.mark.parametrize("exponent", [0.0, 0.5])
@pytest.mark.parametrize(("users", "form"), [(200, EaseByItems), (20, EaseByUsers)])
def test_both_forms_of_ease_score_as_its_weights(users, form, exponent):
    matrix, history = interactions(users, 40), weighted_history(7, 40)
    model = fit_ease(matrix, 7.0, exponent)
    assert isinstance(model, form)
    expected = history.toarray() @ closed_form(csr_array(weigh(matrix, exponent)), 7.0)
    np.testing.assert_allclose(model.scores(history), expected, atol=2e-5)


def test_ease_takes_many_items_if_there_are_few_users(monkeypatch):
    monkeypatch.setattr(ease_model, "MAX_CELLS", 10 * 50)
    assert fit_ease(interactions(10, 50), 1.0).scores(interactions(1, 50)).shape == (1, 51)
    with pytest.raises(UsageError, match="got 11 users and 50 items"):
        fit_ease(interactions(11, 50, share=0.5), 1.0)


@pytest.mark.parametrize(("counts_per_chunk", "exponent"), [(1, 0.0), (40, 0.0), (1 << 24, 0.0), (1 << 24, 0.5)])
def test_item_knn_is_the_shrunk_cosine_of_the_nearest(counts_per_chunk, exponent, monkeypatch):
    monkeypatch.setattr(item_knn, "_COUNTS_PER_CHUNK", counts_per_chunk)
    matrix = interactions(60, 12)
    dense = weigh(matrix, exponent)
    both = dense.T @ dense
    root = np.sqrt(np.diag(both))
    cosine = both / (np.outer(root, root) + 5.0)
    np.fill_diagonal(cosine, 0)
    for row in cosine:
        row[np.argsort(-row, kind="stable")[4:]] = 0
    history = interactions(5, 12, seed=1)
    model = fit_item_knn(matrix, 5.0, neighbours=4, user_exponent=exponent)
    np.testing.assert_allclose(model.scores(history), history.toarray() @ cosine, rtol=1e-5)


def test_ials_reaches_the_minimum_of_its_loss():
    matrix = interactions(30, 20)
    model = fit_ials(matrix, 2.0, 3.0, rank=4, sweeps=300)
    user = model.user_vectors(matrix)
    dense = matrix.toarray().astype(np.float64)
    items = np.zeros((21, 4))
    for item in range(1, 21):  # the exact solution for an item, all users given
        weight = 1 + 3.0 * dense[:, item]
        normal = (user * weight[:, None]).T @ user + 2.0 * np.eye(4)
        items[item] = np.linalg.solve(normal, user.T @ (weight * dense[:, item]))
    np.testing.assert_allclose(model.item_IR, items, atol=1e-3)
    assert np.abs(items).max() > 0.1


def test_users_are_folded_in_by_least_squares_and_equal_neighbours_kept_by_number():
    matrix = interactions(30, 20)
    model = fit_ials(matrix, 2.0, 3.0, rank=4)
    history = weighted_history(3, 20)
    for vector, row in zip(model.user_vectors(history), history.toarray(), strict=True):
        weight = 1 + 3.0 * row
        normal = (model.item_IR * weight[:, None]).T @ model.item_IR + 2.0 * np.eye(4)
        np.testing.assert_allclose(vector, np.linalg.solve(normal, model.item_IR.T @ (weight * (row > 0))), atol=1e-5)
    counts = csr_array((np.ones(4, dtype=np.float32), np.array([3, 1, 2, 0]), np.array([0, 4])), shape=(1, 4))
    assert top_neighbours(counts, 2).indices.tolist() == [0, 1]
    empty = csr_array((2, 21), dtype=np.float32)
    for one in (fit_item_knn(matrix, 1.0), fit_ease(matrix, 1.0), fit_ials(matrix, 1.0, 1.0, rank=4)):
        assert not one.scores(empty).any()
    first, second = (fit_ials(matrix, 1.0, 1.0, rank=4, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.item_IR, second.item_IR)
