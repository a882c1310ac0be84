"""Intervals: against known cases, an independent bootstrap, and their own coverage."""

import numpy as np
import pytest

from multitudes.metrics import bootstrap


def one(numerator, denominator, seed=0, resamples=400):
    columns = np.asarray(numerator, dtype=float)[:, None], np.asarray(denominator, dtype=float)[:, None]
    return bootstrap.bootstrap_ratios(*columns, resamples, np.random.default_rng(seed)).interval(0)


def test_the_figure_is_the_ratio_of_sums_and_equal_users_leave_no_uncertainty():
    found = one([1, 0], [1, 9])
    assert found.mean == pytest.approx(1 / 10)
    assert one([2] * 50, [4] * 50) == (0.5, 0.5, 0.5)
    assert np.isnan(one([0, 0], [0, 0])).all()
    assert np.isnan(one([], [])).all()


def test_the_interval_is_that_of_a_plain_bootstrap():
    rng = np.random.default_rng(7)
    targets = rng.integers(1, 6, size=300)
    hits = rng.binomial(targets, 0.3)
    found = one(hits, targets, resamples=4000)
    draws = [hits[i].sum() / targets[i].sum() for i in (rng.integers(300, size=300) for _ in range(4000))]
    assert (found.low, found.high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.003)


def test_nineteen_of_twenty_intervals_contain_the_true_value():
    rng = np.random.default_rng(3)
    worlds = [rng.binomial(1, 0.3, size=200) for _ in range(300)]
    held = [low <= 0.3 <= high for _, low, high in (one(w, np.ones(200), resamples=200) for w in worlds)]
    assert 0.90 <= np.mean(held) <= 0.99


def test_a_paired_difference_is_narrow_where_two_systems_differ_in_a_few_users():
    rng = np.random.default_rng(1)
    first = rng.binomial(1, 0.5, size=400).astype(float)
    second = first.copy()
    second[:12] = 1 - second[:12]
    both = np.stack([first, second], axis=1)
    estimates = bootstrap.bootstrap_ratios(both, np.ones_like(both), 500, np.random.default_rng(0))
    paired, alone = estimates.difference(0, 1), estimates.interval(0)
    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)
    assert paired.mean == pytest.approx(first.mean() - second.mean())


def test_a_difference_to_itself_is_zero_and_of_half_the_hits_certain():
    values = np.random.default_rng(0).random((40, 1))
    estimates = bootstrap.bootstrap_ratios(values, np.ones_like(values), 50, np.random.default_rng(0))
    assert estimates.difference(0, 0) == (0, 0, 0)
    estimates = bootstrap.bootstrap_ratios(
        np.hstack([values, values / 2]), np.ones((40, 2)), 50, np.random.default_rng(0)
    )
    assert estimates.relative(1, 0) == pytest.approx((-0.5, -0.5, -0.5))


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    hits = np.arange(30) % 3 == 0
    assert one(hits, np.ones(30), seed=5) == one(hits, np.ones(30), seed=5)
    assert one(hits, np.ones(30), seed=5) != one(hits, np.ones(30), seed=6)
