"""A readout in plain words: what moved, for whom, and what cannot be said yet."""

from collections.abc import Iterator, Mapping

import numpy as np
from scipy.stats import norm

from multitudes.metrics.significance import holm
from multitudes.readout.judge import Comparison
from multitudes.readout.lift import LEVEL, RADIUS
from multitudes.readout.power import POWER
from multitudes.readout.preference import Preference, Sides
from multitudes.readout.readout import Readout
from multitudes.readout.spread import differ, trend

_SEEN = RADIUS + float(norm.ppf(POWER))  # standard errors of a lift that is found four times in five


def verdict(of: Readout) -> list[str]:
    """Return sentences, the most important first."""
    return [*_assignment(of), *_metrics(of), *_for_whom(of), *_novelty(of)]


def preferences(of: Preference) -> list[str]:
    """Return what interleaved lists say, a sentence for each metric and arm."""
    return [
        f"{metric}, {arm} against {of.control}: {_said(found)} {_sides(of.sides[metric][arm], arm, of.control)}"
        for metric, arms in of.metrics.items()
        for arm, found in arms.items()
    ]


def _sides(of: Sides, arm: str, control: str) -> str:
    return f"{of.arm:,} users credit {arm} more, {of.control:,} {control}, {of.alike:,} both alike (p = {of.p:.2g})."


def percent(share: float | None) -> str:
    """Return a lift as ``+1.23 %``; a dash where there is none."""
    return "–" if share is None else f"{100 * share:+.2f} %"


def interval(low: float | None, high: float | None) -> str:
    """Return ``[-0.10, +2.40]`` in percent."""
    return "[–∞, ∞]" if low is None or high is None else f"[{100 * low:+.2f}, {100 * high:+.2f}]"


def standing(of: Comparison) -> str:
    """Return in a word or two how much can be said."""
    if of.lift is None:
        return "no lift"
    way = "up" if of.lift > 0 else "down"
    if of.significant and of.sequential.significant:
        return f"{way}, at any look"
    if of.significant:
        return f"{way}, if planned"
    return "not shown"


def _assignment(of: Readout) -> Iterator[str]:
    if of.srm.ok:
        return
    arms = ", ".join(f"{arm} {n:,} (planned {of.srm.expected[arm]:,.0f})" for arm, n in of.srm.users.items())
    yield (
        f"Believe nothing below yet: the arms are not as large as planned (p = {of.srm.p:.1e}): {arms}. Who is in an"
        " arm is then not chance, and neither is what they do. Find out who is missing, and why."
    )


def _metrics(of: Readout) -> Iterator[str]:
    for metric, arms in of.metrics.items():
        for arm, found in arms.items():
            yield f"{metric}, {arm}: {_said(found)}"


def _said(found: Comparison) -> str:
    if found.lift is None or found.error is None:
        return f"nothing can be said: {found.reason}."
    figures = f"{percent(found.lift)} {interval(found.low, found.high)}"
    way = "up" if found.lift > 0 else "down"
    if found.significant and found.sequential.significant:
        return f"{way}, {figures}, whenever one looks."
    if found.significant:
        return (
            f"{way}, {figures}, if this look was planned from the start. Who looks more often cannot say so yet:"
            f" {interval(found.sequential.low, found.sequential.high)}."
        )
    if found.low is None:
        return "nothing can be said yet: the control is not told apart from 0."
    beside = "" if found.p is None or found.p > 1 - LEVEL else ": one of so many comparisons is often that far from 0"
    return (
        f"not shown to move, {figures}{beside}. These users show a lift of {100 * _SEEN * found.error:.2f} % four times"
        " in five; nothing can be said of smaller ones yet."
    )


def _for_whom(of: Readout) -> Iterator[str]:
    parts = {
        (metric, arm): {cohort: metrics[metric][arm] for cohort, metrics in of.cohorts.items()}
        for metric, arms in of.metrics.items()
        for arm in arms
        if of.cohorts
    }
    apart = _corrected({key: differ(list(cohorts.values())) for key, cohorts in parts.items()})
    for (metric, arm), cohorts in parts.items():
        moved = [f"{percent(one.lift)} for {cohort}" for cohort, one in cohorts.items() if one.significant]
        p = apart.get((metric, arm))
        if p is not None and p <= 1 - LEVEL:
            every = ", ".join(f"{percent(one.lift)} for {cohort}" for cohort, one in cohorts.items())
            yield f"{metric}, {arm}: not the same for all cohorts (p = {p:.2g}): {every}."
        elif moved:
            yield f"{metric}, {arm}: {', '.join(moved)}; no cohort is shown to differ from the others."


def _novelty(of: Readout) -> Iterator[str]:
    by_days = {
        (metric, arm): {
            days: metrics[metric][arm] for days, metrics in of.days.items() if arm in metrics.get(metric, {})
        }
        for metric, arms in of.metrics.items()
        for arm in arms
    }
    trends = {key: found for key, days in by_days.items() if (found := trend(days)) is not None}
    corrected = _corrected({key: p for key, (_, p) in trends.items()})
    for (metric, arm), (slope, _) in trends.items():
        p = corrected[metric, arm]
        if p > 1 - LEVEL:
            continue
        lifts = [one.lift for one in by_days[metric, arm].values() if one.lift is not None]
        way = "shrinks toward what will stay" if slope * lifts[0] < 0 else "grows"
        yield (
            f"{metric}, {arm}: the lift {way} with the days since the exposure (p = {p:.2g}): {percent(lifts[0])} on"
            f" the first, {percent(lifts[-1])} at last."
        )


def _corrected(p: Mapping[tuple[str, str], float | None]) -> dict[tuple[str, str], float]:
    asked = {key: one for key, one in p.items() if one is not None}
    return dict(zip(asked, holm(np.array(list(asked.values()))).tolist(), strict=True))
