"""The outcomes of each user with each system, and figures with intervals computed from them.

Every figure is a ratio of two sums over users.

Legend: B users · N places of a list · T targets, flat by user · P pairs of user and item · M figures.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.atomic import replace_file
from multitudes.batches.held_out import HeldOut
from multitudes.evaluation.list_metrics import METRICS, EvaluatedLists, ItemFacts
from multitudes.evaluation.targets import TARGET_SEGMENTS, Segmentation, TargetLabels
from multitudes.linear.reference_clusters import ReferenceInterests
from multitudes.metrics import coverage, diversity, ranking
from multitudes.metrics.bootstrap import Estimates, Interval, bootstrap_ratios
from multitudes.seeding import generator

Measures = dict[str, NDArray[np.float64]]  # name → value per user, shape (B,)
Column = NDArray[np.float64]
RESAMPLES = 1000  # of the users, for the 95 % intervals
UNCONDITIONED = "unconditioned"  # the system of the one vector of the whole history
# Numerator and denominator of the figures that are no means over users.
FIGURES = {"hr": ("hits", "targets"), "hr_other": ("other_hits", "other_targets"), "tail_share": ("tail_hits", "hits")}
COMPARED_FIGURES = ("hr", *METRICS, "hr_other")  # figures whose differences are reported
# Means over the users for whom they are defined. Interests are the reference clusters.
MEANS = (
    *METRICS,
    *("kl", "head_excess", "macro_recall", "worst_recall", "adopted_1", "adopted_3", "alpha_ndcg"),
    *("topics_served", "topics_kl", "candidates", "candidate_topics", "candidate_entropy"),
)


class ListKey(NamedTuple):
    """The list that a measure is about: ``budget`` candidates by ``method``."""

    method: str
    budget: int


def list_measures(
    ranked_BN: NDArray[np.int64],
    held: HeldOut,
    items: ItemFacts,
    labels: TargetLabels | None = None,
    reference: ReferenceInterests | None = None,
) -> Measures:
    """Return the measures of lists of N candidates; zeros at the end of a list are not candidates.

    ``labels`` are the segments of each target by segmentation, beside popularity. Without ``reference``, the interests
    of the users, nothing is measured by them.

    Returns:
        hits; the values of ``METRICS``; hits by segment of targets, such as tail_hits; candidates: length of the list;
        candidate_topics and candidate_entropy (nats): how the list spreads over topics; and what ``metrics.coverage``
        measures, NaN where it is not defined.
    """
    rank_T = ranking.ranks_in_list(ranked_BN, held.target_offset, held.target)
    hit_T = np.isfinite(rank_T)
    user_P, place_P = np.nonzero(ranked_BN > 0)
    among_candidates = items.topic_counts(user_P, ranked_BN[user_P, place_P], len(held))
    lists = EvaluatedLists(ranked_BN, rank_T, held, items, reference)
    return {
        "hits": ranking.hits(rank_T, held.target_offset, ranked_BN.shape[1]),
        **{name: metric.values(lists) for name, metric in METRICS.items()},
        **_counts_by_segment(held, items, labels, hit_T, "hits"),
        "candidates": (ranked_BN > 0).sum(axis=1).astype(np.float64),
        "candidate_topics": diversity.coverage(among_candidates).astype(np.float64),
        "candidate_entropy": diversity.entropy(among_candidates),
        **(_coverage_measures(ranked_BN, rank_T, held, reference) if reference else {}),
    }


def _coverage_measures(
    ranked_BN: NDArray[np.int64], rank_T: Column, held: HeldOut, reference: ReferenceInterests
) -> Measures:
    """Return how a list covers the interests of its user, and how its hits do."""
    (class_I, history_BC), is_hit_T, offset = reference.clusters, np.isfinite(rank_T), held.target_offset
    class_T, n_classes = class_I[held.target], reference.clusters.n_classes
    is_other_T = coverage.is_beside_head(class_T, offset, history_BC)
    by_class = coverage.hits_by_class(is_hit_T, class_T, offset, n_classes)
    list_BC, of_topics_BC = (interests.list_shares(ranked_BN) for interests in reference)
    return {
        "kl": coverage.miscalibration(list_BC, history_BC),
        "head_excess": coverage.head_excess(list_BC, history_BC),
        "other_hits": ranking.sum_per_user(is_hit_T & is_other_T, offset),
        "macro_recall": by_class.mean_recall_B,
        "worst_recall": by_class.worst_recall_B,
        **{f"adopted_{m}": (by_class.hits_BC >= m).sum(axis=1).astype(np.float64) for m in (1, 3)},
        "alpha_ndcg": coverage.alpha_ndcg(rank_T, class_T, offset, n_classes, ranked_BN.shape[1]),
        "topics_served": coverage.served_share(of_topics_BC, reference.topics.history_BC),
        "topics_kl": coverage.miscalibration(of_topics_BC, reference.topics.history_BC),
    }


def target_measures(
    held: HeldOut, items: ItemFacts, labels: TargetLabels | None = None, reference: ReferenceInterests | None = None
) -> Measures:
    """Return the number of targets of each user: all, and by segment of targets, and by interest."""
    all_T, offset = np.ones(len(held.target), dtype=np.bool_), held.target_offset
    measures = {"targets": np.diff(offset).astype(np.float64)}
    measures |= _counts_by_segment(held, items, labels, all_T, "targets")
    if reference:  # those that are not of the head interest; 0 for a user without interests
        class_I, history_BC = reference.clusters
        is_other_T = coverage.is_beside_head(class_I[held.target], offset, history_BC)
        measures["other_targets"] = ranking.sum_per_user(is_other_T, offset)
    return measures


def concatenate_measures(chunks: list[Measures]) -> Measures:
    """Return the measures of consecutive chunks of the users as one."""
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def outcome_table(user_id: pl.Series, kind: str, targets: Measures, lists: dict[ListKey, Measures]) -> pl.DataFrame:
    """Return one row for each user and list, with the kind of targets."""
    frames = [
        pl.DataFrame({"user_id": user_id, **targets, **measures}).with_columns(
            pl.lit(kind).alias("kind"),
            pl.lit(key.method).alias("method"),
            pl.lit(key.budget, dtype=pl.Int32).alias("budget"),
        )
        for key, measures in lists.items()
    ]
    return pl.concat(frames)


def write_outcomes(frame: pl.DataFrame, file: Path) -> None:
    """Write the table; the file appears complete or not at all."""
    with replace_file(file) as partial:
        frame.write_parquet(partial)


class Ratio(NamedTuple):
    """A figure: Σ numerator / Σ denominator over users."""

    numerator_B: Column
    denominator_B: Column

    @classmethod
    def mean(cls, value_B: Column) -> "Ratio":
        """Return the mean over the users for whom a value is defined."""
        return cls(np.nan_to_num(value_B), np.isfinite(value_B).astype(np.float64))


def estimate(figures: list[Ratio]) -> Estimates:
    """Return all figures with their resamples; the same users are drawn every time, so all figures are paired."""
    numerator_BM = np.stack([figure.numerator_B for figure in figures], axis=1)
    denominator_BM = np.stack([figure.denominator_B for figure in figures], axis=1)
    return bootstrap_ratios(numerator_BM, denominator_BM, RESAMPLES, generator(0, "evaluate", "bootstrap"))


def list_ratios(measures: Measures, targets: Measures) -> dict[str, Ratio]:
    """Return the figures of one list, of those that were measured: ``FIGURES`` and ``MEANS``."""
    known = targets | measures
    pooled = {name: Ratio(*(known[m] for m in pair)) for name, pair in FIGURES.items() if known.keys() >= {*pair}}
    return pooled | {name: Ratio.mean(known[name]) for name in MEANS if name in known}


def methods_and_differences(
    lists: dict[ListKey, Measures], targets: Measures, own: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the figures of each method, and those of the run's method minus those of each other, paired by user.

    Both are method → figure@budget → interval. Methods are in the order of the systems: the run, its controls, the
    baselines.
    """
    methods: dict[str, Any] = {key.method: {} for key in lists}
    differences: dict[str, Any] = {method: {} for method in methods if method != own}
    for budget in sorted({key.budget for key in lists}):
        ratios = {key.method: list_ratios(m, targets) for key, m in lists.items() if key.budget == budget}
        keys = [(method, figure) for method, figures in ratios.items() for figure in figures]
        estimates = estimate([ratios[method][figure] for method, figure in keys])
        place = {key: number for number, key in enumerate(keys)}
        for (method, figure), number in place.items():
            methods[method][f"{figure}@{budget}"] = as_json(estimates.interval(number))
            if method != own and figure in COMPARED_FIGURES:
                gain = estimates.difference(place[own, figure], number)
                differences[method][f"{figure}@{budget}"] = as_json(gain)
    return methods, differences


