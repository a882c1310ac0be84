"""Who wins over the data sets: verdicts with Holm's correction, average ranks, and what too few sets cannot show.

Legend: G data sets · M methods.
"""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from multitudes.metrics.significance import average_ranks, cliques, fewest_sets, holm, pairwise

Verdict = Literal["better", "level", "worse"]
LEVEL = 0.05


def give_verdicts(comparisons: list[dict[str, Any]], level: float = LEVEL) -> None:
    """Write into each comparison its adjusted p-value and verdict: one family, so one error for all of them together.

    Level means: not shown to differ.
    """
    made = [found for found in comparisons if np.isfinite(found["p"])]
    for found, adjusted in zip(made, holm(np.array([found["p"] for found in made])), strict=True):
        found["adjusted"] = round(float(adjusted), 6)
        found["verdict"] = verdict(found["mean"], float(adjusted), level)


def verdict(gain: float | None, adjusted: float, level: float = LEVEL) -> Verdict:
    """Return what a difference shows."""
    if gain is None or adjusted >= level:
        return "level"
    return "better" if gain > 0 else "worse"


def reference_family(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the HR differences of methods and baselines to the reference, on all data sets: the first question."""
    return [
        found["minus"]["hr"]
        for part in data.values()
        for found in part["methods"].values()
        if found["role"] != "control" and "hr" in found["minus"]
    ]


def control_family(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the HR differences of methods to their own controls, on all data sets: do interests matter?"""
    return [gain for part in data.values() for gains in part["controls"].values() for gain in gains.values()]


def overall(data: dict[str, Any], level: float = LEVEL) -> dict[str, Any]:
    """Return average ranks of the methods that have a figure on every data set, and which of them are told apart."""
    per_set = [_rates(part) for part in data.values()]
    everywhere = [m for m in (per_set[0] if per_set else []) if all(m in rates for rates in per_set)]
    left_out = sorted({m for rates in per_set for m in rates} - set(everywhere))
    result: dict[str, Any] = {"sets": list(data), "left_out": left_out, "ranks": {}, "cliques": [], "p": {}}
    needed = fewest_sets(len(everywhere), level)
    result |= {"needed": needed, "enough": len(data) >= needed and len(everywhere) > 1}
    if len(everywhere) < 2:
        return result
    score_GM = np.array([[rates[m] for m in everywhere] for rates in per_set])
    rank_M, p_MM = average_ranks(score_GM), pairwise(score_GM)
    order = np.argsort(rank_M, kind="stable")
    result["ranks"] = {everywhere[m]: round(float(rank_M[m]), 4) for m in order}
    result["cliques"] = [[everywhere[m] for m in bar] for bar in cliques(rank_M, p_MM < level)]
    result["p"] = {everywhere[a]: {everywhere[b]: round(float(p_MM[a, b]), 6) for b in order if a != b} for a in order}
    return result


def wins(data: dict[str, Any]) -> dict[str, dict[str, dict[str, str]]]:
    """Return, for each method and opponent (the reference and its own controls), the verdict on each data set."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for name, part in data.items():
        for method, opponent, gain in _judged(part):
            found.setdefault(method, {}).setdefault(opponent, {})[name] = gain["verdict"]
    return found


def _judged(part: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for method, found in part["methods"].items():
        if found["role"] == "method" and "verdict" in found["minus"].get("hr", {}):
            yield method, "reference", found["minus"]["hr"]
    for method, gains in part["controls"].items():
        for control, gain in gains.items():
            if "verdict" in gain:
                yield method, control, gain


def _rates(part: dict[str, Any]) -> dict[str, float]:
    return {
        method: found["figures"]["hr"]["mean"]
        for method, found in part["methods"].items()
        if found["role"] == "method" and found["figures"]["hr"]["mean"] is not None
    }
