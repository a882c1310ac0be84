"""From per-user outcomes to figures with intervals: every figure is a ratio of two sums over users.

Legend: B users · M figures.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.evaluate.outcomes import Answer, Measures
from multitudes.evaluate.segments import POPULARITY, Segment
from multitudes.metrics.bootstrap import Estimates, Interval, ratios
from multitudes.seeding import generator

Column = NDArray[np.float64]
COMPARED = ("hr", "recall", "ndcg", "topics")  # figures of which differences are reported


class Ratio(NamedTuple):
    """A figure: Σ numerator / Σ denominator over users."""

    numerator_B: Column
    denominator_B: Column


class Bootstrap(NamedTuple):
    """How intervals are made. The same seed draws the same users every time, so all figures are paired."""

    resamples: int
    seed: int

    def __call__(self, figures: list[Ratio]) -> Estimates:
        """Return the estimates of all figures on the same resamples of users."""
        numerator_BM = np.stack([figure.numerator_B for figure in figures], axis=1)
        denominator_BM = np.stack([figure.denominator_B for figure in figures], axis=1)
        return ratios(numerator_BM, denominator_BM, self.resamples, generator(self.seed, "evaluate", "bootstrap"))


def list_ratios(measures: Measures, targets: Measures) -> dict[str, Ratio]:
    """Return the figures of one list, by name: hr is pooled over targets, the others but tail_share are user means."""
    users_B = np.ones(len(targets["targets"]))
    return {
        "hr": Ratio(measures["hits"], targets["targets"]),
        "recall": Ratio(measures["recall"], users_B),
        "ndcg": Ratio(measures["ndcg"], users_B),
        "topics": Ratio(measures["topics"], users_B),
        "tail_share": Ratio(measures["tail_hits"], measures["hits"]),
        "candidates": Ratio(measures["candidates"], users_B),
        "candidate_topics": Ratio(measures["candidate_topics"], users_B),
        "candidate_entropy": Ratio(measures["candidate_entropy"], users_B),
    }


def methods_and_differences(
    answers: dict[Answer, Measures], targets: Measures, own: str, bootstrap: Bootstrap
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the figures of every method, and of the run's method minus every other, paired by user."""
    # In the order of the systems: the run, its controls, the baselines.
    methods: dict[str, Any] = {answer.method: {} for answer in answers}
    differences: dict[str, Any] = {method: {} for method in methods if method != own}
    for budget in sorted({answer.budget for answer in answers}):
        named = {a.method: list_ratios(m, targets) for a, m in answers.items() if a.budget == budget}
        keys = [(method, figure) for method, figures in named.items() for figure in figures]
        estimates = bootstrap([named[method][figure] for method, figure in keys])
        place = {key: number for number, key in enumerate(keys)}
        for (method, figure), number in place.items():
            methods[method][f"{figure}@{budget}"] = as_json(estimates.interval(number))
            if method != own and figure in COMPARED:
                gain = estimates.difference(place[own, figure], number)
                differences[method][f"{figure}@{budget}"] = as_json(gain)
    return methods, differences


def by_segment(
    answers: dict[Answer, Measures],
    targets: Measures,
    segments: dict[str, Segment],
    budget: int,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Return the hit rate of every method in every segment of users, and for targets of the head, torso and tail."""
    at_budget = {a.method: measures for a, measures in answers.items() if a.budget == budget}
    result: dict[str, Any] = {}
    for name, segment in segments.items():
        result[name] = {}
        for number, label in enumerate(segment.names):
            inside_B = (segment.label_B == number).astype(np.float64)
            figures = {m: Ratio(v["hits"] * inside_B, targets["targets"] * inside_B) for m, v in at_budget.items()}
            sizes = {"users": int(inside_B.sum()), "targets": int((targets["targets"] * inside_B).sum())}
            result[name][label] = sizes | {"methods": _hit_rates(figures, budget, bootstrap)}
    result["popularity"] = {}
    for label in POPULARITY:
        wanted_B = targets[f"{label}_targets"]
        figures = {m: Ratio(v[f"{label}_hits"], wanted_B) for m, v in at_budget.items()}
        sizes = {"users": int((wanted_B > 0).sum()), "targets": int(wanted_B.sum())}
        result["popularity"][label] = sizes | {"methods": _hit_rates(figures, budget, bootstrap)}
    return result


def flat(figures: dict[str, Ratio], bootstrap: Bootstrap) -> dict[str, Any]:
    """Return each figure with its interval, under its name."""
    if not figures:
        return {}
    estimates = bootstrap(list(figures.values()))
    return {name: as_json(estimates.interval(number)) for number, name in enumerate(figures)}


def as_json(interval: Interval) -> dict[str, float | None]:
    """Return an interval as JSON knows it: what is not a number is null."""
    rounded: Callable[[float], float | None] = lambda value: round(value, 6) if np.isfinite(value) else None  # noqa: E731
    return {"mean": rounded(interval.mean), "low": rounded(interval.low), "high": rounded(interval.high)}


def _hit_rates(figures: dict[str, Ratio], budget: int, bootstrap: Bootstrap) -> dict[str, Any]:
    return {method: {f"hr@{budget}": interval} for method, interval in flat(figures, bootstrap).items()}
