"""Comparison of methods on one data set of a study: figures and differences with intervals, overall and by segment.

The per-user outcomes of all methods and seeds are read from the study's files and paired by user.

Legend: S seeds · B users · R resamples · M methods.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from multitudes.errors import ArtefactError
from multitudes.evaluation.list_metrics import METRICS
from multitudes.evaluation.outcomes import UNCONDITIONED, as_json
from multitudes.evaluation.targets import TARGET_SEGMENTS
from multitudes.metrics.bootstrap import (
    Estimates,
    Interval,
    Role,
    SeedOutcomes,
    bootstrap_users_and_seeds,
    p_value,
    rate_per_seed,
)
from multitudes.report.formatting import CONTROL_LABELS, TRAINED_CONTROL
from multitudes.seeding import generator

OUTCOMES_FILE, CELLS_FILE = "outcomes.parquet", "cells.json"
# Segmentations of the users. Activity is absent if the log has no timestamps.
SEGMENTS = ("activity", "history", "tastes")
_TARGET_LABELS = tuple(label for segments in TARGET_SEGMENTS.values() for label in segments)
# Figures, and the measure of each user behind them.
FIGURES = {"hr": "hits", **{name: name for name in METRICS}}
_MEASURES = (*FIGURES.values(), *(f"{label}_hits" for label in _TARGET_LABELS))  # that are read; the file has more
_USER_COLUMNS = ("user_id", "targets", *(f"{label}_targets" for label in _TARGET_LABELS), *SEGMENTS)
_KEY_COLUMNS = ("method", "seed")
MIN_USERS = 20  # of a segment: the bootstrap of fewer users gives no reliable interval
_ACTIVITY = ("core", "casual", "new")


class PairedOutcomes(NamedTuple):
    """All outcomes on one data set for one kind of targets and one budget; arrays are in the order of ``users``."""

    users: pl.DataFrame  # (B): user_id, number of targets, of head, torso and tail targets, segments
    cells: dict[str, list[int]]  # seeds of each method
    measures: dict[str, NDArray[np.float64]]  # (cells, B), in the order of ``cells``

    def measure(self, method: str, measure: str) -> SeedOutcomes:
        """Return a measure of a method for each seed and user."""
        order = [name for name, seeds in self.cells.items() for _ in seeds]
        start, seeds = order.index(method), self.cells[method]
        # ``joint/averaged`` is a control, and a method without a seed is a baseline.
        role: Role = "control" if "/" in method else "baseline" if seeds == [-1] else "method"
        return SeedOutcomes(self.measures[measure][start : start + len(seeds)], role)

    def user_column(self, column: str) -> NDArray[np.float64]:
        """Return a column of ``users``, such as targets or tail_targets, shape (B,)."""
        return self.users[column].to_numpy().astype(np.float64)


def read_outcomes(study: Path, data: str) -> Iterator[tuple[str, int, PairedOutcomes]]:
    """Yield kind of targets, budget and outcomes on a data set, in this order.

    Raises:
        ArtefactError: the cells were evaluated on different users.
    """
    file = study / OUTCOMES_FILE
    columns = cs.by_name("kind", "budget", *_KEY_COLUMNS, *_USER_COLUMNS, *_MEASURES, require_all=False)
    frame = pl.scan_parquet(file, glob=False).filter(pl.col("data") == data).select(columns).collect()
    for (kind, budget), outcomes in sorted(frame.partition_by("kind", "budget", as_dict=True).items()):
        yield str(kind), int(budget), pair_by_user(outcomes, f"{file}: {data}")


def pair_by_user(outcomes: pl.DataFrame, where: str) -> PairedOutcomes:
    """Return the outcomes of one data set, kind and budget, a row for each method, seed and user, paired by user.

    Raises:
        ArtefactError: the cells were evaluated on different users or targets.
    """
    ordered = outcomes.sort(*_KEY_COLUMNS, "user_id")
    users_hash = pl.struct("user_id", "targets").hash().sum().alias("users_hash")
    cells = ordered.group_by(*_KEY_COLUMNS, maintain_order=True).agg(pl.len(), users_hash)
    if cells["len"].n_unique() > 1 or cells["users_hash"].n_unique() > 1:
        raise ArtefactError(
            f"{where}: methods or seeds were evaluated on different users or targets; run multitudes study again"
        )
    n_users = len(ordered) // max(len(cells), 1)
    # A column of nulls belongs to other data, one with some nulls is unknown to cells of an earlier version.
    measures = [name for name in _MEASURES if name in ordered.columns and not ordered[name].has_nulls()]
    users = ordered.head(n_users)
    return PairedOutcomes(
        users=users.select([name for name in _USER_COLUMNS if name in ordered.columns]),
        cells={str(m): s for m, s in cells.group_by("method", maintain_order=True).agg("seed").iter_rows()},
        measures={name: ordered[name].to_numpy().astype(np.float64).reshape(-1, n_users) for name in measures},
    )


class Resampling(NamedTuple):
    """The bootstrap behind intervals. The same seed draws the same users, so separately computed figures are paired."""

    resamples: int = 2000
    verdict_resamples: int = 2000  # for p-values that Holm's correction multiplies
    seed: int = 0

    def __call__(
        self, methods: Sequence[SeedOutcomes], weight_B: NDArray[np.float64], *, for_verdict: bool = False
    ) -> Estimates:
        """Return the estimates of all methods on the same resamples; ``weight_B`` are the weights of the users."""
        streams = [generator(self.seed, "study", name) for name in ("users", "seeds")]
        return bootstrap_users_and_seeds(
            methods, weight_B, self.verdict_resamples if for_verdict else self.resamples, *streams
        )


class Compared(NamedTuple):
    """A figure of several methods, and what each has more than the reference."""

    rates: dict[str, dict[str, Any]]
    minus: dict[str, dict[str, Any]]  # without the reference; empty if it is not among the methods


def compare(
    outcomes: PairedOutcomes,
    methods: Sequence[str],
    reference: str | None,
    resampling: Resampling,
    measure: str = "hits",
    *,
    member_B: NDArray[np.bool_] | None = None,
    for_verdict: bool = False,
    by_seed: bool = False,
) -> Compared:
    """Return a measure of methods with intervals, and the differences to one of them, paired by user.

    The measure is hits, those of a segment of targets, or a figure that is a mean over users: those of ``member_B``, or
    all. ``for_verdict``: the p-values are multiplied by Holm's correction. ``by_seed``: the methods query the same
    models, so that differences are paired by seed too.
    """
    found = [outcomes.measure(method, measure) for method in methods]
    found, weight_B = with_weights(outcomes, measure, found)
    if member_B is not None:
        found, weight_B = [one._replace(value_SB=one.value_SB[:, member_B]) for one in found], weight_B[member_B]
    estimates = resampling(found, weight_B, for_verdict=for_verdict)
    intervals = {method: estimates.interval(number) for number, method in enumerate(methods)}
    # The noise of the seeds can push the lower end below 0, so it is clipped.
    rates = {method: as_json(Interval(mean, max(low, 0.0), high)) for method, (mean, low, high) in intervals.items()}
    if reference not in methods:
        return Compared(rates, {})
    own = methods.index(reference)
    others = {method: number for number, method in enumerate(methods) if number != own}
    if not by_seed:
        return Compared(rates, {m: difference_interval(estimates, number, own) for m, number in others.items()})
    gains = [SeedOutcomes(found[number].value_SB - found[own].value_SB) for number in others.values()]
    paired = resampling(gains, weight_B)
    return Compared(rates, {m: as_json(paired.interval(number)) for number, m in enumerate(others)})


def compare_methods(outcomes: PairedOutcomes, reference: str, resampling: Resampling) -> dict[str, Any]:
    """Return each method's figures, and in ``minus`` its figures less those of the reference, paired by user.

    Only the difference in HR gets a verdict: testing every figure would give more chances of a false positive.
    """
    order, target_B = list(outcomes.cells), outcomes.user_column("targets")
    table: dict[str, Any] = {}
    for method, seeds in outcomes.cells.items():
        hits = outcomes.measure(method, "hits")
        by_seed = [round(float(rate), 6) for rate in rate_per_seed(hits.value_SB, target_B)]
        table[method] = {"role": hits.role, "seeds": seeds, "by_seed": by_seed, "figures": {}, "minus": {}}
    for figure, measure in FIGURES.items():
        if measure in outcomes.measures:
            found = compare(outcomes, order, reference, resampling, measure, for_verdict=figure == "hr")
            for method, entry in table.items():
                entry["figures"][figure] = found.rates[method]
                entry["minus"] |= {figure: found.minus[method]} if method in found.minus else {}
    return table


def compare_with_controls(
    outcomes: PairedOutcomes, resampling: Resampling, trained: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return each method's HR at the main budget less that of its controls, paired by user and by seed.

    ``trained`` has the control of each method that has a trained one. Such a control is another model that shares only
    the seed, so any pairing of the seeds is equally valid. All other controls query the method's own models.
    """
    differences: dict[str, dict[str, Any]] = {}
    for control in CONTROL_LABELS:
        others = trained if control == TRAINED_CONTROL else {method: f"{method}/{control}" for method in outcomes.cells}
        pairs = {method: (method, other) for method, other in others.items()}
        for method, gain in _paired_differences(outcomes, pairs, "hr", resampling, for_verdict=True).items():
            differences.setdefault(method, {})[control] = gain
    return differences


