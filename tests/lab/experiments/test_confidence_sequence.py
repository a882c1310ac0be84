"""Confidence sequences hold at any number of looks; the interval of one look does not."""

import numpy as np
import pytest

from multitudes_lab.experiments.confidence_sequence import p_value, radius
from multitudes_lab.experiments.lift import CRITICAL_Z
from multitudes_lab.experiments.moments import Moments
from tests.lab.experiments.draws import draw, lift_of, looks, rates, sums


@pytest.mark.parametrize("tightest_at", [1_000, 10_000, 500_000])
def test_the_interval_is_tightest_at_the_configured_number_of_users(tightest_at):
    users = np.unique(np.geomspace(tightest_at / 50, tightest_at * 50, 2_000).astype(int))
    # The width falls with the root of the users anyway; what is chosen is that no other ρ is tighter at this number.
    others = [radius(tightest_at, int(n)) for n in users]
    assert users[np.argmin(others)] == pytest.approx(tightest_at, rel=0.05)


@pytest.mark.parametrize("n", [50, 10_000, 3_000_000])
def test_the_p_value_is_five_percent_where_the_interval_ends_at_zero_beyond_that_of_one_look(n):
    assert p_value(radius(n), n) == pytest.approx(0.05)
    assert p_value(0.0, n) == 1.0
    assert p_value(radius(n) + 0.1, n) < 0.05 < p_value(radius(n) - 0.1, n)
    assert radius(n) > CRITICAL_Z + 1


@pytest.mark.slow
def test_repeated_looks_err_at_most_one_time_in_twenty_and_a_repeated_single_look_errs_far_more():
    """Users arrive one by one, and nothing differs."""
    upto = np.arange(500, 5_001, 100)

    def moments(value_B, mine_B):
        columns = mine_B.astype(np.float64), mine_B * value_B, mine_B * value_B**2
        for n, total, square in np.cumsum(columns, axis=1)[:, upto - 1].T:
            variance = (square - total**2 / n) / (n - 1)
            yield Moments(int(n), np.array([total / n, 1.0]), np.diag([variance, 0.0]))

    def trial(stream):
        saves_B, treated_B = draw(stream, 5_000).saves_B, stream.random(5_000) < 0.5
        return looks(list(map(lift_of, moments(saves_B, ~treated_B), moments(saves_B, treated_B))))

    found = rates(200, trial)
    assert found["sequential"].surely_above <= 0.05
    assert found["one planned look, taken every time"].surely_above > 0.1  # control


@pytest.mark.slow
@pytest.mark.parametrize("alike", [True, False])
def test_outcomes_that_continue_after_the_exposure_keep_the_error_rate(alike):
    """All users are there on the first day. If all have the same rate, days are independent: the worst case."""

    def trial(stream):
        rate_B = np.ones(500) if alike else stream.gamma(0.5, 2.0, 500)
        treated_B = stream.random(500) < 0.5
        total_LB = stream.poisson(rate_B, (28, 500)).cumsum(axis=0).astype(np.float64)
        return looks([lift_of(sums(total_B[~treated_B]), sums(total_B[treated_B])) for total_B in total_LB])

    assert rates(200, trial)["sequential"].surely_above <= 0.05
