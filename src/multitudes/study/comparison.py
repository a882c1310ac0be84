"""What a study's cells gave each user, read back from its files as arrays that are paired by user.

Legend: S seeds · B users.

One data set of a study: every method's figures with intervals, and its difference to the reference.

Legend: S seeds · B users · M methods.

For whom: the difference to the reference in every segment of users, and for head, torso and tail targets.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from multitudes.errors import ArtefactError
from multitudes.evaluation.outcomes import as_json
from multitudes.metrics.bootstrap import (
    Estimates,
    Interval,
    Role,
    SeedOutcomes,
    bootstrap_users_and_seeds,
    p_value,
    rate_per_seed,
)
from multitudes.report.study_sentences import CONTROL_LABELS, TRAINED_CONTROL
from multitudes.seeding import generator

OUTCOMES_FILE, CELLS_FILE = "outcomes.parquet", "cells.json"
# The columns that say who a user is; a study of a log that carries order only has no activity.
SEGMENTS = ("activity", "history", "tastes")
# What is read of the measures of an evaluation; the others stay in the file.
_MEASURES = ("hits", "ndcg", "topics", "candidate_topics", "head_hits", "torso_hits", "tail_hits")
_USER_COLUMNS = ("user_id", "targets", "head_targets", "torso_targets", "tail_targets", *SEGMENTS)
_KEY_COLUMNS = ("method", "seed")
_REQUIRED_COLUMNS = ("kind", "budget", *_KEY_COLUMNS, "user_id", "targets", "hits")


class PairedOutcomes(NamedTuple):
    """All outcomes on one data set, of one kind of targets, at one budget; every array is in the order of ``users``."""

    users: pl.DataFrame  # (B): user_id, targets and those of the head, torso and tail, segments
    cells: dict[str, list[int]]  # seeds of each method
    measures: dict[str, NDArray[np.float64]]  # (cells, B), the cells in the order of ``cells``

    def outcomes(self, method: str, measure: str) -> SeedOutcomes:
        """Return what each user got from each seed of a method."""
        start = 0
        for name, seeds in self.cells.items():
            if name == method:
                return SeedOutcomes(self.measures[measure][start : start + len(seeds)], method_role(method, seeds))
            start += len(seeds)
        raise KeyError(method)

    def user_column(self, column: str) -> NDArray[np.float64]:
        """Return a column of ``users``, such as targets or tail_targets, shape (B,)."""
        return self.users[column].to_numpy().astype(np.float64)


def method_role(method: str, seeds: list[int]) -> Role:
    """Return what a method is: ``joint/averaged`` is a control, and what has no seed learned nothing."""
    return "control" if "/" in method else "baseline" if seeds == [-1] else "method"


def read_cells(study: Path) -> dict[str, Any]:
    """Read what a study did.

    Raises:
        ArtefactError: the file is missing or damaged.
    """
    file = study / CELLS_FILE
    try:
        cells = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactError(
            f"{study}: no study here ({CELLS_FILE} is missing); make one with: multitudes study"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ArtefactError(f"{file}: damaged; run multitudes study again") from None
    if not isinstance(cells, dict) or not {"cells", "reference"} <= cells.keys():
        raise ArtefactError(f"{file}: not the record of a study; run multitudes study again")
    return cells


def read_outcomes(study: Path, data: str) -> Iterator[tuple[str, int, PairedOutcomes]]:
    """Yield the outcomes on a data set, by kind of targets and budget.

    Raises:
        ArtefactError: the file is missing or damaged, or its cells asked different users.
    """
    file = study / OUTCOMES_FILE
    try:
        wanted = cs.by_name("kind", "budget", *_KEY_COLUMNS, *_USER_COLUMNS, *_MEASURES, require_all=False)
        frame = pl.scan_parquet(file).filter(pl.col("data") == data).select(wanted).collect()
    except FileNotFoundError:
        raise ArtefactError(f"{study}: {OUTCOMES_FILE} is missing; run multitudes study again") from None
    except pl.exceptions.PolarsError as error:
        raise ArtefactError(f"{file}: cannot be read ({error}); run multitudes study again") from None
    if missing := [name for name in _REQUIRED_COLUMNS if name not in frame.columns]:
        raise ArtefactError(f"{file}: no column '{missing[0]}'; run multitudes study again")
    for (kind, budget), part in sorted(frame.partition_by("kind", "budget", as_dict=True).items()):
        yield str(kind), int(budget), pair_by_user(part, f"{file}: {data}")


def pair_by_user(part: pl.DataFrame, where: str) -> PairedOutcomes:
    """Return the outcomes of one data set, kind and budget; ``where`` names them in the error.

    Raises:
        ArtefactError: the cells asked different users.
    """
    ordered = part.sort(*_KEY_COLUMNS, "user_id")
    question = pl.struct("user_id", "targets").hash().sum().alias("question")
    asked = ordered.group_by(*_KEY_COLUMNS, maintain_order=True).agg(pl.len(), question)
    if asked["len"].n_unique() > 1 or asked["question"].n_unique() > 1:
        raise ArtefactError(
            f"{where}: methods or seeds were asked about different users or targets; run multitudes study again"
        )
    n_users = len(ordered) // max(len(asked), 1)
    measured = [name for name in _MEASURES if name in ordered.columns]
    return PairedOutcomes(
        users=ordered.head(n_users).select([name for name in _USER_COLUMNS if name in ordered.columns]),
        cells={str(m): s for m, s in asked.group_by("method", maintain_order=True).agg("seed").iter_rows()},
        measures={name: ordered[name].to_numpy().astype(np.float64).reshape(-1, n_users) for name in measured},
    )


# Figures and the per-user measure behind each. HR is pooled over targets; the others are means over users.
FIGURES = {"hr": "hits", "ndcg": "ndcg", "topics": "topics", "candidate_topics": "candidate_topics"}


class Resampling(NamedTuple):
    """How intervals are made. The same seed draws the same users, so that figures made apart are paired."""

    resamples: int = 2000
    verdict_resamples: int = 2000  # resamples where a p-value is to survive Holm's correction
    seed: int = 0

    def __call__(
        self, methods: Sequence[SeedOutcomes], weight_B: NDArray[np.float64], *, for_verdict: bool = False
    ) -> Estimates:
        """Return the estimates of all methods on the same resamples."""
        streams = [generator(self.seed, "study", name) for name in ("users", "seeds")]
        return bootstrap_users_and_seeds(
            methods, weight_B, self.verdict_resamples if for_verdict else self.resamples, *streams
        )


def compare_methods(answers: PairedOutcomes, reference: str, resampling: Resampling) -> dict[str, Any]:
    """Return each method's figures, with ``minus``: its figures less those of the reference, paired by user.

    A p-value stands with the difference in HR, which alone is judged: a study that tests each figure has more ways to
    win by chance.
    """
    table: dict[str, Any] = {
        method: {"role": answers.outcomes(method, "hits").role, "seeds": seeds, "figures": {}, "minus": {}}
        for method, seeds in answers.cells.items()
    }
    order = list(answers.cells)
    for figure, measure in FIGURES.items():
        if measure not in answers.measures:
            continue
        weight_B = figure_weights(answers, figure)
        methods = [answers.outcomes(method, measure) for method in order]
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
    answers: PairedOutcomes, resampling: Resampling, trained: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return each method's HR less that of its controls, paired by user and by seed.

    Its own controls are the same models asked otherwise. Those of ``trained``, by method, are other models, which share
    nothing with it but the seed: their pairs by seed are as good as any.
    """
    found: dict[str, dict[str, Any]] = {}
    for control in CONTROL_LABELS:
        others = trained if control == TRAINED_CONTROL else {method: f"{method}/{control}" for method in answers.cells}
        gains = {
            method: SeedOutcomes(own - other)
            for method, opponent in others.items()
            if method in answers.cells
            and opponent in answers.cells
            and len(own := _hits(answers, method)) == len(other := _hits(answers, opponent))
        }
        if gains:
            estimates = resampling(list(gains.values()), figure_weights(answers, "hr"), for_verdict=True)
            for number, method in enumerate(gains):
                p = round(p_value(estimates.draw_RM[:, number]), 6)
                found.setdefault(method, {})[control] = as_json(estimates.interval(number)) | {"p": p}
    return found


