"""``STUDY_OUT/summary.json``: every figure of a study's report, made from its two files and nothing else.

::

    STUDY_OUT/outcomes.parquet   one row for each data set, method, seed, user, kind of targets and budget
              cells.json         what was run, tuned and measured, and what failed
              summary.json       written here
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

from multitudes.disk import write_text
from multitudes.evaluate.config import main_budget
from multitudes.progress import Progress, silent
from multitudes.study import overall
from multitudes.study.answers import Answers, read_answers, read_cells
from multitudes.study.comparison import Draws, against_controls, hit_rates, methods_table
from multitudes.study.segments import FEWEST_USERS, by_segment, tails

SUMMARY = "summary.json"
# What a cell costs, averaged over its seeds.
COSTS = ("train_seconds", "parameters", "vectors_per_user", "p90_ms", "targets_per_s")
# A p-value cannot be below 2 / resamples, and Holm multiplies it by the number of comparisons: with so many resamples
# for each comparison, the clearest difference still reaches .02.
_RESAMPLES_PER_COMPARISON = 100


def summarise(study: Path, draws: Draws | None = None, progress: Progress = silent) -> dict[str, Any]:
    """Return the summary of a study.

    Args:
        study: folder of the study.
        draws: how intervals are made; None: as ``Draws``, with more resamples where many comparisons need them.
        progress: told of the data sets done.

    Raises:
        ArtefactError: a file of the study is missing or damaged, or its cells asked different users.
    """
    cells = read_cells(study)
    names = list(dict.fromkeys(cell["data"] for cell in cells["cells"]))
    reference = cells["reference"]
    trained = cells.get("trained_controls", {})
    draws = draws or Draws(judged=max(Draws().judged, _RESAMPLES_PER_COMPARISON * _comparisons(cells)))
    data: dict[str, Any] = {}
    for number, name in enumerate(names):
        progress(number, len(names), f"intervals of {name}")
        by_kind = _by_kind(read_answers(study, name))
        if by_kind:
            data[name] = _data_set(by_kind, reference, draws, trained)
    for family in (overall.reference_family(data), overall.control_family(data)):
        overall.give_verdicts(family)
    progress(len(names), len(names), "intervals")
    about = ("name", "split", "opened_test", "machine", "versions", "reference", "tuning")
    return {key: cells.get(key) for key in about} | {
        "level": overall.LEVEL,
        "resamples": {"intervals": draws.resamples, "verdicts": draws.judged},
        "fewest_users": FEWEST_USERS,
        "seeds": sorted({cell["seed"] for cell in cells["cells"]}),
        "data": data,
        "overall": overall.overall(data),
        "wins": overall.wins(data),
        "costs": _costs(cells["cells"]),
        "health": _health(cells["cells"]),
        "chosen": _chosen(cells["cells"]),
        "failed": [cell for cell in cells["cells"] if cell["status"] != "done"],
    }


def write_summary(study: Path, summary: dict[str, Any]) -> Path:
    """Write the summary into the study's folder; it appears whole or not at all."""
    file = study / SUMMARY
    write_text(file, json.dumps(summary, ensure_ascii=False, allow_nan=False, indent=1))
    return file


def _comparisons(cells: dict[str, Any]) -> int:
    """Return about how many verdicts there will be: each method on each data set meets the reference and controls."""
    return 3 * len({(cell["data"], cell["method"]) for cell in cells["cells"]})


def _by_kind(parts: Iterable[tuple[str, int, Answers]]) -> dict[str, dict[int, Answers]]:
    found: dict[str, dict[int, Answers]] = {}
    for kind, budget, answers in parts:
        found.setdefault(kind, {})[budget] = answers
    return found


def _data_set(
    by_kind: dict[str, dict[int, Answers]], reference: str, draws: Draws, trained: dict[str, str]
) -> dict[str, Any]:
    """Return all that is said of one data set: first-time targets, and in brief all targets."""
    kind = "new" if "new" in by_kind else next(iter(by_kind))
    budgets = by_kind[kind]
    budget = main_budget(tuple(budgets))
    answers = budgets[budget]
    methods = methods_table(answers, reference, draws)
    curves = {n: hit_rates(budgets[n], draws, reference) for n in sorted(budgets) if n != budget}
    return {
        "kind": kind,
        "budget": budget,
        "budgets": sorted(budgets),
        "users": len(answers.users),
        "few_users": len(answers.users) < FEWEST_USERS,
        "targets": int(answers.of_targets("targets").sum()),
        "methods": methods,
        "controls": against_controls(answers, draws, trained),
        "curves": {str(n): curves[n] if n in curves else _point(methods) for n in sorted(budgets)},
        "segments": by_segment(answers, reference, draws),
        "tails": tails(answers, draws),
        "all": hit_rates(by_kind["all"][budget], draws) if kind == "new" and budget in by_kind.get("all", {}) else {},
    }


def _point(methods: dict[str, Any]) -> dict[str, Any]:
    """Return the main budget's point of each curve: what the table says, so that both show one interval."""
    return {
        method: found["figures"]["hr"]
        | ({"relative": found["minus"]["hr"]["relative"]} if "hr" in found["minus"] else {})
        for method, found in methods.items()
    }


def _costs(cells: list[dict[str, Any]]) -> dict[str, Any]:
    return _by_method(cells, lambda done: {key: _mean([cell.get(key) for cell in done]) for key in COSTS})


def _health(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of interest health, averaged over seeds: means, and shares of the sources."""
    return _by_method(cells, lambda done: _mean_health([cell["interests"] for cell in done if cell.get("interests")]))


def _chosen(cells: list[dict[str, Any]]) -> dict[str, Any]:
    keys = ("settings", "tuned", "trials")
    return _by_method(cells, lambda done: {key: done[0].get(key) for key in keys})


def _by_method(cells: list[dict[str, Any]], of: Callable[[list[dict[str, Any]]], Any]) -> dict[str, Any]:
    """Return ``of`` the done cells of each data set and method."""
    groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for cell in cells:
        if cell["status"] == "done":
            groups.setdefault(cell["data"], {}).setdefault(cell["method"], []).append(cell)
    return {data: {method: of(done) for method, done in methods.items()} for data, methods in groups.items()}


def _mean_health(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    if not blocks:
        return {}
    names = [name for name in blocks[0] if name != "sources"]
    found: dict[str, Any] = {name: _mean([block[name]["mean"] for block in blocks if name in block]) for name in names}
    found["sources"] = [
        {"source": source["source"], "number": source["number"]}
        | {share: _mean([block["sources"][n][share]["mean"] for block in blocks]) for share in _SHARES}
        for n, source in enumerate(blocks[0]["sources"])
    ]
    return found


_SHARES = ("candidate_share", "hit_share")


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(fmean(known), 6) if known else None
