"""``evaluate``: a run becomes figures that can be trusted, and the per-user outcomes behind them.

::

    RUN/evaluation-test.json     the result, as printed by ``multitudes evaluate RUN --json``
        outcomes-test.parquet    one row for each user, kind of targets, method and budget
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from multitudes.batches.held_out import HeldOut, held_out
from multitudes.data.prepared import Prepared
from multitudes.disk import write_text
from multitudes.errors import DataError
from multitudes.evaluate import health, outcomes
from multitudes.evaluate.compare import outcomes_file, result_file
from multitudes.evaluate.config import EvaluateConfig, allowed_budgets, main_budget
from multitudes.evaluate.judge import Judge, Judged
from multitudes.evaluate.samples import sample_users
from multitudes.evaluate.scorer import Scorer
from multitudes.evaluate.segments import user_segments
from multitudes.evaluate.summary import Bootstrap, Ratio, by_segment, flat, methods_and_differences
from multitudes.evaluate.targets import TargetKind, sample
from multitudes.progress import Progress, silent
from multitudes.retrieve.plan import RetrieveConfig, fitted


class Evaluation(NamedTuple):
    """The result as JSON knows it, and what each user got."""

    result: dict[str, Any]
    outcomes: pl.DataFrame


def evaluate(
    run: Scorer,
    config: EvaluateConfig | None = None,
    retrieve: RetrieveConfig | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Evaluate a run by the offline protocol (method §9); nothing is written.

    Args:
        run: an opened run, such as ``TrainedRun.open(path)``.
        config: what is asked; None: the defaults.
        retrieve: how the run is served; what it leaves open of the shares is as training fitted them.
        progress: told of the users done.

    Raises:
        DataError: nobody has a target of the kinds asked for.
    """
    config = config or EvaluateConfig()
    retrieve = fitted(retrieve or RetrieveConfig(), run.shares, run.blend)
    prepared = run.prepared
    budgets = allowed_budgets(config.budgets, prepared.n_items)
    held = sample(held_out(prepared, config.split), config.max_users, config.seed)
    kinds = asked_kinds(config, held)
    judged = Judge(run, retrieve, budgets, config.controls).judge(held, kinds, progress)
    if not judged:
        raise DataError(
            f"{prepared.path}: no user has a target of this kind in the {config.split} split;"
            " prepare with larger shares or another split, or ask for --targets all"
        )
    blocks = {kind: _block(run, config, kind, found, budgets) for kind, found in judged.items()}
    first = next(iter(blocks.values()))
    kind, found = next(iter(judged.items()))
    people = sample_users(run, found.held, kind, retrieve, first["budget"], config.seed)
    result = _heading(run, config, retrieve) | first | {"all_targets": blocks.get("all"), "samples": people}
    return Evaluation(result, pl.concat([_table(prepared, kind, found) for kind, found in judged.items()]))


def asked_kinds(config: EvaluateConfig, held: HeldOut) -> tuple[TargetKind, ...]:
    """Return the kinds of targets that are asked about."""
    if config.targets != "both":
        return (config.targets,)
    # Where nothing is ever repeated, all targets are first-time targets and there is nothing else to ask.
    return ("new",) if held.target_is_new.all() else ("new", "all")


def save(evaluation: Evaluation, run: Path) -> None:
    """Write an evaluation into the run's folder; each file appears whole or not at all."""
    split = evaluation.result["split"]
    outcomes.write(evaluation.outcomes, outcomes_file(run, split))
    text = json.dumps(evaluation.result, ensure_ascii=False, allow_nan=False, indent=1)
    write_text(result_file(run, split), text)


def _heading(run: Scorer, config: EvaluateConfig, retrieve: RetrieveConfig) -> dict[str, Any]:
    """Return what the figures are about: the run, the data, the settings."""
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


def _block(
    run: Scorer, config: EvaluateConfig, kind: TargetKind, judged: Judged, budgets: tuple[int, ...]
) -> dict[str, Any]:
    """Return all figures for one kind of targets."""
    bootstrap = Bootstrap(config.resamples, config.seed)
    budget = main_budget(budgets)
    segments = user_segments(run.prepared, judged.held, config.split, config.core_days)
    methods, differences = methods_and_differences(judged.answers, judged.targets, run.config.method, bootstrap)
    targets_B = judged.targets["targets"]
    max_score = {name: Ratio(hits_B, targets_B) for name, hits_B in judged.max_score.items()}
    return {
        "targets": kind,
        "budget": budget,
        "budgets": list(budgets),
        "users": len(judged.held),
        "n_targets": int(targets_B.sum()),
        "methods": methods,
        "differences": differences,
        "max_score": flat(max_score, bootstrap),
        "segments": by_segment(judged.answers, judged.targets, segments, budget, bootstrap),
        "interests": health.summary(judged.interests, judged.kinds, bootstrap),
    }


def _table(prepared: Prepared, kind: TargetKind, judged: Judged) -> pl.DataFrame:
    user_id = prepared.user_ids[judged.held.user_B]
    return outcomes.table(user_id, kind, judged.targets, judged.answers)
