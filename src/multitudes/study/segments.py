"""For whom: the difference to the reference in every segment of users, and for head, torso and tail targets."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.metrics.seeds import Outcomes
from multitudes.study.answers import SEGMENTS, Answers
from multitudes.study.comparison import Draws, difference, hit_rates

FEWEST_USERS = 20  # below, the bootstrap knows too little of its users to give an interval
_POPULARITY = ("head", "torso", "tail")
_ACTIVITY = ("core", "casual", "new")


def by_segment(answers: Answers, reference: str, draws: Draws) -> dict[str, Any]:
    """Return HR less that of the reference, by segmentation and segment, for the methods (not controls, baselines)."""
    methods = [m for m in answers.cells if answers.outcomes(m, "hits").role == "method"]
    if reference not in methods:
        return {}
    found: dict[str, Any] = {}
    for name in SEGMENTS:
        if name in answers.users.columns and answers.users[name].drop_nulls().n_unique() > 1:
            label_B = answers.users[name]
            found[name] = {
                label: _part(answers, methods, reference, draws, (label_B == label).fill_null(False).to_numpy())
                for label in ordered(label_B.drop_nulls().unique().to_list())
            }
    found["popularity"] = {label: _part(answers, methods, reference, draws, None, f"{label}_") for label in _POPULARITY}
    return found


def tails(answers: Answers, draws: Draws) -> dict[str, Any]:
    """Return every method's HR for head, torso and tail targets."""
    return {label: hit_rates(answers, draws, of=f"{label}_") for label in _POPULARITY}


def ordered(labels: list[str]) -> list[str]:
    """Return the labels in the order in which people read them: core before new, 2 before 10-49."""
    if set(labels) <= set(_ACTIVITY):
        return [label for label in _ACTIVITY if label in labels]
    return sorted(labels, key=lambda label: (float((re.findall(r"[\d.]+", label) or ["0"])[0]), label))


def _part(
    answers: Answers,
    methods: list[str],
    reference: str,
    draws: Draws,
    inside_B: NDArray[np.bool_] | None,
    prefix: str = "",
) -> dict[str, Any]:
    """Return the size of a part and the differences in it; none where it has too few users."""
    wanted_B = answers.of_targets(f"{prefix}targets")
    asked_B = wanted_B > 0 if inside_B is None else inside_B
    part: dict[str, Any] = {"users": int(asked_B.sum()), "targets": int(wanted_B[asked_B].sum()), "minus": {}}
    if part["users"] < FEWEST_USERS:
        return part
    chosen = [answers.outcomes(method, f"{prefix}hits") for method in methods]
    estimates = draws([Outcomes(o.value_SB[:, asked_B], o.role) for o in chosen], wanted_B[asked_B])
    own = methods.index(reference)
    part["minus"] = {m: difference(estimates, number, own) for number, m in enumerate(methods) if number != own}
    return part