def hit_rates(
    answers: PairedOutcomes, resampling: Resampling, reference: str | None = None, prefix: str = ""
) -> dict[str, Any]:
    """Return every method's HR with its interval, beside the reference's where one is named.

    Args:
        answers: outcomes at one budget.
        resampling: how intervals are made.
        reference: the method of which each HR is also given as a share, if it is there.
        prefix: which targets: all, or ``head_``, ``torso_`` or ``tail_``.
    """
    order = list(answers.cells)
    estimates = resampling(
        [answers.outcomes(m, f"{prefix}hits") for m in order], answers.user_column(f"{prefix}targets")
    )
    rates: dict[str, Any] = {method: rate_interval(estimates, number) for number, method in enumerate(order)}
    if reference in order:
        own = order.index(reference)
        for number, method in enumerate(order):
            if number != own:
                rates[method]["relative"] = as_json(estimates.relative(number, own))
    return rates


def rate_interval(estimates: Estimates, method: int) -> dict[str, Any]:
    """Return a figure with its interval; no figure is negative, which the noise of the seeds does not know."""
    mean, low, high = estimates.interval(method)
    return as_json(Interval(mean, max(low, 0.0), high))


def difference_interval(estimates: Estimates, method: int, reference: int) -> dict[str, Any]:
    """Return the difference of two methods: absolute with its p-value, and as a share of the reference."""
    draw_R = estimates.draw_RM[:, method] - estimates.draw_RM[:, reference]
    relative = as_json(estimates.relative(method, reference))
    return as_json(estimates.difference(method, reference)) | {"p": round(p_value(draw_R), 6), "relative": relative}