def hit_rates_by_segment(
    lists: dict[ListKey, Measures], targets: Measures, segments: dict[str, Segmentation], budget: int, own: str
) -> dict[str, Any]:
    """Return the hit rate of every method in every segment of users and of targets, with paired differences.

    Returns:
        segmentation → segment → users, targets, ``methods``; ``differences``: ``own`` minus each method; and
        ``minus_unconditioned``: each method minus the vector of the whole history, if the run has one beside others.
    """
    at_budget = {key.method: measures for key, measures in lists.items() if key.budget == budget}
    result: dict[str, Any] = {}
    for name, label, users, targets_B, hits in _segments(at_budget, targets, segments):
        figures = {method: Ratio(hits_B, targets_B) for method, hits_B in hits.items()}
        sizes = {"users": users, "targets": int(targets_B.sum())}
        result.setdefault(name, {})[label] = sizes | _compare_hit_rates(figures, budget, own)
    return result


def intervals_by_name(figures: dict[str, Ratio]) -> dict[str, Any]:
    """Return the interval of each figure, by name."""
    if not figures:
        return {}
    estimates = estimate(list(figures.values()))
    return {name: as_json(estimates.interval(number)) for number, name in enumerate(figures)}


def as_json(interval: Interval) -> dict[str, float | None]:
    """Return an interval as a JSON object; values that are not finite are null."""
    return {name: round(value, 6) if np.isfinite(value) else None for name, value in interval._asdict().items()}


