"""The results of a simulated experiment: tables of outcomes, lifts, and what each arm showed.

Each arm serves all users, so arms can be compared user by user: the truth. A test in production has every user in one
arm. ``exposures.parquet`` and ``outcomes.parquet`` of a seed are what such a test would observe, for
``multitudes readout``.

Legend: U users · K tastes · B visitors · R shown items, a row each.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from multitudes.locks import lock
from multitudes.progress import Progress, silent
from multitudes_lab.experiments.log_outcomes import OutcomesConfig, write_log_outcomes
from multitudes_lab.simulation.config import ExperimentConfig
from multitudes_lab.simulation.constants import COHORTS
from multitudes_lab.simulation.day_log import day_file_name
from multitudes_lab.simulation.draws import uniform
from multitudes_lab.simulation.lifts import ALL_USERS, ArmLift, arm_lifts, daily_feed_saves
from multitudes_lab.simulation.policy import SOURCES
from multitudes_lab.simulation.run import seed_folder
from multitudes_lab.simulation.world import World
from multitudes_lab.simulation.world_config import day_start_s

_TOP_SHARE = 0.01  # of the items


class SimulationResult(NamedTuple):
    """A simulated experiment: its setup, lifts, saves by day, and what the arms showed."""

    name: str
    control: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    users: int
    items: int
    days: int
    lifts: tuple[ArmLift, ...]
    by_day: pl.DataFrame  # arm, day (0: first day of the test), feed_saves: per user, mean over seeds
    spread: pl.DataFrame  # arm, measure, value: mean over seeds

    def lifts_of(self, metric: str, cohort: str = ALL_USERS) -> list[ArmLift]:
        """Return the lift of a metric in each arm."""
        return [one for one in self.lifts if one.metric == metric and one.cohort == cohort]

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON; lifts are at metrics → metric → arm → cohort."""
        metrics: dict[str, Any] = {}
        for one in self.lifts:
            row = {key: getattr(one, key) for key in ("control", "treatment", "lift", "low", "high")}
            metrics.setdefault(one.metric, {}).setdefault(one.arm, {})[one.cohort] = row | {"shown": one.significant}
        spread: dict[str, dict[str, float]] = {}
        for arm, measure, value in self.spread.iter_rows():
            spread.setdefault(arm, {})[measure] = value
        head = ("name", "control", "arms", "seeds", "users", "items", "days")
        return {key: getattr(self, key) for key in head} | {"metrics": metrics, "spread": spread}


def collect_results(config: ExperimentConfig, out: Path, progress: Progress = silent) -> SimulationResult:
    """Write the tables of an experiment whose days are simulated, and return its results.

    Processes that finish together take turns, as each writes and reads the same tables.
    """
    with lock(out / ".collect.lock"):
        write_outcomes(config, out, progress)
        return SimulationResult(
            name=config.name,
            control=config.control_arm,
            arms=tuple(config.arms),
            seeds=config.seeds,
            users=config.world.users,
            items=config.world.items,
            days=config.loop.days,
            lifts=tuple(arm_lifts(config, out)),
            by_day=daily_feed_saves(config, out),
            spread=impression_metrics(config, out),
        )


def write_outcomes(config: ExperimentConfig, out: Path, progress: Progress = silent) -> None:
    """Write the outcomes of each user of each arm from the logs, as for a real service."""
    first, done = config.loop.bootstrap_days, 0
    settings = OutcomesConfig(since=day_start_s(first))
    for seed in config.seeds:
        world, folder = config.build_world(seed), seed_folder(out, seed)
        items = folder / "items.parquet"
        world.items_table(first + config.loop.days).write_parquet(items)
        for arm in (folder / "arms" / name for name in config.arms):
            write_log_outcomes(arm / "logs/served", arm / "logs/events", items, arm / "outcomes.parquet", settings)
            done += 1
            progress(done, len(config.seeds) * len(config.arms), "outcomes")
        write_ab_test(config, world, folder)


