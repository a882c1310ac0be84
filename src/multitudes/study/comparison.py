"""Comparison of methods on one data set of a study: figures and differences with intervals, overall and by segment.

The per-user outcomes of all methods and seeds are read from the study's files and paired by user.

Legend: S seeds · B users · R resamples · M methods.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from multitudes.errors import ArtefactError
from multitudes.evaluation.list_metrics import METRICS
from multitudes.evaluation.outcomes import UNCONDITIONED, as_json
from multitudes.evaluation.target_segments import TARGET_SEGMENTS
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
_PARTS = tuple(part for parts in TARGET_SEGMENTS.values() for part in parts)
# Figures, and the measure of each user behind them.
FIGURES = {"hr": "hits", **{name: name for name in METRICS}}
_MEASURES = (*FIGURES.values(), *(f"{p}_hits" for p in _PARTS))  # that are read; the file has more
_USER_COLUMNS = ("user_id", "targets", *(f"{part}_targets" for part in _PARTS), *SEGMENTS)
_KEY_COLUMNS = ("method", "seed")
_REQUIRED_COLUMNS = ("kind", "budget", *_KEY_COLUMNS, "user_id", "targets", "hits")
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
        return SeedOutcomes(self.measures[measure][start : start + len(seeds)], method_role(method, seeds))

    def user_column(self, column: str) -> NDArray[np.float64]:
        """Return a column of ``users``, such as targets or tail_targets, shape (B,)."""
        return self.users[column].to_numpy().astype(np.float64)


def method_role(method: str, seeds: list[int]) -> Role:
    """Return the role of a method: ``joint/averaged`` is a control, and a method without a seed is a baseline."""
    return "control" if "/" in method else "baseline" if seeds == [-1] else "method"


def read_cells(study: Path) -> dict[str, Any]:
    """Read the record of a study, ``cells.json``.

    Raises:
        ArtefactError: the file is missing or damaged.
    """
    file = study / CELLS_FILE
    try:
        cells = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactError(
            f"{study}: no study here ({CELLS_FILE} is missing); create one with: multitudes study"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ArtefactError(f"{file}: damaged; run multitudes study again") from None
    if not isinstance(cells, dict) or not {"cells", "reference"} <= cells.keys():
        raise ArtefactError(f"{file}: not the record of a study; run multitudes study again")
    return cells


def read_outcomes(study: Path, data: str) -> Iterator[tuple[str, int, PairedOutcomes]]:
    """Yield kind of targets, budget and outcomes on a data set, in this order.

    Raises:
        ArtefactError: the file is missing or damaged, or its cells were evaluated on different users.
    """
    file = study / OUTCOMES_FILE
    try:
        columns = cs.by_name("kind", "budget", *_KEY_COLUMNS, *_USER_COLUMNS, *_MEASURES, require_all=False)
        frame = pl.scan_parquet(file).filter(pl.col("data") == data).select(columns).collect()
    except FileNotFoundError:
        raise ArtefactError(f"{study}: {OUTCOMES_FILE} is missing; run multitudes study again") from None
    except pl.exceptions.PolarsError as error:
        raise ArtefactError(f"{file}: cannot be read ({error}); run multitudes study again") from None
    if missing := [name for name in _REQUIRED_COLUMNS if name not in frame.columns]:
        raise ArtefactError(f"{file}: no column '{missing[0]}'; run multitudes study again")
    for (kind, budget), outcomes in sorted(frame.partition_by("kind", "budget", as_dict=True).items()):
        yield str(kind), int(budget), pair_by_user(outcomes, f"{file}: {data}")


def pair_by_user(outcomes: pl.DataFrame, where: str) -> PairedOutcomes:
    """Return the outcomes of one data set, kind and budget, paired by user.

    Args:
        outcomes: a row for each method, seed and user.
        where: prefix of error texts.

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