def _segments(
    lists: dict[str, Measures], targets: Measures, of_users: dict[str, Segmentation]
) -> Iterator[tuple[str, str, int, Column, dict[str, Column]]]:
    """Yield each segment: its names, users, and by user the targets and the hits of each method."""
    for name, segmentation in of_users.items():
        for number, label in enumerate(segmentation.names):
            is_in_B = (segmentation.label_B == number).astype(np.float64)
            hits = {method: measures["hits"] * is_in_B for method, measures in lists.items()}
            yield name, label, int(is_in_B.sum()), targets["targets"] * is_in_B, hits
    for name, segments in TARGET_SEGMENTS.items():
        for label in segments if f"{segments[0]}_targets" in targets else ():
            targets_B = targets[f"{label}_targets"]
            hits = {method: measures[f"{label}_hits"] for method, measures in lists.items()}
            yield name, label, int((targets_B > 0).sum()), targets_B, hits


def _compare_hit_rates(figures: dict[str, Ratio], budget: int, own: str) -> dict[str, Any]:
    """Return the hit rate of each method, and its differences to ``own`` and to the vector of the whole history."""
    key, place = f"hr@{budget}", {method: number for number, method in enumerate(figures)}
    estimates = estimate(list(figures.values()))

    def minus(first: str, second: str) -> dict[str, Any]:
        return {key: as_json(estimates.difference(place[first], place[second]))}

    compared: dict[str, Any] = {
        "methods": {method: {key: as_json(estimates.interval(number))} for method, number in place.items()},
        "differences": {method: minus(own, method) for method in place if method != own},
    }
    if UNCONDITIONED in place:
        others = [method for method in place if method != UNCONDITIONED]
        compared["minus_unconditioned"] = {method: minus(method, UNCONDITIONED) for method in others}
    return compared


def _counts_by_segment(
    held: HeldOut, items: ItemFacts, labels: TargetLabels | None, is_counted_T: NDArray[np.bool_], noun: str
) -> Measures:
    by_segmentation: TargetLabels = {"popularity": items.popularity_class[held.target], **(labels or {})}
    user_T, counts = ranking.target_rows(held.target_offset), Measures()
    for name, label_T in by_segmentation.items():
        segments = TARGET_SEGMENTS[name]
        chosen_T = is_counted_T & (label_T >= 0)
        cell = user_T[chosen_T] * len(segments) + label_T[chosen_T]
        count_BS = np.bincount(cell, minlength=len(held) * len(segments)).reshape(-1, len(segments)).astype(np.float64)
        counts |= {f"{label}_{noun}": count_BS[:, number] for number, label in enumerate(segments)}
    return counts
