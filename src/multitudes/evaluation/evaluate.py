"""``evaluate``: the figures of a run by the offline protocol, and the outcomes of each user behind them.

::

    RUN/evaluation-test.json     the result, as printed by ``multitudes evaluate RUN --json``
        outcomes-test.parquet    one row for each user, kind of targets, method and budget
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from multitudes.atomic import write_text
from multitudes.batches.held_out import held_out_users
from multitudes.errors import DataError
from multitudes.evaluation import health, outcomes
from multitudes.evaluation.baselines import BASELINES, fit_baselines
from multitudes.evaluation.compare import outcomes_file, result_file
from multitudes.evaluation.config import EvaluateConfig, feasible_budgets, main_budget
from multitudes.evaluation.outcomes import Ratio, hit_rates_by_segment, intervals_by_name, methods_and_differences
from multitudes.evaluation.protocol import Evaluator, Measurements
from multitudes.evaluation.reranked import RerankedSystems
from multitudes.evaluation.targets import TargetKind, TimeSegments, subsample, user_segments
from multitudes.progress import Progress, silent
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.scorer import Scorer, catalogue


class Evaluation(NamedTuple):
    """The result as a JSON object, and the outcomes of each user."""

    result: dict[str, Any]
    outcomes: pl.DataFrame


def evaluate(
    run: Scorer,
    config: EvaluateConfig | None = None,
    retrieve: RetrieveConfig | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Evaluate a run by the offline protocol (Fan et al., KDD 2025; docs/evaluation.md). Writes nothing.

    Users are evaluated in several threads; meanwhile, libraries such as BLAS have one thread in the whole process.

    Args:
        run: an opened run, such as ``TrainedRun.open(path)``.
        config: settings of the protocol; None: the defaults.
        retrieve: how the run is served; shares and blend that it leaves open are those fitted in training.
        progress: called with the number of users done.

    Returns:
        Figures with 95 % intervals over users, and the outcomes of each user.

    Raises:
        DataError: no user has a target of the chosen kinds.
    """
    config = config or EvaluateConfig()
    retrieve = with_run_defaults(retrieve or RetrieveConfig(), run.list_defaults)
    prepared = run.prepared
    budgets = feasible_budgets(config.budgets, prepared.n_items)
    all_held = held_out_users(prepared, config.split)
    held = subsample(all_held, config.max_users)
    # Without repeats all targets are first-time targets, and one kind is enough.
    both: tuple[TargetKind, ...] = ("new",) if held.target_is_first_time.all() else ("new", "all")
    kinds = both if config.targets == "both" else (config.targets,)
    baselines, records = fit_baselines(prepared, held, kinds, budgets, config.baselines, progress, run.config.method)
    has_controls = config.controls != "none"
    items, n = catalogue(run, run.item_vectors()), main_budget(budgets)
    reranked = RerankedSystems(run, items, retrieve, n, config.split) if has_controls else None
    evaluator = Evaluator(
        run, items, retrieve, budgets, config.controls, baselines, TimeSegments(prepared, config.split), reranked
    )
    measurements = evaluator.evaluate(held, kinds, progress)
    if not measurements:
        raise DataError(
            f"{prepared.path}: no user has a target of this kind in the {config.split} split;"
            " prepare with larger shares or another split, or give --set evaluate.targets=all"
        )
    figures = {kind: _figures(run, config, kind, measured, budgets) for kind, measured in measurements.items()}
    result = _metadata(run, config, retrieve) | next(iter(figures.values()))
    result |= {"sampled_from": len(all_held) if len(held) < len(all_held) else None}
    result |= {"baselines": records, "rerankers": reranked.weights if reranked else {}}
    result |= {"all_targets": figures.get("all")}
    tables = [
        outcomes.outcome_table(prepared.user_ids[measured.held.user_B], kind, measured.targets, measured.lists)
        for kind, measured in measurements.items()
    ]
    return Evaluation(result, pl.concat(tables))


def strongest_baseline(methods: dict[str, Any], budget: int) -> str | None:
    """Return the baseline with the highest hit rate at a budget; None: no baseline was evaluated."""
    rates = {name: methods[name][f"hr@{budget}"]["mean"] for name in BASELINES if name in methods}
    return max(rates, key=lambda name: rates[name] or 0.0, default=None)


def save(evaluation: Evaluation, run: Path) -> None:
    """Write an evaluation into the run's folder; each file appears complete or not at all."""
    split = evaluation.result["split"]
    outcomes.write_outcomes(evaluation.outcomes, outcomes_file(run, split))
    text = json.dumps(evaluation.result, ensure_ascii=False, allow_nan=False, indent=1)
    write_text(result_file(run, split), text)


def _metadata(run: Scorer, config: EvaluateConfig, retrieve: RetrieveConfig) -> dict[str, Any]:
    """Return the run, the data and the settings that the figures belong to."""
    manifest = run.prepared.manifest
    return {
        "method": run.config.method,
        "seed": run.config.seed,
        "split": config.split,
        "data": {
            "path": str(run.prepared.path),
            "users": run.prepared.n_users,
            "items": run.prepared.n_items,
            "topics": run.prepared.n_topics,
            "split": manifest["config"].get("split"),
        },
        "settings": {"evaluate": config.model_dump(mode="json"), "retrieve": retrieve.model_dump(mode="json")},
    }


def _figures(
    run: Scorer, config: EvaluateConfig, kind: TargetKind, measured: Measurements, budgets: tuple[int, ...]
) -> dict[str, Any]:
    """Return all figures for one kind of targets."""
    budget = main_budget(budgets)
    of_users = user_segments(run.prepared, measured.held, config.split)
    own = run.config.method
    methods, differences = methods_and_differences(measured.lists, measured.targets, own)
    targets_B = measured.targets["targets"]
    max_score = {name: Ratio(hits_B, targets_B) for name, hits_B in measured.max_score.items()}
    return {
        "targets": kind,
        "budget": budget,
        "budgets": list(budgets),
        "users": len(measured.held),
        "n_targets": int(targets_B.sum()),
        "methods": methods,
        "differences": differences,
        "strongest_baseline": strongest_baseline({name: methods[name] for name in differences}, budget),
        "max_score": intervals_by_name(max_score),
        "segments": hit_rates_by_segment(measured.lists, measured.targets, of_users, budget, own),
        "interests": health.interest_summary(measured.interests, measured.kinds),
    }
