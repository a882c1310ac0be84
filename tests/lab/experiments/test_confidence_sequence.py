"""Confidence sequences hold at any number of looks; the interval of one look does not."""

import numpy as np
import pytest

from multitudes_lab.experiments.confidence_sequence import p_value, radius
from multitudes_lab.experiments.lift import CRITICAL_Z
from tests.lab.experiments import error_rates as errors


@pytest.mark.parametrize("tightest_at", [1_000, 10_000, 500_000])
def test_the_interval_is_tightest_at_the_configured_number_of_users(tightest_at):
    users = np.unique(np.geomspace(tightest_at / 50, tightest_at * 50, 2_000).astype(int))
    # The width falls with the root of the users anyway; what is chosen is that no other ρ is tighter at this number.
    others = [radius(tightest_at, int(n)) for n in users]
    assert users[np.argmin(others)] == pytest.approx(tightest_at, rel=0.05)


def test_the_interval_is_wider_than_that_of_one_look_at_every_number_of_users():
    assert all(radius(n) > CRITICAL_Z + 1 for n in (10, 1_000, 10_000, 10**6, 10**8))


@pytest.mark.parametrize("n", [50, 10_000, 3_000_000])
def test_the_p_value_is_five_percent_where_the_interval_ends_at_zero(n):
    assert p_value(radius(n), n) == pytest.approx(0.05)
    assert p_value(0.0, n) == 1.0
    assert p_value(radius(n) + 0.1, n) < 0.05 < p_value(radius(n) - 0.1, n)


@pytest.mark.slow
def test_repeated_looks_err_at_most_one_time_in_twenty_and_a_repeated_single_look_errs_far_more():
    found = errors.peeking(200, 5_000, seed=1)
    assert found["sequential"].interval(0.9999)[0] <= 0.05
    assert found["one planned look, taken every time"].interval(0.9999)[0] > 0.1  # control


@pytest.mark.slow
@pytest.mark.parametrize("alike", [True, False])
def test_outcomes_that_continue_after_the_exposure_keep_the_error_rate(alike):
    found = errors.peeking_daily(200, 500, seed=1, days=28, alike=alike)
    assert found["sequential"].interval(0.9999)[0] <= 0.05
