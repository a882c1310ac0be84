"""Draws are a function of their keys, and pass tests of randomness."""

import numpy as np
import pytest

from multitudes_lab.simulation.draws import exponential, normal, uniform

USERS, ITEMS = np.arange(300), np.arange(400)


def test_a_draw_is_the_same_in_any_order_batch_and_shape_and_depends_on_each_of_its_keys():
    grid = uniform(3, "reaction", 5, USERS[:, None], ITEMS)
    assert grid.shape == (300, 400)
    order = np.random.default_rng(0).permutation(300)
    assert (uniform(3, "reaction", 5, USERS[order, None], ITEMS) == grid[order]).all()
    assert (uniform(3, "reaction", np.full(300, 5), USERS, 7) == grid[:, 7]).all()
    assert uniform(3, "reaction", 5, 20, 7) == grid[20, 7]
    one = uniform(3, "reaction", USERS, 1)
    for other in (uniform(4, "reaction", USERS, 1), uniform(3, "visit", USERS, 1), uniform(3, "reaction", USERS, -1)):
        assert (one != other).all()
    assert (uniform(3, "a", USERS, USERS + 1) != uniform(3, "a", USERS + 1, USERS)).all()


def test_draws_are_uniform_and_neighbours_are_independent():
    grid = uniform(0, "reaction", 5, np.arange(-500, 500)[:, None], np.arange(1000))
    assert 0 <= grid.min() < 1e-5
    assert 1 - 1e-5 < grid.max() < 1
    counts = np.histogram(grid, bins=100, range=(0, 1))[0]
    assert ((counts - 1e4) ** 2 / 1e4).sum() < 160  # χ² with 99 degrees of freedom: 1 in 10,000 is above
    for axis in (0, 1):
        beside = np.corrcoef(np.delete(grid, 0, axis).ravel(), np.delete(grid, -1, axis).ravel())[0, 1]
        assert abs(beside) < 0.005  # five standard errors


def test_normal_and_exponential_have_their_moments():
    keys = np.arange(200_000)
    assert normal(0, "n", keys).mean() == pytest.approx(0, abs=0.01)
    assert normal(0, "n", keys).std() == pytest.approx(1, abs=0.01)
    assert exponential(0, "e", keys).mean() == pytest.approx(1, abs=0.01)
    assert exponential(0, "e", keys).min() >= 0
