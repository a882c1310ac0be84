"""Summary of a study: every figure of its report, computed from its two result files alone.

::

    STUDY_OUT/outcomes.parquet   one row for each data set, method, seed, user, kind of targets and budget
              cells.json         what was run, tuned and measured, and what failed
              summary.json       written here

Verdicts carry Holm's correction over all comparisons of a kind. Methods are ranked over the data sets, with the number
of data sets that a conclusion would need.

Legend: G data sets · M methods.
"""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np

from multitudes.atomic import write_text
from multitudes.evaluation.config import main_budget
from multitudes.metrics.significance import adjust_holm, average_ranks, cliques, min_data_sets, pairwise_p_values
from multitudes.progress import Progress, silent
from multitudes.study.comparison import (
    CELLS_FILE,
    MIN_USERS,
    PairedOutcomes,
    Resampling,
    compare_by_segment,
    compare_kinds_by_segment,
    compare_methods,
    compare_with_baseline,
    compare_with_controls,
    compare_with_systems,
    hit_rates,
    read_outcomes,
)

Verdict = Literal["better", "level", "worse"]  # level: no significant difference
SIGNIFICANCE_LEVEL = 0.05
SUMMARY_FILE = "summary.json"
# Costs of a cell, averaged over the seeds.
COSTS = ("train_seconds", "parameters", "vectors_per_user", "p90_ms", "targets_per_s")
# A p-value is at least 2 / resamples, and Holm multiplies it by the number of comparisons. With so many resamples for
# each comparison, the clearest difference still reaches .02.
_RESAMPLES_PER_COMPARISON = 100


def summarise(study: Path, resampling: Resampling | None = None, progress: Progress = silent) -> dict[str, Any]:
    """Return the summary of a study, by its folder; ``progress`` receives the number of finished data sets.

    The default bootstrap has more resamples if there are many comparisons.

    Raises:
        ArtefactError: its cells were evaluated on different users.
    """
    cells = json.loads((study / CELLS_FILE).read_text(encoding="utf-8"))
    names = list(dict.fromkeys(cell["data"] for cell in cells["cells"]))
    reference = cells["reference"]
    trained = cells.get("trained_controls", {})
    if resampling is None:
        # Each method on each data set is compared with the reference and with two controls or so.
        comparisons = 3 * len({(cell["data"], cell["method"]) for cell in cells["cells"]})
        most = max(Resampling().verdict_resamples, _RESAMPLES_PER_COMPARISON * comparisons)
        resampling = Resampling(verdict_resamples=most)
    data: dict[str, Any] = {}
    for number, name in enumerate(names):
        progress(number, len(names), f"intervals of {name}")
        by_kind: dict[str, dict[int, PairedOutcomes]] = {}
        for kind, budget, outcomes in read_outcomes(study, name):
            by_kind.setdefault(kind, {})[budget] = outcomes
        if by_kind:
            data[name] = _summarise_data_set(by_kind, reference, resampling, trained)
    for family in (reference_comparisons(data), control_comparisons(data)):
        assign_verdicts(family)
    progress(len(names), len(names), "intervals")
    about = ("name", "split", "opened_test", "machine", "versions", "reference", "tuning")
    return {key: cells.get(key) for key in about} | {
        "level": SIGNIFICANCE_LEVEL,
        "resamples": {"intervals": resampling.resamples, "verdicts": resampling.verdict_resamples},
        "fewest_users": MIN_USERS,
        "seeds": sorted({cell["seed"] for cell in cells["cells"]}),
        "data": data,
        "overall": rank_methods(data),
        "costs": _by_method(cells["cells"], lambda done: {key: _mean([one.get(key) for one in done]) for key in COSTS}),
        "health": _by_method(cells["cells"], _mean_health),
        "chosen": _by_method(
            cells["cells"], lambda done: {key: done[0].get(key) for key in ("settings", "tuned", "trials")}
        ),
        "failed": [cell for cell in cells["cells"] if cell["status"] != "done"],
    }


def write_summary(study: Path, summary: dict[str, Any]) -> Path:
    """Write the summary atomically into the study's folder; return the file."""
    file = study / SUMMARY_FILE
    write_text(file, json.dumps(summary, ensure_ascii=False, allow_nan=False, indent=1))
    return file


