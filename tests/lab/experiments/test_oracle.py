"""Comparison with tea-tasting, an independent library: the same figures for the methods that both have."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from multitudes_lab.experiments.assignment import check_sample_ratio
from multitudes_lab.experiments.lift import estimate_lift
from multitudes_lab.experiments.power import MetricBaseline, PowerAnalysis, sample_size
from tests.lab.experiments.draws import draw

tt = pytest.importorskip("tea_tasting", reason="tea-tasting is not installed: pip install tea-tasting")
NORMAL = {"use_t": False, "equal_var": False}  # as here; with so many users Student's t is the same


@pytest.fixture(scope="module")
def arms() -> Any:
    draws = np.random.default_rng(0)
    return draw(draws, 20_000), draw(draws, 22_000, 0.05)


@pytest.fixture(scope="module")
def theirs(arms) -> Any:
    names = ("saves", "sessions", "saves_before", "sessions_before")
    frames = [
        pl.DataFrame({"variant": np.full(len(one.saves_B), arm)} | dict(zip(names, one, strict=True)))
        for arm, one in enumerate(arms)
    ]
    metrics = {
        "sum": tt.Mean("saves", **NORMAL),
        "sum, CUPED": tt.Mean("saves", "saves_before", **NORMAL),
        "ratio": tt.RatioOfMeans("saves", "sessions", **NORMAL),
    }
    return tt.Experiment(metrics | {"srm": tt.SampleRatio()}).analyze(pl.concat(frames).to_arrow())


@pytest.mark.parametrize("name", ["sum", "sum, CUPED", "ratio"])
def test_lift_interval_and_p_value(name, arms, theirs):
    moments = [one.ratio() if name == "ratio" else one.sums(cuped="CUPED" in name) for one in arms]
    ours: Any = estimate_lift(*moments)
    other = theirs[name]
    assert ours.value == pytest.approx(other.rel_effect_size, rel=0.01)
    assert ours.p == pytest.approx(other.pvalue, rel=0.02)
    # Theirs is by the delta method on the logarithmic scale, ours Fieller's: alike for so many users.
    assert ours.interval() == pytest.approx((other.rel_effect_size_ci_lower, other.rel_effect_size_ci_upper), abs=5e-4)


def test_sample_ratio(theirs):
    # Theirs is exact or normal, ours χ²: the square of the normal.
    assert check_sample_ratio({"0": 20_000, "1": 22_000}, {"0": 1, "1": 1}).p == pytest.approx(
        theirs["srm"].pvalue, rel=0.05
    )


def test_power():
    known = MetricBaseline(2.0, 5.0)
    (solved,) = tt.Mean("x", rel_effect_size=0.002, power=0.8, **NORMAL).solve_power(
        pl.DataFrame({"x": past_like(known)}).to_arrow(), "n_obs"
    )
    assert 2 * sample_size(0.002, known, PowerAnalysis()) == pytest.approx(solved.n_obs, rel=0.01)


def past_like(known: MetricBaseline) -> Any:
    """Return values with exactly this mean and deviation."""
    value = np.random.default_rng(0).normal(size=10_000)
    return known.mean + known.sd * (value - value.mean()) / value.std(ddof=1)
