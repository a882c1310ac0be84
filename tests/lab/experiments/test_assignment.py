"""The test for sample ratio mismatch: it rejects arms that are not as large as planned, and only those."""

import numpy as np

from multitudes_lab.experiments.assignment import check_sample_ratio
from multitudes_lab.experiments.lift import Lift, estimate_lift
from multitudes_lab.experiments.moments import user_moments
from tests.lab.experiments import error_rates as errors


def test_a_mismatch_of_half_a_percent_is_detected_at_a_million_users_and_equal_arms_pass():
    assert errors.ratios(50, 1_000_000, 0, 0.505).found == 50
    assert errors.ratios(50, 1_000_000, 0, 0.5).found <= 1
    assert not check_sample_ratio({"control": 505_000, "treatment": 495_000}, {"control": 1, "treatment": 1}).ok


def test_control_the_lift_alone_does_not_reveal_arms_that_lost_users():
    """Control: no other figure of the experiment reveals it."""
    draws = np.random.default_rng(0)
    arms = [draws.poisson(1.0, n).astype(float) for n in (505_000, 495_000)]
    found = estimate_lift(*(user_moments(np.stack([saves, np.ones(len(saves))], axis=1)) for saves in arms))
    assert isinstance(found, Lift)
    assert found.p > 0.05
    assert not check_sample_ratio({"control": 505_000, "treatment": 495_000}, {"control": 1, "treatment": 1}).ok


def test_uneven_arms_pass_if_the_plan_is_uneven():
    assert check_sample_ratio({"control": 9_020, "new": 980}, {"control": 90, "new": 10}).ok
    assert not check_sample_ratio({"control": 9_020, "new": 980}, {"control": 1, "new": 1}).ok
