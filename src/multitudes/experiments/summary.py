"""What is repaired in the tables of an experiment rather than refused: counted, and said in every readout.

A readout in plain words: what moved, for whom, and what cannot be said yet.

A readout as JSON has it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.stats import norm

from multitudes.experiments.comparison import Comparison, heterogeneity_p_value, novelty_trend
from multitudes.experiments.interleaving import InterleavingResult, SignTest
from multitudes.experiments.lift import CRITICAL_Z, LEVEL
from multitudes.experiments.power import POWER
from multitudes.experiments.readout import Comparisons, Readout
from multitudes.metrics.significance import adjust_holm

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


_DETECTABLE_Z = CRITICAL_Z + float(norm.ppf(POWER))  # standard errors of a lift that is found four times in five


def verdict(readout: Readout) -> list[str]:
    """Return sentences, the most important first."""
    return [
        *_sample_ratio_sentences(readout),
        *_metric_sentences(readout),
        *_cohort_sentences(readout),
        *_novelty_sentences(readout),
    ]


def interleaving_verdict(result: InterleavingResult) -> list[str]:
    """Return what interleaved lists say, a sentence for each metric and arm."""
    return [
        f"{metric}, {arm} against {result.control}: {_comparison_sentence(found)} {_sign_test_sentence(result.sides[metric][arm], arm, result.control)}"
        for metric, arms in result.metrics.items()
        for arm, found in arms.items()
    ]


def _sign_test_sentence(test: SignTest, arm: str, control: str) -> str:
    return f"{test.arm:,} users credit {arm} more, {test.control:,} {control}, {test.alike:,} both alike (p = {test.p:.2g})."


def format_lift(share: float | None) -> str:
    """Return a lift as ``+1.23 %``; a dash where there is none."""
    return "–" if share is None else f"{100 * share:+.2f} %"


def format_lift_interval(low: float | None, high: float | None) -> str:
    """Return ``[-0.10, +2.40]`` in percent."""
    return "[–∞, ∞]" if low is None or high is None else f"[{100 * low:+.2f}, {100 * high:+.2f}]"


def conclusion(comparison: Comparison) -> str:
    """Return in a word or two how much can be said."""
    if comparison.lift is None:
        return "no lift"
    way = "up" if comparison.lift > 0 else "down"
    if comparison.significant and comparison.sequential.significant:
        return f"{way}, at any look"
    if comparison.significant:
        return f"{way}, if planned"
    return "not shown"


def _sample_ratio_sentences(readout: Readout) -> Iterator[str]:
    if readout.sample_ratio.ok:
        return
    arms = ", ".join(
        f"{arm} {n:,} (planned {readout.sample_ratio.expected[arm]:,.0f})"
        for arm, n in readout.sample_ratio.users.items()
    )
    yield (
        f"Believe nothing below yet: the arms are not as large as planned (p = {readout.sample_ratio.p:.1e}): {arms}. Who is in an"
        " arm is then not chance, and neither is what they do. Find out who is missing, and why."
    )


def _metric_sentences(readout: Readout) -> Iterator[str]:
    for metric, arms in readout.metrics.items():
        for arm, found in arms.items():
            yield f"{metric}, {arm}: {_comparison_sentence(found)}"


def _comparison_sentence(comparison: Comparison) -> str:
    if comparison.lift is None or comparison.error is None:
        return f"nothing can be said: {comparison.reason}."
    figures = f"{format_lift(comparison.lift)} {format_lift_interval(comparison.low, comparison.high)}"
    way = "up" if comparison.lift > 0 else "down"
    if comparison.significant and comparison.sequential.significant:
        return f"{way}, {figures}, whenever one looks."
    if comparison.significant:
        return (
            f"{way}, {figures}, if this look was planned from the start. Who looks more often cannot say so yet:"
            f" {format_lift_interval(comparison.sequential.low, comparison.sequential.high)}."
        )
    if comparison.low is None:
        return "nothing can be said yet: the control is not told apart from 0."
    beside = (
        ""
        if comparison.p is None or comparison.p > 1 - LEVEL
        else ": one of so many comparisons is often that far from 0"
    )
    return (
        f"not shown to move, {figures}{beside}. These users show a lift of {100 * _DETECTABLE_Z * comparison.error:.2f} % four times"
        " in five; nothing can be said of smaller ones yet."
    )


def _cohort_sentences(readout: Readout) -> Iterator[str]:
    parts = {
        (metric, arm): {cohort: metrics[metric][arm] for cohort, metrics in readout.cohorts.items()}
        for metric, arms in readout.metrics.items()
        for arm in arms
        if readout.cohorts
    }
    apart = _adjust_p_values({key: heterogeneity_p_value(list(cohorts.values())) for key, cohorts in parts.items()})
    for (metric, arm), cohorts in parts.items():
        moved = [f"{format_lift(one.lift)} for {cohort}" for cohort, one in cohorts.items() if one.significant]
        p = apart.get((metric, arm))
        if p is not None and p <= 1 - LEVEL:
            every = ", ".join(f"{format_lift(one.lift)} for {cohort}" for cohort, one in cohorts.items())
            yield f"{metric}, {arm}: not the same for all cohorts (p = {p:.2g}): {every}."
        elif moved:
            yield f"{metric}, {arm}: {', '.join(moved)}; no cohort is shown to differ from the others."


def _novelty_sentences(readout: Readout) -> Iterator[str]:
    by_days = {
        (metric, arm): {
            days: metrics[metric][arm] for days, metrics in readout.days.items() if arm in metrics.get(metric, {})
        }
        for metric, arms in readout.metrics.items()
        for arm in arms
    }
    trends = {key: found for key, days in by_days.items() if (found := novelty_trend(days)) is not None}
    corrected = _adjust_p_values({key: p for key, (_, p) in trends.items()})
    for (metric, arm), (slope, _) in trends.items():
        p = corrected[metric, arm]
        if p > 1 - LEVEL:
            continue
        lifts = [one.lift for one in by_days[metric, arm].values() if one.lift is not None]
        way = "shrinks toward what will stay" if slope * lifts[0] < 0 else "grows"
        yield (
            f"{metric}, {arm}: the lift {way} with the days since the exposure (p = {p:.2g}): {format_lift(lifts[0])} on"
            f" the first, {format_lift(lifts[-1])} at last."
        )


def _adjust_p_values(p_values: Mapping[tuple[str, str], float | None]) -> dict[tuple[str, str], float]:
    asked = {key: one for key, one in p_values.items() if one is not None}
    return dict(zip(asked, adjust_holm(np.array(list(asked.values()))).tolist(), strict=True))


def readout_record(readout: Readout) -> dict[str, Any]:
    """Return a readout as JSON has it; what is not defined is null."""
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
