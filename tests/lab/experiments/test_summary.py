"""The sentences about given figures."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from multitudes_lab.experiments.assignment import check_sample_ratio
from multitudes_lab.experiments.comparison import Comparison, compare_family, heterogeneity_p_value, novelty_trend
from multitudes_lab.experiments.config import ReadoutConfig
from multitudes_lab.experiments.lift import Lift, estimate_lift
from multitudes_lab.experiments.moments import Moments
from multitudes_lab.experiments.readout import Readout
from multitudes_lab.experiments.summary import conclusion, detectable_lift, verdict

ARMS = {"control": 1, "treatment": 1}


def lift(value: float, z: float, n: int = 10_000) -> Lift:
    """Return a lift that is ``z`` standard errors from zero."""
    variance = (value / z) ** 2 / 2 * n
    arms = (Moments(n, np.array([mean, 1.0]), np.diag([variance, 0.0])) for mean in (1.0, 1.0 + value))
    found = estimate_lift(*arms)
    assert isinstance(found, Lift)
    return found


def one(value: float, z: float) -> Any:
    return compare_family({0: lift(value, z)}, 10_000)[0]


def said(*, users=10_000, metrics=None, cohorts=None, days=None) -> str:
    return "\n".join(
        verdict(
            Readout(
                control="control",
                sample_ratio=check_sample_ratio({"control": 10_000, "treatment": users}, ARMS),
                metrics=metrics or {},
                cohorts=cohorts or {},
                days=days or {},
                covariates={},
                winsorised={},
                repairs={},
                warnings=[],
                first=0,
                last=1,
                settings=ReadoutConfig(),
            )
        )
    )


@pytest.mark.parametrize(
    ("z", "words"),
    [(5.0, "up, at any look"), (-5.0, "down, at any look"), (2.5, "up, if planned"), (1.0, "not significant")],
)
def test_a_metric_is_up_down_or_not_significant(z, words):
    assert conclusion(one(0.1 * np.sign(z), abs(z))) == words


def test_a_lift_of_2_8_standard_errors_is_detected_four_times_in_five():
    found = one(0.01, 1.0)
    assert norm.sf(norm.ppf(0.975) - detectable_lift(found) / found.error) == pytest.approx(0.8)


def test_a_sample_ratio_mismatch_comes_first():
    fading = {(day, day + 1): {"saves": {"treatment": one(0.3 / (1 + day), 6 / (1 + day))}} for day in range(7)}
    mismatch = said(users=11_000, metrics={"saves": {"treatment": one(0.1, 5)}}, days=fading)
    assert mismatch.startswith("Sample ratio mismatch: do not trust")
    assert "Sample ratio" not in said(metrics={"saves": {"treatment": one(0.1, 5)}})


def test_many_comparisons_need_stronger_evidence_than_one():
    alone = compare_family({0: lift(0.1, 2.2)}, 10_000)
    among = compare_family(
        {key: lift(0.1 if key == 0 else 0.001, 2.2 if key == 0 else 0.1) for key in range(10)}, 10_000
    )
    assert alone[0].significant
    assert not among[0].significant
    assert among[0].p == alone[0].p


def test_cohorts_differ_if_their_lifts_do_and_not_if_only_one_is_significant():
    clear, same = (
        heterogeneity_p_value([one(0.3, 6), one(0.0001, 0.01)]),
        heterogeneity_p_value([one(0.10, 2.5), one(0.06, 1.5)]),
    )
    assert clear is not None
    assert same is not None
    assert clear < 0.05 < same  # control: one is significant and the other is not, and yet they may be the same
    assert heterogeneity_p_value([one(0.1, 2)]) is None
    metrics = {"saves": {"treatment": one(0.2, 6)}}
    apart = {"new": {"saves": {"treatment": one(0.3, 6)}}, "core": {"saves": {"treatment": one(0.0001, 0.01)}}}
    alike = {"new": {"saves": {"treatment": one(0.1, 2.5)}}, "core": {"saves": {"treatment": one(0.06, 1.5)}}}
    assert "the lift differs between cohorts" in said(metrics=metrics, cohorts=apart)
    assert said(metrics=metrics, cohorts=alike) == ""


def test_heterogeneity_of_two_cohorts_is_the_test_of_two_lifts():
    parts = [one(0.3, 4), one(0.1, 3)]
    z = (parts[0].lift - parts[1].lift) / np.hypot(parts[0].error, parts[1].error)
    assert heterogeneity_p_value(parts) == pytest.approx(2 * norm.sf(abs(z)))


def test_a_novelty_effect_that_wears_off_is_reported():
    fading = {(day, day + 1): one(0.3 / (1 + day), 6 / (1 + day)) for day in range(7)}
    staying = {(day, day + 1): one(0.1, 6) for day in range(7)}
    fades, stays = novelty_trend(fading), novelty_trend(staying)
    assert fades is not None
    assert stays is not None
    slope, p = fades
    assert slope < 0
    assert p < 0.05 < stays[1]
    metrics = {"saves": {"treatment": one(0.2, 6)}}
    by_days = [{days: {"saves": {"treatment": found}} for days, found in each.items()} for each in (fading, staying)]
    assert "the lift shrinks" in said(metrics=metrics, days=by_days[0])
    assert "days since" not in said(metrics=metrics, days=by_days[1])


def test_an_arm_without_outcomes_has_no_trend_and_no_heterogeneity():
    nothing = [replace(one(-1.0, 5), error=error) for error in (0.0, None)]
    assert novelty_trend({(day, day + 1): nothing[0] for day in range(4)}) is None
    assert heterogeneity_p_value(nothing) is None
    some = {(day, day + 1): one(0.3 / (1 + day), 6 / (1 + day)) for day in range(7)}
    assert novelty_trend(some | {(7, 8): nothing[0], (8, 9): nothing[1]}) == novelty_trend(some)


def test_the_reason_of_an_undefined_lift_is_the_conclusion():
    found = Comparison(10, 10, reason="it does not vary")
    assert conclusion(found) == "it does not vary"
    assert detectable_lift(found) is None