def _summarise_data_set(
    by_kind: dict[str, dict[int, PairedOutcomes]], reference: str, resampling: Resampling, trained: dict[str, str]
) -> dict[str, Any]:
    """Return the figures of one data set: all of them for first-time targets, the hit rates for all targets."""
    kind = "new" if "new" in by_kind else next(iter(by_kind))
    budgets = by_kind[kind]
    budget = main_budget(tuple(budgets))
    outcomes = budgets[budget]
    methods = compare_methods(outcomes, reference, resampling)
    # At the main budget those of the table, so that both show the same interval.
    main = {method: entry["figures"]["hr"] for method, entry in methods.items()}
    strongest = compare_with_baseline(outcomes, methods, resampling)
    all_targets = by_kind.get("all", {})
    return {
        "kind": kind,
        "budget": budget,
        "budgets": sorted(budgets),
        "users": len(outcomes.users),
        "few_users": len(outcomes.users) < MIN_USERS,
        "targets": int(outcomes.user_column("targets").sum()),
        "methods": methods,
        "strongest_baseline": strongest,
        "controls": compare_with_controls(outcomes, resampling, trained),
        "systems": compare_with_systems(budgets, budget, resampling),
        "curves": {str(n): main if n == budget else hit_rates(budgets[n], resampling) for n in sorted(budgets)},
        "segments": compare_by_segment(outcomes, reference, resampling),
        "kinds": compare_kinds_by_segment(outcomes, reference, strongest["method"] if strongest else None, resampling),
        "all": hit_rates(all_targets[budget], resampling) if kind == "new" and budget in all_targets else {},
    }


def _by_method(cells: list[dict[str, Any]], aggregate: Callable[[list[dict[str, Any]]], Any]) -> dict[str, Any]:
    """Apply ``aggregate`` to the successful cells of each data set and method."""
    groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for cell in cells:
        if cell["status"] == "done":
            groups.setdefault(cell["data"], {}).setdefault(cell["method"], []).append(cell)
    return {data: {method: aggregate(done) for method, done in methods.items()} for data, methods in groups.items()}


def _mean_health(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the interest health averaged over the seeds."""
    blocks = [cell["interests"] for cell in cells if cell.get("interests")]
    if not blocks:
        return {}
    names = [name for name in blocks[0] if name != "sources"]
    return {name: _mean([block[name]["mean"] for block in blocks if name in block]) for name in names}


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(fmean(known), 6) if known else None


def assign_verdicts(comparisons: list[dict[str, Any]]) -> None:
    """Add ``adjusted``, the p-value after Holm's correction, and ``verdict`` to each comparison of a family."""
    tested = [one for one in comparisons if np.isfinite(one["p"])]
    for one, adjusted in zip(tested, adjust_holm(np.array([one["p"] for one in tested])), strict=True):
        one["adjusted"] = round(float(adjusted), 6)
        better: Verdict = "better" if (one["mean"] or 0) > 0 else "worse"
        one["verdict"] = "level" if adjusted >= SIGNIFICANCE_LEVEL else better


def reference_comparisons(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the HR differences of methods and baselines to the reference on all data sets: one family."""
    return [
        entry["minus"]["hr"]
        for data_set in data.values()
        for entry in data_set["methods"].values()
        if entry["role"] != "control" and "hr" in entry["minus"]
    ]


def control_comparisons(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the HR differences of methods to their controls on all data sets: the other family."""
    return [gain for data_set in data.values() for gains in data_set["controls"].values() for gain in gains.values()]


def rank_methods(data: dict[str, Any]) -> dict[str, Any]:
    """Return average ranks of the methods that have a figure on every data set, and which of them differ."""
    per_set = [_hit_rates(data_set) for data_set in data.values()]
    everywhere = [m for m in (per_set[0] if per_set else []) if all(m in rates for rates in per_set)]
    left_out = sorted({m for rates in per_set for m in rates} - set(everywhere))
    result: dict[str, Any] = {"sets": list(data), "left_out": left_out, "ranks": {}, "cliques": [], "p": {}}
    needed = min_data_sets(len(everywhere), SIGNIFICANCE_LEVEL)
    result |= {"needed": needed, "enough": len(data) >= needed and len(everywhere) > 1}
    if len(everywhere) < 2:
        return result
    score_GM = np.array([[rates[m] for m in everywhere] for rates in per_set])
    rank_M, p_MM = average_ranks(score_GM), pairwise_p_values(score_GM)
    order = np.argsort(rank_M, kind="stable")
    result["ranks"] = {everywhere[m]: round(float(rank_M[m]), 4) for m in order}
    result["cliques"] = [[everywhere[m] for m in clique] for clique in cliques(rank_M, p_MM < SIGNIFICANCE_LEVEL)]
    result["p"] = {everywhere[a]: {everywhere[b]: round(float(p_MM[a, b]), 6) for b in order if a != b} for a in order}
    return result


def _hit_rates(data_set: dict[str, Any]) -> dict[str, float]:
    return {
        method: entry["figures"]["hr"]["mean"]
        for method, entry in data_set["methods"].items()
        if entry["role"] == "method" and entry["figures"]["hr"]["mean"] is not None
    }