def compare_with_systems(
    budgets: Mapping[int, PairedOutcomes], main: int, resampling: Resampling
) -> dict[str, dict[str, Any]]:
    """Return hits and interests served of each method less those of its other systems, such as ``joint/calibrated``.

    All systems of a method query the same models, so differences are paired by user and by seed. Figures of another
    budget than ``main`` have it in their name: ``served@20``.
    """
    differences: dict[str, dict[str, Any]] = {}
    for n, outcomes in budgets.items():
        pairs = {name: (name.partition("/")[0], name) for name in outcomes.cells if "/" in name}
        for figure in ("hr", "served"):
            key = figure if n == main else f"{figure}@{n}"
            for name, gain in _paired_differences(outcomes, pairs, figure, resampling).items():
                differences.setdefault(name, {})[key] = {bound: gain[bound] for bound in ("mean", "low", "high")}
    return differences


def _paired_differences(
    outcomes: PairedOutcomes,
    pairs: Mapping[str, tuple[str, str]],
    figure: str,
    resampling: Resampling,
    *,
    for_verdict: bool = False,
) -> dict[str, dict[str, Any]]:
    """Return a figure of the first method of each pair less that of the second, where both have as many seeds."""
    measure = FIGURES[figure]
    if measure not in outcomes.measures:
        return {}
    gains = {
        label: SeedOutcomes(own - other)
        for label, (method, opponent) in pairs.items()
        if {method, opponent} <= outcomes.cells.keys()
        and len(own := outcomes.measure(method, measure).value_SB)
        == len(other := outcomes.measure(opponent, measure).value_SB)
    }
    if not gains:
        return {}
    estimates = resampling(*with_weights(outcomes, measure, list(gains.values())), for_verdict=for_verdict)
    p_values = [round(p_value(estimates.draw_RM[:, number]), 6) for number in range(len(gains))]
    return {name: as_json(estimates.interval(n)) | {"p": p_values[n]} for n, name in enumerate(gains)}


