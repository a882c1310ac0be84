"""ELSA: its gradient, and the tastes that EASE of the same rank does not hold."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multitudes.linear import elsa, interactions
from multitudes.linear.ease import EaseSpectrum
from multitudes.linear.elsa import Elsa
from multitudes.linear.history import LinearFactors
from tests.linear.test_ease import random_interactions

TASTES, ITEMS_EACH, RANK = 120, 10, 24


def planted_interactions() -> csr_array:
    """Return interactions of users who have two of more tastes than the rank holds, all of equal strength."""
    draw = np.random.default_rng(0)
    dense = np.zeros((3_000, 1 + TASTES * ITEMS_EACH), dtype=np.float32)
    for row in dense:
        taste = draw.choice(TASTES, 2, replace=False)[draw.integers(0, 2, 10)]
        row[1 + taste * ITEMS_EACH + draw.integers(0, ITEMS_EACH, 10)] = 1
    return csr_array(dense)


def share_of_own_taste(factors: LinearFactors) -> float:
    """Return the share of the items of its taste among the best for each item, as if it were a history."""
    score_II = (factors.input_IR @ factors.output_IR.T)[1:, 1:]
    np.fill_diagonal(score_II, -np.inf)
    taste_I = np.arange(len(score_II)) // ITEMS_EACH
    best_IN = np.argsort(-score_II, axis=1)[:, : ITEMS_EACH - 1]
    return float((taste_I[best_IN] == taste_I[:, None]).mean())


def test_more_tastes_than_dimensions_are_found_and_by_ease_of_the_same_rank_are_not() -> None:
    matrix = planted_interactions()
    assert share_of_own_taste(Elsa(matrix, RANK).factors(0.0)) > 0.9
    ease = max(share_of_own_taste(EaseSpectrum(matrix, RANK).factors(ridge)) for ridge in (1.0, 10.0, 100.0))
    assert ease < 0.6, "control: its rank binds"
    items = np.append(0, 1 + np.random.default_rng(1).permutation(matrix.shape[1] - 1))
    assert share_of_own_taste(Elsa(matrix[:, items], RANK).factors(0.0)) < 0.1, "control: items in another order"


def cosines(matrix: csr_array, vector_IR: NDArray[np.float64]) -> float:
    """Return the sum over the users of cos(x, x B), by matrices of users × items."""
    x_UI = matrix.toarray().astype(np.float64)
    found_UI = x_UI @ (vector_IR @ vector_IR.T) - x_UI
    return float(((x_UI * found_UI).sum(1) / np.linalg.norm(x_UI, axis=1) / np.linalg.norm(found_UI, axis=1)).sum())


def test_the_gradient_is_that_of_the_loss_along_the_sphere() -> None:
    matrix, draw, step = random_interactions(users=40, items=12), np.random.default_rng(0), 1e-4
    matrix = matrix[matrix.sum(axis=1) > 1]
    vector_IR = draw.standard_normal((13, 5))
    vector_IR /= np.linalg.norm(vector_IR, axis=1, keepdims=True)
    vector_IR[0] = 0
    attraction_IR, repulsion_RR = elsa._gradient(matrix, np.arange(matrix.shape[0]), vector_IR.astype(np.float32))
    found_IR = attraction_IR - vector_IR @ repulsion_RR
    for _ in range(5):
        turn_IR = draw.standard_normal((13, 5))
        turn_IR -= (turn_IR * vector_IR).sum(1, keepdims=True) * vector_IR
        turn_IR[0] = 0
        ends = [
            cosines(matrix, one / np.linalg.norm(one, axis=1, keepdims=True).clip(min=1e-9))
            for one in (vector_IR - step * turn_IR, vector_IR + step * turn_IR)
        ]
        assert (found_IR * turn_IR).sum() == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-2, abs=1e-2)


def test_every_item_with_an_interaction_has_a_unit_vector_and_popularity_scales_the_outputs() -> None:
    matrix = csr_array(np.pad(random_interactions(users=30, items=20).toarray(), ((0, 0), (0, 3))))
    count_I = matrix.sum(axis=0)
    alike, scaled = (Elsa(matrix, 6).factors(exponent) for exponent in (0.0, 0.25))
    np.testing.assert_allclose(np.linalg.norm(alike.input_IR, axis=1), count_I > 0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(scaled.output_IR, axis=1), count_I**0.25 * (count_I > 0), rtol=1e-4)


@pytest.mark.parametrize("users", [1, 3, 200])
def test_the_vectors_are_the_same_with_any_number_of_threads(users: int, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, found = random_interactions(users=users), []
    for threads in (1, 3):
        monkeypatch.setattr(interactions, "chosen_threads", lambda n=threads: n)
        found.append(Elsa(matrix, 8).factors(0.0).output_IR)
    np.testing.assert_array_equal(found[0], found[1])
    assert np.isfinite(found).all()
