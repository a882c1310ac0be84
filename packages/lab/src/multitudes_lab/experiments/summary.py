"""A readout in words and as JSON: what moved, for which users, and what was repaired."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import asdict
from math import isnan
from typing import Any, TypeVar

from scipy.stats import norm

from multitudes.metrics.significance import adjust_holm_by_key
from multitudes_lab.experiments.comparison import Comparison, Comparisons, heterogeneity_p_value, novelty_trend
from multitudes_lab.experiments.confidence_sequence import LEVEL
from multitudes_lab.experiments.lift import CRITICAL_Z
from multitudes_lab.experiments.power import POWER
from multitudes_lab.experiments.readout import Readout

K = TypeVar("K", bound=Hashable)

REPAIRS: Mapping[str, str] = {
    "exposures_with_nulls": "exposures without user_id, arm or timestamp: dropped",
    "repeated_exposures": "exposures of a user after the first: the first counts",
    "users_in_two_arms": "users in more than one arm: left out",
    "users_in_two_cohorts": "users in more than one cohort: that of their first exposure counts",
    "missing_covariates": "covariates without a finite number: taken as the mean",
    "users_without_whole_window": "users exposed too late for the whole window: left out",
    "users_exposed_after_the_end": "users exposed after the last outcome: kept, counted as 0",
    "outcomes_with_nulls": "outcomes without user_id, timestamp, metric or a finite value: dropped",
    "future_outcomes": "outcomes more than a day later than now: dropped",
    "negative_outcomes": "outcomes below zero: dropped (--keep-negative keeps them)",
    "credits_without_arm": "rows without an arm to credit: dropped",
    "outcomes_of_the_unexposed": "outcomes of users without an arm: left out",
    "outcomes_before_exposure": "outcomes before the user's exposure: no outcomes, covariates at most",
    "outcomes_after_the_window": "outcomes after the window: left out",
}

_DETECTABLE_Z = CRITICAL_Z + float(norm.ppf(POWER))  # a lift of so many standard errors is detected 4 times in 5


def verdict(readout: Readout) -> Iterator[str]:
    """Yield what no row of the tables says, the most important first: a mismatch of the arms, cohorts and trends."""
    check = readout.sample_ratio
    if not check.ok:
        arms = ", ".join(f"{arm} {n:,} (planned {check.expected[arm]:,.0f})" for arm, n in check.users.items())
        yield (
            "Sample ratio mismatch: do not trust the results below. The arms are not as large as planned (p ="
            f" {check.p:.1e}): {arms}. So who is in an arm is not random. Find out which users are missing, and why."
        )
    for name, p, cohorts in _groups_that_differ(readout, readout.cohorts, heterogeneity_p_value):
        by_cohort = ", ".join(f"{format_lift(one.lift)} for {cohort}" for cohort, one in cohorts.items())
        yield f"{name}: the lift differs between cohorts (p = {p:.2g}): {by_cohort}."
    for name, p, periods in _groups_that_differ(readout, readout.days, lambda days: novelty_trend(days)[1]):
        lifts = [one.lift for one in periods.values() if one.lift is not None]
        direction = "shrinks" if novelty_trend(periods)[0] * lifts[0] < 0 else "grows"
        yield (
            f"{name}: the lift {direction} with the days since the exposure (p = {p:.2g}):"
            f" {format_lift(lifts[0])} in the first period, {format_lift(lifts[-1])} in the last."
        )


def detectable_lift(comparison: Comparison) -> float | None:
    """Return the lift that so many users would show four times in five; None if there is no lift."""
    return None if comparison.error is None else _DETECTABLE_Z * comparison.error


def format_lift(share: float | None) -> str:
    """Return a lift as ``+1.23 %``; a dash for None."""
    return "–" if share is None else f"{100 * share:+.2f} %"


def format_lift_interval(low: float | None, high: float | None) -> str:
    """Return an interval as ``[-0.10, +2.40]``, in percent."""
    return "[–∞, ∞]" if low is None or high is None else f"[{100 * low:+.2f}, {100 * high:+.2f}]"


def conclusion(comparison: Comparison) -> str:
    """Return the conclusion in a word or two, or why there is no lift."""
    if comparison.lift is None:
        return comparison.reason or "no lift"
    if not comparison.significant:
        return "not significant"
    looks = "at any look" if comparison.sequential.significant else "if planned"
    return f"{'up' if comparison.lift > 0 else 'down'}, {looks}"


def _groups_that_differ(
    readout: Readout, groups: Mapping[K, Comparisons], p_value: Callable[[Mapping[K, Comparison]], float]
) -> Iterator[tuple[str, float, Mapping[K, Comparison]]]:
    """Yield the metrics and arms with different lifts in groups of users, the p-value (Holm), and the comparisons."""
    comparisons = {
        (metric, arm): {key: of[metric][arm] for key, of in groups.items() if arm in of.get(metric, {})}
        for metric, arms in readout.metrics.items()
        for arm in arms
    }
    p_values = {key: p for key, of in comparisons.items() if not isnan(p := p_value(of))}
    for (metric, arm), p in adjust_holm_by_key(p_values).items():
        if p <= 1 - LEVEL:
            yield f"{metric}, {arm}", p, comparisons[metric, arm]


def readout_record(readout: Readout) -> dict[str, Any]:
    """Return a readout as a JSON object; undefined values are null."""
    record = asdict(readout)
    days, winsorised = record["days"].items(), record["winsorised"].items()
    return {
        "srm": record.pop("sample_ratio"),
        **record,
        "days": [{"first": first, "last": end - 1, "metrics": metrics} for (first, end), metrics in days],
        "winsorised": {metric: cuts for metric, cuts in winsorised if cuts},
        "verdict": list(verdict(readout)),
        "settings": readout.settings.model_dump(mode="json"),
    }
