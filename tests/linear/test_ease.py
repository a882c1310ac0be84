import numpy as np
import pytest
from scipy.sparse import csr_array

from multitudes.errors import DataError, UsageError
from multitudes.linear import ease
from multitudes.linear.ease import ease_factors, ease_weights, low_rank


def random_interactions(users: int = 200, items: int = 30) -> csr_array:
    dense = (np.random.default_rng(0).random((users, items + 1)) < 0.2).astype(np.float32)
    dense[:, 0] = 0
    return csr_array(dense)


def test_weights_are_the_closed_form() -> None:
    matrix = random_interactions()
    dense = matrix.toarray()[:, 1:].astype(np.float64)
    inverse = np.linalg.inv(dense.T @ dense + 7.0 * np.eye(30))
    expected = np.eye(30) - inverse / np.diag(inverse)
    weights = ease_weights(matrix, 7.0)
    np.testing.assert_allclose(weights[1:, 1:], expected, atol=1e-5)
    assert not weights[0].any()
    assert not weights[:, 0].any()


def test_no_item_explains_itself() -> None:
    assert not np.diagonal(ease_weights(random_interactions(), 1.0)).any()


def test_low_rank_is_the_best_approximation() -> None:
    weights = ease_weights(random_interactions(), 7.0)
    factors = low_rank(weights, 5)
    error = np.linalg.norm(weights - factors.input_IR @ factors.output_IR.T)
    singular = np.linalg.svd(weights, compute_uv=False)
    assert error == pytest.approx(np.sqrt((singular[5:] ** 2).sum()), rel=1e-4)


def test_low_rank_is_the_same_each_time() -> None:
    weights = ease_weights(random_interactions(), 7.0)
    first, second = low_rank(weights, 5), low_rank(weights, 5)
    np.testing.assert_array_equal(first.input_IR, second.input_IR)
    np.testing.assert_array_equal(first.output_IR, second.output_IR)


def test_too_many_items_are_rejected_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "MAX_ITEMS", 29)
    with pytest.raises(UsageError, match="got 30 items"):
        ease_weights(random_interactions(), 1.0)


def test_factors_by_users_are_those_by_items() -> None:
    matrix = random_interactions(users=12, items=40)
    matrix = csr_array(np.concatenate([matrix.toarray(), np.zeros((3, 41))]).astype(np.float32))  # users without items
    expected, found = low_rank(ease_weights(matrix, 7.0), 5), ease_factors(matrix, 7.0, 5)
    product = expected.input_IR @ expected.output_IR.T
    np.testing.assert_allclose(found.input_IR @ found.output_IR.T, product, atol=1e-5)
    np.testing.assert_allclose(found.output_IR, expected.output_IR, atol=1e-4)


@pytest.mark.parametrize("users", [12, 60])  # fewer than items: by users
def test_normalised_factors_are_those_of_the_normalised_matrix(users: int) -> None:
    matrix = random_interactions(users=users, items=40)
    x_UI = matrix.toarray().astype(np.float64)
    user_U, item_I = x_UI.sum(axis=1).clip(min=1), x_UI.sum(axis=0).clip(min=1)
    x_UI /= np.outer(user_U, item_I) ** 0.25
    x_UI /= np.sqrt((x_UI[x_UI > 0] ** 2).mean())
    inverse_II = np.linalg.inv(x_UI.T @ x_UI + 7.0 * np.eye(41))
    weights_II = np.eye(41) - inverse_II / np.diag(inverse_II)
    expected_II = weights_II / np.outer(item_I, 1 / item_I) ** 0.25  # of the items as they are
    found = ease_factors(matrix, 7.0, 40, 0.25)
    np.testing.assert_allclose((found.input_IR @ found.output_IR.T)[1:, 1:], expected_II[1:, 1:], atol=1e-4)


def test_factors_of_many_items_need_few_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "MAX_ITEMS", 29)
    assert ease_factors(random_interactions(users=12, items=40), 1.0, 5).output_IR.shape == (41, 5)
    with pytest.raises(UsageError, match="got 40 items"):
        ease_factors(random_interactions(users=30, items=40), 1.0, 5)


@pytest.mark.parametrize("history", [[[0, 1], [0, 1]], [[0, 1, 0, 0], [0, 0, 1, 0]], [[0, 0, 0]]])
def test_items_without_users_in_common_are_rejected(history: list[list[int]]) -> None:
    with pytest.raises(DataError, match="no user engaged with two items"):
        ease_factors(csr_array(np.array(history, dtype=np.float32)), 1.0, 5)


def test_two_items_are_enough() -> None:
    factors = ease_factors(csr_array(np.array([[0, 1, 1], [0, 1, 0]], dtype=np.float32)), 3.0, 64)
    assert (factors.input_IR @ factors.output_IR.T)[2, 1] == pytest.approx(0.25, abs=1e-5)


@pytest.mark.parametrize("rank", [2, 8, 64])
def test_a_few_items_and_many_equal_singular_values_have_factors(rank: int) -> None:
    pairs = np.zeros((40, 41), dtype=np.float32)  # every user has one pair of items, every pair as many users
    pairs[np.arange(40), 1 + 2 * (np.arange(40) % 20)] = pairs[np.arange(40), 2 + 2 * (np.arange(40) % 20)] = 1
    weights = ease_weights(csr_array(pairs), 1.0)
    factors = low_rank(weights, rank)
    assert np.isfinite(factors.input_IR).all()
    if rank == 64:
        np.testing.assert_allclose(factors.input_IR @ factors.output_IR.T, weights, atol=1e-5)


def test_the_iteration_finds_what_the_dense_decomposition_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = ease_weights(random_interactions(), 7.0)
    dense = low_rank(weights, 5)
    monkeypatch.setattr(ease, "_DENSE_ITEMS", 0)
    iterated = low_rank(weights, 5)
    product = dense.input_IR @ dense.output_IR.T
    np.testing.assert_allclose(iterated.input_IR @ iterated.output_IR.T, product, atol=1e-4)