def compare_with_baseline(
    outcomes: PairedOutcomes, methods: Mapping[str, dict[str, Any]], resampling: Resampling
) -> dict[str, Any] | None:
    """Return the baseline with the highest HR, and each method's HR less that of it, paired by user.

    ``methods`` are those of ``compare_methods``. The result has ``method``, the baseline, and ``minus``, a difference
    for each method; None without baselines.
    """
    rates = {m: v["figures"]["hr"]["mean"] or 0.0 for m, v in methods.items() if v["role"] == "baseline"}
    if not rates:
        return None
    strongest = max(rates, key=rates.__getitem__)
    order = [strongest, *(method for method, entry in methods.items() if entry["role"] == "method")]
    return {"method": strongest, "minus": compare(outcomes, order, strongest, resampling).minus}


def hit_rates(outcomes: PairedOutcomes, resampling: Resampling) -> dict[str, Any]:
    """Return every method's HR at one budget."""
    return compare(outcomes, list(outcomes.cells), None, resampling).rates


def difference_interval(estimates: Estimates, method: int, reference: int) -> dict[str, Any]:
    """Return the difference of two methods: absolute, its p-value, and relative to the reference."""
    draw_R = estimates.draw_RM[:, method] - estimates.draw_RM[:, reference]
    relative = as_json(estimates.relative(method, reference))
    return as_json(estimates.difference(method, reference)) | {"p": round(p_value(draw_R), 6), "relative": relative}