def write_ab_test(config: ExperimentConfig, world: World, folder: Path) -> None:
    """Write what an A/B test would observe: each user is in one arm, drawn by a hash of the user."""
    arms, first_s = list(config.arms), day_start_s(config.loop.bootstrap_days)
    arm_U = (uniform(world.config.seed, "arm", np.arange(world.users)) * len(arms)).astype(np.int64)
    exposures, outcomes = [], []
    for number, arm in enumerate(arms):
        users = pl.DataFrame({"user_id": np.flatnonzero(arm_U == number)})
        rows = pl.read_parquet(folder / "arms" / arm / "outcomes.parquet", glob=False).join(
            users, on="user_id", how="semi"
        )
        visits = rows.filter((pl.col("metric") == "visits") & (pl.col("timestamp") >= first_s))
        first = visits.group_by("user_id").agg(pl.col("timestamp").min())
        exposures.append(first.with_columns(arm=pl.lit(arm)))
        outcomes.append(rows)
    table = pl.concat(exposures).sort("user_id")
    cohort_U = world.cohort_U[table["user_id"].to_numpy()].astype(np.uint32)
    table = table.with_columns(cohort=pl.Series(COHORTS).gather(cohort_U))
    table.write_parquet(folder / "exposures.parquet")
    pl.concat(outcomes).sort("timestamp", "user_id", "metric").write_parquet(folder / "outcomes.parquet")


def impression_metrics(config: ExperimentConfig, out: Path) -> pl.DataFrame:
    """Return (arm, measure, value) over the days of the test, mean over seeds.

    * catalogue: share of the existing items that were shown to any user;
    * top 1 %: share of the impressions that went to the most shown hundredth of the items;
    * tastes: share of a user's tastes, by weight, with an item among those shown at a visit; mean over visits;
    * candidates, shown, saves by source: shares, for each source that any arm has;
    * overlap: share of the explicit candidates that are also among the best of an implicit interest;
    * degraded: share of degraded responses.
    """
    rows: list[dict[str, Any]] = []
    for seed in config.seeds:
        world, arms = config.build_world(seed), seed_folder(out, seed) / "arms"
        rows += [{"arm": arm, **_arm_metrics(config, world, arms / arm / "logs")} for arm in config.arms]
    table = pl.DataFrame(rows, infer_schema_length=None).unpivot(index="arm", variable_name="measure").drop_nulls()
    means = table.group_by("arm", "measure", maintain_order=True).agg(pl.col("value").mean())
    by_source = pl.col("measure").str.contains(", ", literal=True)
    return means.filter(~by_source | (pl.col("value").max().over("measure") > 0))


def _arm_metrics(config: ExperimentConfig, world: World, logs: Path) -> dict[str, float]:
    first, end = config.loop.bootstrap_days, config.loop.bootstrap_days + config.loop.days
    columns = ["user_id", "item_id", "source", "degraded", "slot", "done", "both"]
    served = pl.concat(
        pl.read_parquet(logs / "served" / day_file_name(day), columns=columns, glob=False).with_columns(day=day)
        for day in range(first, end)
    )
    shown = served.drop_nulls("slot")
    n_items = int((world.created_I < end).sum())
    count_I = np.sort(np.bincount(shown["item_id"].to_numpy(), minlength=world.items))[::-1]
    measures = {
        "catalogue": float((count_I > 0).sum()) / n_items,
        "top 1 %": float(count_I[: max(1, round(_TOP_SHARE * n_items))].sum() / max(int(count_I.sum()), 1)),
        "tastes": _taste_coverage(world, shown),
        "degraded": float(served["degraded"].mean() or 0),  # type: ignore[arg-type]
    }
    for name, rows in (("candidates", served), ("shown", shown), ("saves", shown.filter(pl.col("done") == "save"))):
        shares = dict(rows["source"].value_counts(normalize=True).iter_rows())
        measures |= {f"{name}, {source}": shares.get(source, 0.0) for source in SOURCES}
    explicit = served.filter(pl.col("source") == "explicit")
    if len(explicit):
        measures["overlap"] = float(explicit["both"].mean())  # type: ignore[arg-type]
    return measures


def _taste_coverage(world: World, shown: pl.DataFrame) -> float:
    """Return the share of a user's tastes, by weight, that a visit covers; mean over visits."""
    total, visits = 0.0, 0
    for (day,), rows in shown.group_by("day", maintain_order=True):
        niche_UK, weight_UK = world.tastes(int(day))
        user_B, b_R = np.unique(rows["user_id"].to_numpy(), return_inverse=True)
        item_R, covered_BK = rows["item_id"].to_numpy(), np.zeros((len(user_B), niche_UK.shape[1]), dtype=np.bool_)
        for niche_I in (world.niche_I, world.catalogue.second_niche_I):
            np.logical_or.at(covered_BK, b_R, niche_UK[user_B][b_R] == niche_I[item_R][:, None])
        total += float((weight_UK[user_B] * covered_BK).sum())
        visits += len(user_B)
    return total / max(visits, 1)