def figure_weights(answers: PairedOutcomes, figure: str) -> NDArray[np.float64]:
    """Return what a figure is a share of: all targets for HR, each user once for the others; shape (B,)."""
    return answers.user_column("targets") if figure == "hr" else np.ones(len(answers.users))


def _hits(answers: PairedOutcomes, method: str) -> NDArray[np.float64]:
    return answers.outcomes(method, "hits").value_SB


MIN_USERS = 20  # below, the bootstrap knows too little of its users to give an interval
_POPULARITY = ("head", "torso", "tail")
_ACTIVITY = ("core", "casual", "new")


def compare_by_segment(answers: PairedOutcomes, reference: str, resampling: Resampling) -> dict[str, Any]:
    """Return HR less that of the reference, by segmentation and segment, for the methods (not controls, baselines)."""
    methods = [m for m in answers.cells if answers.outcomes(m, "hits").role == "method"]
    if reference not in methods:
        return {}
    found: dict[str, Any] = {}
    for name in SEGMENTS:
        if name in answers.users.columns and answers.users[name].drop_nulls().n_unique() > 1:
            label_B = answers.users[name]
            found[name] = {
                label: _compare_segment(
                    answers, methods, reference, resampling, (label_B == label).fill_null(False).to_numpy()
                )
                for label in sort_labels(label_B.drop_nulls().unique().to_list())
            }
    found["popularity"] = {
        label: _compare_segment(answers, methods, reference, resampling, None, f"{label}_") for label in _POPULARITY
    }
    return found


def rates_by_popularity(answers: PairedOutcomes, resampling: Resampling) -> dict[str, Any]:
    """Return every method's HR for head, torso and tail targets."""
    return {label: hit_rates(answers, resampling, prefix=f"{label}_") for label in _POPULARITY}


def sort_labels(labels: list[str]) -> list[str]:
    """Return the labels in the order in which people read them: core before new, 2 before 10-49."""
    if set(labels) <= set(_ACTIVITY):
        return [label for label in _ACTIVITY if label in labels]
    return sorted(labels, key=lambda label: (float((re.findall(r"[\d.]+", label) or ["0"])[0]), label))


def _compare_segment(
    answers: PairedOutcomes,
    methods: list[str],
    reference: str,
    resampling: Resampling,
    inside_B: NDArray[np.bool_] | None,
    prefix: str = "",
) -> dict[str, Any]:
    """Return the size of a part and the differences in it; none where it has too few users."""
    wanted_B = answers.user_column(f"{prefix}targets")
    asked_B = wanted_B > 0 if inside_B is None else inside_B
    part: dict[str, Any] = {"users": int(asked_B.sum()), "targets": int(wanted_B[asked_B].sum()), "minus": {}}
    if part["users"] < MIN_USERS:
        return part
    chosen = [answers.outcomes(method, f"{prefix}hits") for method in methods]
    estimates = resampling([SeedOutcomes(o.value_SB[:, asked_B], o.role) for o in chosen], wanted_B[asked_B])
    own = methods.index(reference)
    part["minus"] = {
        m: difference_interval(estimates, number, own) for number, m in enumerate(methods) if number != own
    }
    return part