def with_weights(
    outcomes: PairedOutcomes, measure: str, found: list[SeedOutcomes]
) -> tuple[list[SeedOutcomes], NDArray[np.float64]]:
    """Return outcomes with the weights of the users (B,): targets for hits, 1 where a mean over users is defined."""
    if measure.endswith("hits"):
        return found, outcomes.user_column(f"{measure.removesuffix('hits')}targets")
    is_defined_B = np.all([np.isfinite(one.value_SB).all(axis=0) for one in found], axis=0)
    defined = [one._replace(value_SB=np.where(is_defined_B, one.value_SB, 0.0)) for one in found]
    return defined, is_defined_B.astype(np.float64)


def compare_by_segment(outcomes: PairedOutcomes, reference: str, resampling: Resampling) -> dict[str, Any]:
    """Return each method's HR less that of the reference, by segment; without controls and baselines."""
    methods = [m for m in outcomes.cells if outcomes.measure(m, "hits").role == "method"]
    return _compare_segments(outcomes, methods, reference, resampling) if reference in methods else {}


def compare_kinds_by_segment(
    outcomes: PairedOutcomes, reference: str, strongest_baseline: str | None, resampling: Resampling
) -> dict[str, Any] | None:
    """Return when each kind of vector pays: its HR, and that less the HR of the whole history's vector, by segment.

    All kinds query the same models, so differences are paired by user and by seed. They are those of the reference if
    it has implicit and explicit vectors, else of the first method that has; None if no method has.

    The result has ``method``; ``systems``: whole history, implicit, explicit, the method, the baseline; ``segments``.
    """
    for method in sorted(outcomes.cells, key=lambda name: name != reference):
        kinds = [f"{method}/{kind}" for kind in (UNCONDITIONED, "implicit", "explicit")]
        if set(kinds) <= set(outcomes.cells):
            systems = [*kinds, method, *([strongest_baseline] if strongest_baseline else [])]
            segments = _compare_segments(outcomes, systems, kinds[0], resampling, by_seed=True)
            return {"method": method, "systems": systems, "segments": segments}
    return None


def _compare_segments(
    outcomes: PairedOutcomes, methods: list[str], reference: str, resampling: Resampling, *, by_seed: bool = False
) -> dict[str, Any]:
    """Return the methods' HR and that less the reference's, by segment of users and of targets.

    A segment of fewer than ``MIN_USERS`` users has a size alone.
    """

    def segment(member_B: NDArray[np.bool_], prefix: str = "") -> dict[str, Any]:
        sizes = {"users": int(member_B.sum()), "targets": int(outcomes.user_column(f"{prefix}targets")[member_B].sum())}
        if sizes["users"] < MIN_USERS:
            return {**sizes, "rates": {}, "minus": {}}
        found = compare(outcomes, methods, reference, resampling, f"{prefix}hits", member_B=member_B, by_seed=by_seed)
        return {**sizes, **found._asdict()}

    segments: dict[str, Any] = {}
    for name in SEGMENTS:
        if name in outcomes.users.columns and outcomes.users[name].drop_nulls().n_unique() > 1:
            label_B = outcomes.users[name]
            segments[name] = {
                label: segment((label_B == label).fill_null(False).to_numpy())
                for label in sort_labels(label_B.drop_nulls().unique().to_list())
            }
    for name, labels in TARGET_SEGMENTS.items():
        if {f"{label}_hits" for label in labels} <= outcomes.measures.keys():
            segments[name] = {one: segment(outcomes.user_column(f"{one}_targets") > 0, f"{one}_") for one in labels}
    return segments


def sort_labels(labels: list[str]) -> list[str]:
    """Return the labels in reading order: core before new, 2 before 10-49."""
    if set(labels) <= set(_ACTIVITY):
        return [label for label in _ACTIVITY if label in labels]
    return sorted(labels, key=lambda label: (float((re.findall(r"[\d.]+", label) or ["0"])[0]), label))
