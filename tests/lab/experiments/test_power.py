"""Power analysis: sample size and detectable effect are inverse, and hold in simulated experiments."""

from functools import partial
from math import inf

import numpy as np
import pytest

from multitudes.errors import UsageError
from multitudes_lab.experiments.power import (
    MetricBaseline,
    PowerAnalysis,
    metric_baseline,
    minimum_detectable_effect,
    sample_size,
)
from tests.lab.experiments.draws import Drawn, draw, is_found, rates, sums


def test_the_mean_the_deviation_and_the_settings_say_how_many_users_are_needed():
    plain = 15.7 * 25 / 5**2  # a lift of a half, if both arms had the deviation of the control
    assert sample_size(0.5, MetricBaseline(10, 5), PowerAnalysis()) == pytest.approx(plain * (1 + 1.5**2) / 2, rel=0.05)
    assert minimum_detectable_effect(2, MetricBaseline(1.0, 50.0), PowerAnalysis()) == inf
    known = MetricBaseline(2.0, 5.0)
    n = sample_size(0.02, known, PowerAnalysis())
    assert sample_size(0.02, MetricBaseline(2.0, 5.0, 0.36), PowerAnalysis()) == pytest.approx(0.64 * n, rel=0.001)
    assert sample_size(0.02, known, PowerAnalysis(0.9)) > n
    assert sample_size(0.02, known, PowerAnalysis(comparisons=10)) > n
    assert sample_size(0.02, known, PowerAnalysis(), any_look=True) > n
    with pytest.raises(UsageError, match="more than 1,000,000,000,000 users"):
        sample_size(1e-9, MetricBaseline(1.0, 50.0), PowerAnalysis())


@pytest.mark.parametrize("always", [False, True])
def test_sample_size_and_detectable_effect_are_inverse(always):
    known, plan = MetricBaseline(2.0, 5.0, 0.3), PowerAnalysis(0.9, comparisons=4)
    n = sample_size(0.02, known, plan, any_look=always)
    enough, too_few = (minimum_detectable_effect(size, known, plan, any_look=always) for size in (n, n - 1))
    assert enough <= 0.02 < too_few


def test_the_baseline_describes_the_users_of_the_past():
    drawn = draw(np.random.default_rng(0), 5_000)
    found = metric_baseline(drawn.sums(cuped=True))
    assert found.mean == pytest.approx(drawn.saves_B.mean())
    assert found.sd == pytest.approx(drawn.saves_B.std(ddof=1))
    correlation = np.corrcoef(drawn.saves_B, drawn.saves_before_B)[0, 1]
    assert found.explained == pytest.approx(correlation**2)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_baseline_without_variance_is_rejected(value):
    with pytest.raises(UsageError, match="for all users"):
        metric_baseline(sums(np.full(9, value)))


@pytest.mark.slow
@pytest.mark.parametrize("cuped", [False, True])
def test_four_experiments_in_five_detect_the_effect_at_the_sample_size(cuped):
    known = metric_baseline(draw(np.random.default_rng(0), 400_000).sums(cuped=cuped))
    n = sample_size(0.4, known, PowerAnalysis())
    arms = partial(Drawn.sums, cuped=cuped)
    found = rates(200, lambda stream: {"": is_found(arms(draw(stream, n)), arms(draw(stream, n, 0.4)))})
    assert found[""].agrees_with(0.8)
