"""EASE at a low rank: as the closed form where all eigenvectors fit, and its lists where they do not."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multitudes.linear import ease, interactions
from multitudes.linear.ease import EaseSpectrum
from multitudes.linear.history import LinearFactors
from multitudes.linear.interactions import GramMatrix


def random_interactions(users: int = 200, items: int = 30) -> csr_array:
    dense = (np.random.default_rng(0).random((users, items + 1)) < 0.2).astype(np.float32)
    dense[:, 0] = 0
    return csr_array(dense)


def planted_interactions(users: int = 300, items: int = 400, tastes: int = 20) -> csr_array:
    """Return interactions of users who have two tastes each; popular items of a taste get more."""
    draw = np.random.default_rng(0)
    dense = np.zeros((users, items + 1), dtype=np.float32)
    for row in dense:
        taste = draw.choice(tastes, 2, replace=False)[draw.integers(0, 2, 16)]
        row[1 + taste + tastes * (items // tastes * draw.random(16) ** 2).astype(int)] = 1
    return csr_array(dense)


def closed_form(matrix: csr_array, regularisation: float, normalisation: float = 0.0) -> NDArray[np.float64]:
    """Return B of the items as they are, shape (I + 1, I + 1)."""
    x_UI = matrix.toarray().astype(np.float64)
    user_U, item_I = x_UI.sum(axis=1).clip(min=1), x_UI.sum(axis=0).clip(min=1)
    x_UI /= np.outer(user_U, item_I) ** normalisation
    x_UI /= np.sqrt((x_UI[x_UI > 0] ** 2).mean())
    inverse_II = np.linalg.inv(x_UI.T @ x_UI + regularisation * np.eye(len(item_I)))
    weights_II = np.eye(len(item_I)) - inverse_II / np.diag(inverse_II)
    return np.asarray(weights_II / np.outer(item_I, 1 / item_I) ** normalisation)


def ease_factors(matrix: csr_array, regularisation: float, rank: int, normalisation: float = 0.0) -> LinearFactors:
    return EaseSpectrum(matrix, rank, normalisation).factors(regularisation)


def weights(factors: LinearFactors) -> NDArray[np.float32]:
    return np.asarray(factors.input_IR @ factors.output_IR.T)


def best_error(weights_II: NDArray[np.float64], rank: int) -> float:
    """Return the error of the best approximation of this rank."""
    return float(np.sqrt((np.linalg.svd(weights_II, compute_uv=False)[rank:] ** 2).sum()))


@pytest.mark.parametrize("normalisation", [0.0, 0.25])
def test_factors_of_full_rank_are_the_closed_form(normalisation: float) -> None:
    matrix = random_interactions()
    found = ease_factors(matrix, 7.0, 30, normalisation)
    np.testing.assert_allclose(weights(found), closed_form(matrix, 7.0, normalisation), atol=1e-4)
    assert not np.concatenate([*found], axis=1)[0].any(), "the unknown item"


@pytest.mark.parametrize("users", [12, 200])
def test_factors_are_nearly_the_best_of_their_rank(users: int) -> None:
    matrix = random_interactions(users=users, items=40)
    matrix = csr_array(np.concatenate([matrix.toarray(), np.zeros((3, 41))]).astype(np.float32))  # users without items
    exact_II = closed_form(matrix, 7.0)
    error = np.linalg.norm(exact_II - weights(ease_factors(matrix, 7.0, 5)))
    assert error < 1.02 * best_error(exact_II, 5)
    assert np.linalg.norm(exact_II - weights(ease_factors(matrix, 7.0, 3))) > 1.02 * best_error(exact_II, 5)


def taste_share(matrix: csr_array, taste_I: NDArray[np.int64], rank: int) -> float:
    """Return the share of the space of the tastes, of which each is a direction, that lies within the outputs."""
    taste_IT = np.eye(taste_I.max() + 1)[taste_I] / np.sqrt(np.bincount(taste_I))
    output_IR, _ = np.linalg.qr(ease_factors(matrix, 20.0, rank).output_IR[1:].astype(np.float64))
    return float(np.sum((output_IR.T @ taste_IT) ** 2) / taste_IT.shape[1])


def test_the_tastes_of_a_planted_world_are_recovered() -> None:
    draw, tastes = np.random.default_rng(0), 12
    taste_U, taste_I = draw.integers(0, tastes, 1_500), draw.integers(0, tastes, 300)
    share_UI = np.where(taste_U[:, None] == taste_I, 0.4, 0.01)
    dense_UI = np.pad(draw.random(share_UI.shape) < share_UI, ((0, 0), (1, 0))).astype(np.float32)
    assert taste_share(csr_array(dense_UI), taste_I, tastes) > 0.95
    assert taste_share(csr_array(dense_UI), taste_I, tastes // 3) < 0.4, "control: too low a rank"
    for column_U in dense_UI.T:
        draw.shuffle(column_U)
    assert taste_share(csr_array(dense_UI), taste_I, tastes) < 0.2, "control: users of each item at random"


def test_a_product_with_the_gram_matrix_is_the_same_with_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, products = random_interactions(users=1_000), []
    vectors_IN = np.random.default_rng(1).standard_normal((31, 7), dtype=np.float32)
    for threads in (1, 3):
        monkeypatch.setattr(interactions, "chosen_threads", lambda n=threads: n)
        products.append(GramMatrix(matrix, 0.25) @ vectors_IN)
    np.testing.assert_array_equal(products[0], products[1])
    x_UI = matrix.toarray() / np.outer(matrix.sum(axis=1).clip(min=1), matrix.sum(axis=0).clip(min=1)) ** 0.25
    expected_IN = x_UI.T @ (x_UI @ vectors_IN) / (x_UI[x_UI > 0] ** 2).mean()
    np.testing.assert_allclose(products[0], expected_IN, rtol=1e-3, atol=1e-3)


def top_items(scores_BI: NDArray[np.floating], matrix: csr_array, n: int = 20) -> NDArray[np.int64]:
    scores_BI = np.where(matrix.toarray() > 0, -np.inf, scores_BI)
    return np.argsort(-scores_BI[:, 1:], axis=1)[:, :n]


def common_share(one_BN: NDArray[np.int64], other_BN: NDArray[np.int64]) -> float:
    return float(np.mean([np.isin(one, other).mean() for one, other in zip(one_BN, other_BN, strict=True)]))


@pytest.mark.parametrize("regularisation", [20.0, 100.0])
def test_a_few_eigenvectors_give_the_lists_of_all(regularisation: float, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = planted_interactions()
    monkeypatch.setattr(ease, "EIGENVECTORS", 64)  # of 300
    monkeypatch.setattr(ease, "COLUMNS", 16)
    exact_II = closed_form(matrix, regularisation)
    left_II, value_I, right_II = np.linalg.svd(exact_II)
    cut_II = (left_II[:, :20] * value_I[:20]) @ right_II[:20]
    expected = top_items(matrix @ cut_II, matrix)
    found_II = weights(ease_factors(matrix, regularisation, 20))
    assert np.linalg.norm(exact_II - found_II) < 1.02 * best_error(exact_II, 20)
    assert common_share(top_items(matrix @ found_II, matrix), expected) > 0.9
    rows = matrix.toarray()
    for row in rows:
        np.random.default_rng(0).shuffle(row[1:])  # controls: items in another order, and too low a rank
    shuffled = weights(ease_factors(csr_array(rows[:, ::-1].copy()), regularisation, 20))
    assert common_share(top_items(matrix @ shuffled, matrix), expected) < 0.5
    low = weights(ease_factors(matrix, regularisation, 2))
    assert common_share(top_items(matrix @ low, matrix), expected) < 0.5


def test_one_spectrum_serves_every_regularisation_and_two_items_are_enough() -> None:
    matrix = planted_interactions()
    spectrum = EaseSpectrum(matrix, 5, 0.25)
    for regularisation in (1000.0, 10.0):
        for part, again in zip(
            spectrum.factors(regularisation), ease_factors(matrix, regularisation, 5, 0.25), strict=True
        ):
            np.testing.assert_array_equal(part, again)
    factors = ease_factors(csr_array(np.array([[0, 1, 1], [0, 1, 0]], dtype=np.float32)), 3.0, 64)
    assert weights(factors)[2, 1] == pytest.approx(0.25, abs=1e-5)
    assert factors.output_IR.shape[1] == 2, "as many columns as the data hold"


def test_every_item_of_a_large_corpus_has_a_vector_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "EIGENVECTORS", 8)
    monkeypatch.setattr(ease, "COLUMNS", 8)
    users, items = 20_000, 30_000  # a matrix of either would take more than a GB
    draw = np.random.default_rng(0)
    item = np.sort(draw.integers(1, items + 1, (users, 4)), axis=1)
    matrix = csr_array((np.ones(users * 4, np.float32), item.ravel(), np.arange(users + 1) * 4), (users, items + 1))
    has_interaction = np.bincount(item.ravel(), minlength=items + 1) > 0
    for part in ease_factors(matrix, 100.0, 4):
        assert part.shape == (items + 1, 4)
        np.testing.assert_array_equal(part.any(axis=1), has_interaction)


@pytest.mark.parametrize("rank", [2, 8, 64])
def test_many_equal_eigenvalues_have_factors(rank: int) -> None:
    pairs = np.zeros((40, 41), dtype=np.float32)  # every user has one pair of items, every pair as many users
    pairs[np.arange(40), 1 + 2 * (np.arange(40) % 20)] = pairs[np.arange(40), 2 + 2 * (np.arange(40) % 20)] = 1
    factors = ease_factors(csr_array(pairs), 1.0, rank)
    assert np.isfinite(factors.input_IR).all()
    assert np.isfinite(factors.output_IR).all()
