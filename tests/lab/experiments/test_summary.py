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
    return compare_family({(None, "saves", "treatment"): lift(value, z)}, 10_000)[None]["saves"]["treatment"]


def said(*, users=10_000, cohorts=None, days=None) -> str:
    """Return the verdict on a lift; ``cohorts`` and ``days`` have comparisons by group."""
    of_cohorts, of_days = (
        {key: {"saves": {"treatment": of}} for key, of in (given or {}).items()} for given in (cohorts, days)
    )
    sample_ratio = check_sample_ratio({"control": 10_000, "treatment": users}, ARMS)
    metrics = {"saves": {"treatment": one(0.2, 6)}}
    readout = Readout("control", sample_ratio, metrics, of_cohorts, of_days, {}, {}, {}, [], 0, 1, ReadoutConfig())
    return "\n".join(verdict(readout))


def fading(days: int = 7) -> dict[tuple[int, int], Comparison]:
    return {(day, day + 1): one(0.3 / (1 + day), 6 / (1 + day)) for day in range(days)}


@pytest.mark.parametrize(
    ("z", "words"),
    [(5.0, "up, at any look"), (-5.0, "down, at any look"), (2.5, "up, if planned"), (1.0, "not significant")],
)
def test_a_metric_is_up_down_or_not_significant(z, words):
    assert conclusion(one(0.1 * np.sign(z), abs(z))) == words


def test_a_lift_of_2_8_standard_errors_is_detected_four_times_in_five():
    found = one(0.01, 1.0)
    assert norm.sf(norm.ppf(0.975) - detectable_lift(found) / found.error) == pytest.approx(0.8)


def test_a_sample_ratio_mismatch_comes_before_a_novelty_effect_that_wears_off():
    assert said(users=11_000, days=fading()).startswith("Sample ratio mismatch: do not trust")
    assert "Sample ratio" not in said()
    staying = {(day, day + 1): one(0.1, 6) for day in range(7)}
    slope, p = novelty_trend(fading())
    assert slope < 0
    assert p < 0.05 < novelty_trend(staying)[1]
    assert "the lift shrinks" in said(days=fading())
    assert "days since" not in said(days=staying)


def test_many_comparisons_need_stronger_evidence_than_one():
    others = {(None, str(number), "treatment"): lift(0.001, 0.1) for number in range(9)}
    alone, among = (
        compare_family({(None, "saves", "treatment"): lift(0.1, 2.2)} | more, 10_000)[None]["saves"]["treatment"]
        for more in ({}, others)
    )
    assert alone.significant
    assert not among.significant
    assert among.p == alone.p


def test_cohorts_differ_if_their_lifts_do_and_not_if_only_one_is_significant():
    apart, alike = ({"new": one(*new), "core": one(*core)} for new, core in (
        ((0.3, 6), (0.0001, 0.01)),
        ((0.1, 2.5), (0.06, 1.5)),  # control: one is significant and the other is not, and yet they may be the same
    ))  # fmt: skip
    assert heterogeneity_p_value(apart) < 0.05 < heterogeneity_p_value(alike)
    assert "the lift differs between cohorts" in said(cohorts=apart)
    assert said(cohorts=alike) == ""
    z = (apart["new"].lift - apart["core"].lift) / np.hypot(apart["new"].error, apart["core"].error)
    assert heterogeneity_p_value(apart) == pytest.approx(2 * norm.sf(abs(z)))  # of two: the test of two lifts


def test_lifts_without_an_error_have_no_trend_no_heterogeneity_and_a_reason():
    nothing = [replace(one(-1.0, 5), error=error) for error in (0.0, None)]
    assert np.isnan(novelty_trend({(day, day + 1): nothing[0] for day in range(4)})).all()
    assert np.isnan(heterogeneity_p_value({"new": nothing[0], "core": nothing[1]}))
    assert np.isnan(heterogeneity_p_value({"new": one(0.1, 2)}))
    assert novelty_trend(fading() | {(7, 8): nothing[0], (8, 9): nothing[1]}) == novelty_trend(fading())
    found = Comparison(10, 10, reason="it does not vary")
    assert conclusion(found) == "it does not vary"
    assert detectable_lift(found) is None