def compare_methods(outcomes: PairedOutcomes, reference: str, resampling: Resampling) -> dict[str, Any]:
    """Return each method's figures, and in ``minus`` its figures less those of the reference, paired by user.

    Only the difference in HR gets a verdict: testing every figure would give more chances of a false positive.
    """
    table: dict[str, Any] = {
        method: {"role": outcomes.measure(method, "hits").role, "seeds": seeds, "figures": {}, "minus": {}}
        for method, seeds in outcomes.cells.items()
    }
    order = list(outcomes.cells)
    for figure, measure in FIGURES.items():
        if measure not in outcomes.measures:
            continue
        methods, weight_B = weighted(outcomes, figure, [outcomes.measure(method, measure) for method in order])
        estimates = resampling(methods, weight_B, for_verdict=figure == "hr")
        for number, method in enumerate(order):
            table[method]["figures"][figure] = rate_interval(estimates, number)
            if reference in order and method != reference:
                table[method]["minus"][figure] = difference_interval(estimates, number, order.index(reference))
            if figure == "hr":
                rates_S = rate_per_seed(methods[number].value_SB, weight_B)
                table[method]["by_seed"] = [round(float(rate), 6) for rate in rates_S]
    return table


def compare_with_controls(
    outcomes: PairedOutcomes, resampling: Resampling, trained: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return each method's HR less that of its controls, paired by user and by seed.

    Args:
        outcomes: outcomes at the main budget.
        resampling: the bootstrap.
        trained: control of each method that has a trained one. Such a control is another model that shares only the
            seed, so any pairing of the seeds is equally valid. All other controls query the method's own models.
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
    gains = {
        label: SeedOutcomes(own - other)
        for label, (method, opponent) in pairs.items()
        if {method, opponent} <= outcomes.cells.keys()
        and measure in outcomes.measures
        and len(own := outcomes.measure(method, measure).value_SB)
        == len(other := outcomes.measure(opponent, measure).value_SB)
    }
    if not gains:
        return {}
    estimates = resampling(*weighted(outcomes, figure, list(gains.values())), for_verdict=for_verdict)
    p_values = [round(p_value(estimates.draw_RM[:, number]), 6) for number in range(len(gains))]
    return {name: as_json(estimates.interval(n)) | {"p": p_values[n]} for n, name in enumerate(gains)}


def compare_with_baseline(
    outcomes: PairedOutcomes, methods: Mapping[str, dict[str, Any]], resampling: Resampling
) -> dict[str, Any] | None:
    """Return the baseline with the highest HR, and each method's HR less that of it, paired by user.

    Args:
        outcomes: outcomes at the main budget.
        methods: from ``compare_methods``.
        resampling: the bootstrap.

    Returns:
        ``method``: the baseline, ``minus``: a difference for each method; None without baselines.
    """
    rates = {m: v["figures"]["hr"]["mean"] or 0.0 for m, v in methods.items() if v["role"] == "baseline"}
    if not rates:
        return None
    strongest = max(rates, key=rates.__getitem__)
    order = [strongest, *(method for method, entry in methods.items() if entry["role"] == "method")]
    estimates = resampling([outcomes.measure(m, "hits") for m in order], outcomes.user_column("targets"))
    minus = {method: difference_interval(estimates, number, 0) for number, method in enumerate(order) if number}
    return {"method": strongest, "minus": minus}


def hit_rates(outcomes: PairedOutcomes, resampling: Resampling, reference: str | None = None) -> dict[str, Any]:
    """Return every method's HR at one budget, and ``relative`` to the reference's if one is given."""
    order = list(outcomes.cells)
    estimates = resampling([outcomes.measure(m, "hits") for m in order], outcomes.user_column("targets"))
    rates: dict[str, Any] = {method: rate_interval(estimates, number) for number, method in enumerate(order)}
    for number, method in enumerate(order):
        if reference in order and method != reference:
            rates[method]["relative"] = as_json(estimates.relative(number, order.index(reference)))
    return rates


def rate_interval(estimates: Estimates, method: int) -> dict[str, Any]:
    """Return a figure with its interval. The noise of the seeds can push the lower end below 0, so it is clipped."""
    mean, low, high = estimates.interval(method)
    return as_json(Interval(mean, max(low, 0.0), high))


def difference_interval(estimates: Estimates, method: int, reference: int) -> dict[str, Any]:
    """Return the difference of two methods: absolute, its p-value, and relative to the reference."""
    draw_R = estimates.draw_RM[:, method] - estimates.draw_RM[:, reference]
    relative = as_json(estimates.relative(method, reference))
    return as_json(estimates.difference(method, reference)) | {"p": round(p_value(draw_R), 6), "relative": relative}


def weighted(
    outcomes: PairedOutcomes, figure: str, found: list[SeedOutcomes]
) -> tuple[list[SeedOutcomes], NDArray[np.float64]]:
    """Return outcomes of a figure with the weights of the users (B,): targets for HR, 1 where a metric is defined."""
    if figure == "hr":
        return found, outcomes.user_column("targets")
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

    All kinds query the same models, so differences are paired by user and by seed.

    Args:
        outcomes: outcomes at the main budget.
        reference: the method whose vectors are compared if it has both kinds; else it is the first that has.
        strongest_baseline: shown beside them.
        resampling: the bootstrap.

    Returns:
        ``method``; ``systems``: whole history, implicit, explicit, the method, the baseline; ``segments``. None if no
        method has implicit and explicit vectors.
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
    """Return the methods' HR less that of the reference, by segment of users and of targets."""
    compare = partial(_compare_segment, outcomes, methods, reference, resampling, by_seed=by_seed)
    segments: dict[str, Any] = {}
    for name in SEGMENTS:
        if name in outcomes.users.columns and outcomes.users[name].drop_nulls().n_unique() > 1:
            label_B = outcomes.users[name]
            segments[name] = {
                label: compare((label_B == label).fill_null(False).to_numpy())
                for label in sort_labels(label_B.drop_nulls().unique().to_list())
            }
    for name, parts in TARGET_SEGMENTS.items():
        if {f"{part}_hits" for part in parts} <= outcomes.measures.keys():
            segments[name] = {part: compare(None, f"{part}_") for part in parts}
    return segments


def sort_labels(labels: list[str]) -> list[str]:
    """Return the labels in reading order: core before new, 2 before 10-49."""
    if set(labels) <= set(_ACTIVITY):
        return [label for label in _ACTIVITY if label in labels]
    return sorted(labels, key=lambda label: (float((re.findall(r"[\d.]+", label) or ["0"])[0]), label))


def _compare_segment(
    outcomes: PairedOutcomes,
    methods: list[str],
    reference: str,
    resampling: Resampling,
    member_B: NDArray[np.bool_] | None,
    prefix: str = "",
    *,
    by_seed: bool = False,
) -> dict[str, Any]:
    """Return the size of a segment; HR and differences in it unless it has fewer than ``MIN_USERS`` users.

    Args:
        outcomes: of all users.
        methods: the methods to compare.
        reference: one of them.
        resampling: the bootstrap.
        member_B: whether each user belongs to the segment; None: all users with such targets do.
        prefix: of the targets, such as ``tail_``; empty: all.
        by_seed: whether the methods query the same models, so that differences are paired by seed too.
    """
    targets_B = outcomes.user_column(f"{prefix}targets")
    member_B = targets_B > 0 if member_B is None else member_B
    segment: dict[str, Any] = {"users": int(member_B.sum()), "targets": int(targets_B[member_B].sum())}
    segment |= {"rates": {}, "minus": {}}
    if segment["users"] < MIN_USERS:
        return segment
    hits = [outcomes.measure(method, f"{prefix}hits") for method in methods]
    members = [SeedOutcomes(one.value_SB[:, member_B], one.role) for one in hits]
    own, weight_B = methods.index(reference), targets_B[member_B]
    estimates = resampling(members, weight_B)
    segment["rates"] = {m: rate_interval(estimates, number) for number, m in enumerate(methods)}
    others = {m: number for number, m in enumerate(methods) if number != own}
    if by_seed:
        gains = [SeedOutcomes(members[number].value_SB - members[own].value_SB) for number in others.values()]
        paired = resampling(gains, weight_B)
        segment["minus"] = {m: as_json(paired.interval(number)) for number, m in enumerate(others)}
    else:
        segment["minus"] = {m: difference_interval(estimates, number, own) for m, number in others.items()}
    return segment
