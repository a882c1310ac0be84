"""A readout in words and as JSON: what moved, for which users, and what was repaired."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from scipy.stats import norm

from multitudes.metrics.significance import adjust_holm_by_key
from multitudes_lab.experiments.comparison import Comparison, heterogeneity_p_value, novelty_trend
from multitudes_lab.experiments.confidence_sequence import LEVEL
from multitudes_lab.experiments.lift import CRITICAL_Z
from multitudes_lab.experiments.power import POWER
from multitudes_lab.experiments.readout import Comparisons, Readout

K = TypeVar("K", bound=Hashable)

REPAIRS: Mapping[str, str] = {
    "exposures_with_nulls": "exposures without user_id, arm or timestamp: dropped",
    "repeated_exposures": "exposures of a user after the first: the first counts",
    "users_in_two_arms": "users in more than one arm: left out",
    "users_in_two_cohorts": "users in more than one cohort: that of their first exposure counts",
    "missing_covariates": "covariates without a finite number: taken as the mean",
    "users_without_whole_window": "users exposed too late for the whole window: left out",
    "users_exposed_after_the_end": "users exposed after the last outcome: kept, they count as 0",
    "outcomes_with_nulls": "outcomes without user_id, timestamp, metric or a finite value: dropped",
    "future_outcomes": "outcomes more than a day later than now: dropped",
    "negative_outcomes": "outcomes below zero: dropped (--keep-negative keeps them)",
    "credits_without_arm": "rows that credit no arm: dropped",
    "outcomes_of_the_unexposed": "outcomes of users without an arm: left out",
    "outcomes_before_exposure": "outcomes before the user's exposure: no outcomes, covariates at most",
    "outcomes_after_the_window": "outcomes after the window: left out",
}

_DETECTABLE_Z = CRITICAL_Z + float(norm.ppf(POWER))  # a lift of so many standard errors is detected 4 times in 5


def verdict(readout: Readout) -> list[str]:
    """Return what no row of the tables says, the most important first: a mismatch of the arms, cohorts and trends."""
    return [*_sample_ratio_sentences(readout), *_cohort_sentences(readout), *_novelty_sentences(readout)]


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


def _sample_ratio_sentences(readout: Readout) -> Iterator[str]:
    check = readout.sample_ratio
    if check.ok:
        return
    arms = ", ".join(f"{arm} {n:,} (planned {check.expected[arm]:,.0f})" for arm, n in check.users.items())
    yield (
        "Sample ratio mismatch: do not trust the results below. The arms are not as large as planned"
        f" (p = {check.p:.1e}): {arms}. So who is in an arm is not random. Find out which users are missing, and why."
    )


def _cohort_sentences(readout: Readout) -> Iterator[str]:
    by_cohort = _by_metric_and_arm(readout, readout.cohorts)
    p_values = {key: heterogeneity_p_value(list(cohorts.values())) for key, cohorts in by_cohort.items()}
    adjusted = adjust_holm_by_key({key: p for key, p in p_values.items() if p is not None})
    for (metric, arm), p in adjusted.items():
        if p <= 1 - LEVEL:
            lifts = ", ".join(f"{format_lift(one.lift)} for {name}" for name, one in by_cohort[metric, arm].items())
            yield f"{metric}, {arm}: the lift differs between cohorts (p = {p:.2g}): {lifts}."


def _novelty_sentences(readout: Readout) -> Iterator[str]:
    by_days = _by_metric_and_arm(readout, readout.days)
    trends = {key: trend for key, days in by_days.items() if (trend := novelty_trend(days)) is not None}
    adjusted = adjust_holm_by_key({key: p for key, (_, p) in trends.items()})
    for (metric, arm), p in adjusted.items():
        if p <= 1 - LEVEL:
            lifts = [one.lift for one in by_days[metric, arm].values() if one.lift is not None]
            direction = "shrinks" if trends[metric, arm][0] * lifts[0] < 0 else "grows"
            yield (
                f"{metric}, {arm}: the lift {direction} with the days since the exposure (p = {p:.2g}):"
                f" {format_lift(lifts[0])} in the first period, {format_lift(lifts[-1])} in the last."
            )


def _by_metric_and_arm(readout: Readout, groups: Mapping[K, Comparisons]) -> dict[tuple[str, str], dict[K, Comparison]]:
    """Return the comparisons of groups of users by metric and arm, in the order of the readout."""
    return {
        (metric, arm): {key: of[metric][arm] for key, of in groups.items() if arm in of.get(metric, {})}
        for metric, arms in readout.metrics.items()
        for arm in arms
    }


def readout_record(readout: Readout) -> dict[str, Any]:
    """Return a readout as a JSON object; undefined values are null."""
    return {
        "control": readout.control,
        "srm": asdict(readout.sample_ratio),
        "metrics": _comparison_records(readout.metrics),
        "cohorts": {cohort: _comparison_records(metrics) for cohort, metrics in readout.cohorts.items()},
        "days": [
            {"first": first, "last": end - 1, "metrics": _comparison_records(metrics)}
            for (first, end), metrics in readout.days.items()
        ],
        "covariates": dict(readout.covariates),
        "winsorised": {metric: [cut._asdict() for cut in cuts] for metric, cuts in readout.winsorised.items() if cuts},
        "repairs": dict(readout.repairs),
        "warnings": list(readout.warnings),
        "verdict": verdict(readout),
        "first": readout.first,
        "last": readout.last,
        "settings": readout.settings.model_dump(mode="json"),
    }


def _comparison_records(metrics: Comparisons) -> dict[str, dict[str, dict[str, Any]]]:
    return {metric: {arm: asdict(one) for arm, one in arms.items()} for metric, arms in metrics.items()}
