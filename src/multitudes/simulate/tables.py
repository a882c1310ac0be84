"""From the logs of every arm to the tables of an experiment: outcomes, and what was shown.

Each arm has all users, so arms can be compared user by user: the truth. A test in production has every user in one arm
alone; ``exposures.parquet`` and ``outcomes.parquet`` of a seed are what it would have seen, for ``multitudes readout``.
"""

from pathlib import Path

import numpy as np
import polars as pl

from multitudes.progress import Progress, silent
from multitudes.readout.logged import OutcomesConfig, outcomes_of
from multitudes.simulate.config import ExperimentConfig
from multitudes.simulate.days import day_s
from multitudes.simulate.draws import uniform
from multitudes.simulate.run import seed_folder
from multitudes.simulate.world import World


def write_outcomes(config: ExperimentConfig, out: Path, progress: Progress = silent) -> None:
    """Write what each user of each arm did, from the logs, as for a real service."""
    first = config.loop.bootstrap_days
    done = 0
    for seed in config.seeds:
        world = config.world_of(seed)
        folder = seed_folder(out, seed)
        world.items_table(first + config.loop.days).write_parquet(folder / "items.parquet")
        for arm in config.arms:
            logs = folder / "arms" / arm / "logs"
            settings = OutcomesConfig(since=day_s(first))
            outcomes_of(
                logs / "served",
                logs / "events",
                folder / "items.parquet",
                folder / "arms" / arm / "outcomes.parquet",
                settings,
            )
            done += 1
            progress(done, len(config.seeds) * len(config.arms), "outcomes")
        as_a_test(config, world, folder)


def as_a_test(config: ExperimentConfig, world: World, folder: Path) -> None:
    """Write what a test would have seen in which each user is in one arm, drawn by a hash of the user."""
    arms, first_s = list(config.arms), day_s(config.loop.bootstrap_days)
    arm_U = (uniform(world.config.seed, "arm", np.arange(world.users)) * len(arms)).astype(np.int64)
    exposed, outcomes = [], []
    for number, arm in enumerate(arms):
        mine = pl.DataFrame({"user_id": np.flatnonzero(arm_U == number)})
        rows = pl.read_parquet(folder / "arms" / arm / "outcomes.parquet").join(mine, on="user_id", how="semi")
        visits = rows.filter((pl.col("metric") == "visits") & (pl.col("timestamp") >= first_s))
        first = visits.group_by("user_id").agg(pl.col("timestamp").min())
        exposed.append(first.with_columns(arm=pl.lit(arm)))
        outcomes.append(rows)
    cohorts = pl.Series(world.cohorts)
    table = pl.concat(exposed).sort("user_id")
    table = table.with_columns(cohort=cohorts.gather(world.cohort_U[table["user_id"].to_numpy()].astype(np.uint32)))
    table.write_parquet(folder / "exposures.parquet")
    pl.concat(outcomes).sort("timestamp", "user_id", "metric").write_parquet(folder / "outcomes.parquet")
