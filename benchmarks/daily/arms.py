"""Four ways to train on a new day, and the hit rate of each on the next day."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import SEED
from benchmarks.timing import round_figure
from multitudes.atomic import write_json
from multitudes.data.prepared import PreparedData
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import evaluate
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.run_record import read_record
from multitudes.seeding import generator
from multitudes.training import optimizer_state
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.distributed import SINGLE_PROCESS
from multitudes.training.loop import train
from multitudes.training.step import initial_state
from multitudes.training.trained_run import TrainedRun
from multitudes.training.warm_start import warm_start, warm_start_config

ARMS = ("anew", "continued", "weights", "left")
PAIRS = (
    ("continued", "anew"),
    ("weights", "anew"),
    ("left", "anew"),
    ("continued", "left"),
    ("continued", "weights"),
)


def measure(
    data: list[PreparedData],
    work: Path,
    model: UserTowerConfig,
    settings: TrainConfig,
    seeds: int,
    again: int,
    budget: int,
) -> dict[str, Any]:
    """Return HR of each arm, day by day and over all days, with intervals of the differences, and what each costs.

    Args:
        data: at the end of each day, and before the first.
        work: folder of the runs; what is done is kept.
        model: of all runs.
        settings: of a training anew, with the most epochs.
        seeds: of the runs, from 0; how many epochs are trained is chosen once, by the first.
        again: epochs of a day that is gone on with.
        budget: N of the hit rate.
    """
    chosen = RunConfig(method="joint", seed=SEED, model=model, train=settings)
    train(data[0], chosen, work / "chosen", resume=True)
    record = read_record(work / "chosen")
    last_fit = chosen.train.model_copy(update={"epochs": record["best_epoch"]})
    anew = chosen.model_copy(update={"train": last_fit, "final": True, "shares": record["shares"]})
    tables, cpu_s = [], dict.fromkeys(ARMS[:3], 0.0)
    for seed in range(seeds):
        found, costs = _chain(data, work / f"seed-{seed}", anew.model_copy(update={"seed": seed}), again, budget)
        tables.append(found.with_columns(seed=pl.lit(seed)))
        cpu_s = {arm: spent + costs[arm] for arm, spent in cpu_s.items()}
    found = pl.concat(tables)
    return {
        "days": len(data) - 1,
        "seeds": seeds,
        "epochs_anew": record["best_epoch"],
        "epochs_continued": again,
        "cpu_s": {arm: round_figure(spent) for arm, spent in cpu_s.items()},
        "cost_of_continued": round_figure(cpu_s["continued"] / cpu_s["anew"]),
        "by_day": [{"day": day, **_rates(found.filter(pl.col("day") == day))} for day in range(1, len(data))],
        "all": _rates(found),
        "differences": {f"{arm} - {other}": _difference(found, arm, other) for arm, other in PAIRS},
    }


def _chain(
    data: list[PreparedData], work: Path, anew: RunConfig, again: int, budget: int
) -> tuple[pl.DataFrame, dict[str, float]]:
    """Return the hits of every arm of one seed, day by day, and the CPU seconds of its trainings."""
    daily = anew.model_copy(update={"train": anew.train.model_copy(update={"epochs": again})})
    first, _ = _train_or_load(data[0], anew, work / "first")
    before = {"continued": first, "weights": _without_optimizer_state(first, work / "first-weights")}
    tables, cpu_s = [], dict.fromkeys(ARMS[:3], 0.0)
    for day, prepared in enumerate(data[1:], start=1):
        runs = {"left": _apply_to_new_data(first, prepared, warm_start_config(daily, first))}
        for arm in ARMS[:3]:
            config = anew if arm == "anew" else warm_start_config(daily, before[arm])
            runs[arm], spent = _train_or_load(prepared, config, work / f"{arm}-{day}")
            cpu_s[arm] += spent
        before = {
            "continued": runs["continued"],
            "weights": _without_optimizer_state(runs["weights"], work / f"weights-{day}-alone"),
        }
        for arm, run in runs.items():
            found = _hits(run, work / f"{arm}-{day}-at-{budget}.parquet", budget)
            tables.append(found.with_columns(day=pl.lit(day), arm=pl.lit(arm)))
    return pl.concat(tables), cpu_s


def _train_or_load(prepared: PreparedData, config: RunConfig, out: Path) -> tuple[TrainedRun, float]:
    """Return the run and the CPU seconds of its training; a run that exists is not trained again."""
    cost = out.with_name(f"{out.name}.json")
    if not cost.exists():
        shutil.rmtree(out, ignore_errors=True)
        began = time.process_time()
        train(prepared, config, out)
        write_json(cost, {"cpu_s": time.process_time() - began})
    return TrainedRun.open(out), float(json.loads(cost.read_text(encoding="utf-8"))["cpu_s"])


def _without_optimizer_state(run: TrainedRun, copy: Path) -> TrainedRun:
    """Return ``run`` without its optimiser state."""
    if not copy.exists():
        shutil.copytree(run.path, copy)
        (copy / optimizer_state.STATE_FILE).unlink(missing_ok=True)
    return TrainedRun.open(copy)


def _apply_to_new_data(run: TrainedRun, prepared: PreparedData, config: RunConfig) -> TrainedRun:
    """Return ``run`` applied to ``prepared`` without further training."""
    state = initial_state(prepared, config)
    warm_start(state, prepared, config, SINGLE_PROCESS)
    return TrainedRun(run.path, prepared, config, state.model)


def _hits(run: TrainedRun, file: Path, budget: int) -> pl.DataFrame:
    """Return hits and first-time targets of each user in the day that follows."""
    if not file.exists():
        config = EvaluateConfig(budgets=(budget,), targets="new", controls="none", baselines="none")
        found = evaluate(run, config).outcomes.filter(pl.col("method") == run.config.method)
        found.select(pl.col("user_id").cast(pl.String), "hits", "targets").write_parquet(file)
    return pl.read_parquet(file)


def _rates(found: pl.DataFrame) -> dict[str, float]:
    rate = found.group_by("arm").agg(pl.col("hits").sum() / pl.col("targets").sum())
    return {arm: round_figure(hit_rate) for arm, hit_rate in sorted(rate.iter_rows())}


def _difference(found: pl.DataFrame, arm: str, other: str) -> dict[str, float]:
    """Return the difference of two arms with the 95 % interval of a bootstrap of users: all of a user together."""
    wide = found.group_by("user_id", "arm").agg(pl.col("hits", "targets").sum()).pivot("arm", index="user_id")
    wide = wide.sort("user_id")
    gain = (wide[f"hits_{arm}"] - wide[f"hits_{other}"]).to_numpy()
    targets = wide[f"targets_{arm}"].to_numpy()
    drawn = generator(SEED, "bootstrap").integers(0, len(gain), size=(2000, len(gain)))
    low, high = np.percentile(gain[drawn].sum(axis=1) / targets[drawn].sum(axis=1), [2.5, 97.5])
    return {
        "mean": round_figure(gain.sum() / targets.sum()),
        "low": round_figure(low),
        "high": round_figure(high),
        "users": len(gain),
    }
