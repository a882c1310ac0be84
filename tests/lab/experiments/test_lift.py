"""Lifts between two arms: the interval against its definition, and how often it is right; see also test_oracle."""

from math import sqrt

import numpy as np
import pytest
from scipy.stats import norm

from multitudes_lab.experiments.lift import CRITICAL_Z, UndefinedLift, estimate_lift
from multitudes_lab.experiments.moments import Moments
from tests.lab.experiments.draws import ALPHA, draw, is_found, lift_of, rates, sums


@pytest.mark.parametrize("seed", range(20))
def test_the_interval_excludes_zero_exactly_if_the_difference_is_significant(seed):
    draws = np.random.default_rng(seed)
    found = lift_of(sums(draws.gamma(1, 1, 200)), sums(draws.gamma(1, 1.25, 200)))
    low, high = found.interval()
    assert (found.p <= 0.05) == (low > 0 or high < 0)
    assert low < found.value < high


def test_the_ends_of_the_interval_are_the_lifts_at_the_edge_of_rejection():
    draws = np.random.default_rng(1)
    control, treatment = draws.gamma(1, 1, 300), draws.gamma(1, 1.2, 300)
    for end in lift_of(sums(control), sums(treatment)).interval():
        scaled = control * (1 + end)
        error = np.sqrt(scaled.var(ddof=1) / 300 + treatment.var(ddof=1) / 300)
        assert abs(treatment.mean() - scaled.mean()) == pytest.approx(CRITICAL_Z * error)


def test_a_control_near_zero_has_an_unbounded_interval_and_a_negative_metric_that_grows_a_positive_lift():
    draws = np.random.default_rng(2)
    assert lift_of(sums(draws.normal(0.01, 1, 100)), sums(draws.normal(2, 1, 100))).interval() == (None, None)
    draws = np.random.default_rng(3)
    found = lift_of(sums(draws.normal(-10, 1, 100)), sums(draws.normal(-9, 1, 100)))
    low, high = found.interval()
    assert 0 < low < found.value == pytest.approx(0.1, abs=0.03)
    assert found.value < high


def test_cuped_keeps_the_lift_and_its_standard_error_is_the_spread_over_experiments():
    plain, adjusted, said = [], [], []
    for seed in range(300):
        draws = np.random.default_rng(seed)
        control, treatment = draw(draws, 500), draw(draws, 500, 0.2)
        plain.append(lift_of(control.sums(), treatment.sums()).value)
        found = lift_of(control.sums(cuped=True), treatment.sums(cuped=True))
        adjusted.append(found.value)
        said.append(found.error)
    assert np.std(adjusted) < 0.9 * np.std(plain)
    assert np.mean(adjusted) == pytest.approx(0.2, abs=0.03)
    assert np.mean(said) == pytest.approx(np.std(adjusted), rel=0.15)


def test_collinear_useless_or_rare_covariates_do_no_harm():
    draws = np.random.default_rng(5)
    before = draws.gamma(1, 1, (2, 500))
    after = before + draws.gamma(1, 1, (2, 500))
    once = lift_of(*(sums(after[arm], before[arm]) for arm in (0, 1)))
    thrice = lift_of(*(sums(after[arm], before[arm], 1e6 * before[arm], np.full(500, 3.0)) for arm in (0, 1)))
    assert thrice.interval() == pytest.approx(once.interval())
    assert once.explained > 0.3
    draws = np.random.default_rng(6)
    few = [np.where(np.arange(20) == 3, value, 0.0) for value in (4.0, 5.0)]
    found = lift_of(*(sums(after, after / 2) for after in few))
    assert found.explained == 0
    assert found.p == lift_of(*map(sums, few)).p
    more = [value + draws.random(20) for value in few]  # control: with noise, the covariate takes most of it off
    assert lift_of(*(sums(after, before) for after, before in zip(more, few, strict=True))).explained > 0.5


@pytest.mark.parametrize(
    ("control", "treatment", "reason"),
    [
        (None, sums(np.arange(9.0)), "too few"),
        (sums(np.ones(1)), sums(np.arange(9.0)), "too few"),
        (sums(np.full(9, 4.0)), sums(np.full(9, 4.0)), "does not vary"),
        (sums(np.zeros(9)), sums(np.zeros(9)), "does not vary"),
        (sums(np.zeros(9)), sums(np.arange(9.0)), "0 for the whole control"),
        (Moments(9, np.array([1.0, 0.0]), np.eye(2)), sums(np.arange(9.0)), "the denominator is 0"),
    ],
)
def test_an_undefined_lift_has_a_reason(control: Moments, treatment: Moments, reason: str):
    found = estimate_lift(control, treatment)
    assert isinstance(found, UndefinedLift)
    assert reason in found.reason


def pair(stream, planted=0.0):
    return draw(stream, 500), draw(stream, 500, planted)


@pytest.mark.slow
def test_false_positives_are_one_in_twenty_and_rows_as_units_err_more():
    def by_rows(control, treatment):
        (saves_c, n_c), (saves_t, n_t) = ((one.saves_B.sum(), one.sessions_B.sum()) for one in (control, treatment))
        share = (saves_c + saves_t) / (n_c + n_t)
        z = (saves_t / n_t - saves_c / n_c) / sqrt(share * (1 - share) * (1 / n_c + 1 / n_t))
        return 2 * norm.sf(abs(z)) <= ALPHA

    def trial(stream):
        arms = pair(stream)
        found = {f"sum, {cuped}": is_found(*(one.sums(cuped=cuped) for one in arms)) for cuped in (False, True)}
        found |= {f"ratio, {cuped}": is_found(*(one.ratio(cuped=cuped) for one in arms)) for cuped in (False, True)}
        return found | {"rows": by_rows(*arms)}

    found = rates(400, trial)
    rows = found.pop("rows")
    assert all(rate.agrees_with(ALPHA) for rate in found.values())
    assert rows.surely_above > ALPHA  # control: sessions of one user are not independent


@pytest.mark.slow
def test_the_interval_covers_the_planted_lift_nineteen_times_in_twenty():
    def covers(*moments):
        low, high = lift_of(*moments).interval()
        return low <= 0.1 <= high

    def trial(stream):
        arms = pair(stream, 0.1)
        found = {f"sum, {cuped}": covers(*(one.sums(cuped=cuped) for one in arms)) for cuped in (False, True)}
        return found | {"ratio": covers(*(one.ratio() for one in arms))}

    assert all(rate.agrees_with(0.95) for rate in rates(400, trial).values())
