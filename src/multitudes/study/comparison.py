"""One data set of a study: every method's figures with intervals, and its difference to the reference.

Legend: S seeds · B users · M methods.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.evaluate.summary import as_json
from multitudes.metrics.bootstrap import Estimates, Interval, p_value
from multitudes.metrics.seeds import Outcomes, crossed, per_seed
from multitudes.report.study_words import CONTROLS, TRAINED
from multitudes.seeding import generator
from multitudes.study.answers import Answers

# Figures and the per-user measure behind each. HR is pooled over targets; the others are means over users.
FIGURES = {"hr": "hits", "ndcg": "ndcg", "topics": "topics", "candidate_topics": "candidate_topics"}


class Draws(NamedTuple):
    """How intervals are made. The same seed draws the same users, so that figures made apart are paired."""

    resamples: int = 2000
    judged: int = 2000  # resamples where a p-value is to survive Holm's correction
    seed: int = 0

    def __call__(
        self, methods: Sequence[Outcomes], weight_B: NDArray[np.float64], *, judged: bool = False
    ) -> Estimates:
        """Return the estimates of all methods on the same resamples."""
        streams = [generator(self.seed, "study", name) for name in ("users", "seeds")]
        return crossed(methods, weight_B, self.judged if judged else self.resamples, *streams)


def methods_table(answers: Answers, reference: str, draws: Draws) -> dict[str, Any]:
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
        weight_B = weight(answers, figure)
        methods = [answers.outcomes(method, measure) for method in order]
        estimates = draws(methods, weight_B, judged=figure == "hr")
        for number, method in enumerate(order):
            table[method]["figures"][figure] = rate(estimates, number)
            if reference in order and method != reference:
                table[method]["minus"][figure] = difference(estimates, number, order.index(reference))
            if figure == "hr":
                rates_S = per_seed(methods[number].value_SB, weight_B)
                table[method]["by_seed"] = [round(float(rate), 6) for rate in rates_S]
    return table


def against_controls(answers: Answers, draws: Draws, trained: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return each method's HR less that of its controls, paired by user and by seed.

    Its own controls are the same models asked otherwise. Those of ``trained``, by method, are other models, which share
    nothing with it but the seed: their pairs by seed are as good as any.
    """
    found: dict[str, dict[str, Any]] = {}
    for control in CONTROLS:
        others = trained if control == TRAINED else {method: f"{method}/{control}" for method in answers.cells}
        gains = {
            method: Outcomes(own - other)
            for method, opponent in others.items()
            if method in answers.cells
            and opponent in answers.cells
            and len(own := _hits(answers, method)) == len(other := _hits(answers, opponent))
        }
        if gains:
            estimates = draws(list(gains.values()), weight(answers, "hr"), judged=True)
            for number, method in enumerate(gains):
                p = round(p_value(estimates.draw_RM[:, number]), 6)
                found.setdefault(method, {})[control] = as_json(estimates.interval(number)) | {"p": p}
    return found


def hit_rates(answers: Answers, draws: Draws, reference: str | None = None, of: str = "") -> dict[str, Any]:
    """Return every method's HR with its interval, beside the reference's where one is named.

    Args:
        answers: outcomes at one budget.
        draws: how intervals are made.
        reference: the method of which each HR is also given as a share, if it is there.
        of: which targets: all, or ``head_``, ``torso_`` or ``tail_``.
    """
    order = list(answers.cells)
    estimates = draws([answers.outcomes(m, f"{of}hits") for m in order], answers.of_targets(f"{of}targets"))
    rates: dict[str, Any] = {method: rate(estimates, number) for number, method in enumerate(order)}
    if reference in order:
        own = order.index(reference)
        for number, method in enumerate(order):
            if number != own:
                rates[method]["relative"] = as_json(estimates.relative(number, own))
    return rates


def rate(estimates: Estimates, method: int) -> dict[str, Any]:
    """Return a figure with its interval; no figure is negative, which the noise of the seeds does not know."""
    mean, low, high = estimates.interval(method)
    return as_json(Interval(mean, max(low, 0.0), high))


def difference(estimates: Estimates, method: int, reference: int) -> dict[str, Any]:
    """Return the difference of two methods: absolute with its p-value, and as a share of the reference."""
    draw_R = estimates.draw_RM[:, method] - estimates.draw_RM[:, reference]
    relative = as_json(estimates.relative(method, reference))
    return as_json(estimates.difference(method, reference)) | {"p": round(p_value(draw_R), 6), "relative": relative}


def weight(answers: Answers, figure: str) -> NDArray[np.float64]:
    """Return what a figure is a share of: all targets for HR, each user once for the others; shape (B,)."""
    return answers.of_targets("targets") if figure == "hr" else np.ones(len(answers.users))


def _hits(answers: Answers, method: str) -> NDArray[np.float64]:
    return answers.outcomes(method, "hits").value_SB
