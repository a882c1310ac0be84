"""What each arm moved, for everybody and by cohort: differences between the same users in two arms.

With several seeds, the interval is Student's over the lifts of the seeds, each a world and trainings of its own. With
one, it is that of the same users in both arms, and says nothing about another world or another training.

Legend: U users · S seeds.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import t

from multitudes.data.timestamps import DAY_S
from multitudes.report.simulation_result import ALL_USERS, ArmLift
from multitudes.simulation.config import ExperimentConfig
from multitudes.simulation.run import seed_folder
from multitudes.simulation.world_config import day_start_s

CORE, NON_CORE = "core", "non-core"
RATIOS = {
    "saves/active": ("saves", "active"),
    "feed_saves/visits": ("feed_saves", "visits"),
    "topics_served/visits": ("topics_served", "visits"),
}
_MIN_RELATIVE_HALF_WIDTH = 1e-9  # half an interval, as a share of its lift, below which it is what rounding leaves

Sums = dict[str, NDArray[np.float64]]  # metric → of each user (U)
Ratio = tuple[NDArray[np.float64], NDArray[np.float64]]  # of each of some users: above and below the line


class UserOutcomes:
    """What every user did in every arm, over the days of the test."""

    def __init__(self, config: ExperimentConfig, out: Path) -> None:
        """Read the outcomes of an experiment, which are written."""
        self._config = config
        self._sums = {(seed, arm): _user_sums(config, out, seed, arm) for seed in config.seeds for arm in config.arms}
        worlds = {seed: config.build_world(seed) for seed in config.seeds}
        self._cohort_U = {seed: world.cohort_U for seed, world in worlds.items()}
        self.cohorts: tuple[str, ...] = next(iter(worlds.values())).cohorts
        self.metrics = (*sorted({metric for found in self._sums.values() for metric in found}), *RATIOS)

    def lift(self, metric: str, arm: str, control: str, cohort: str = ALL_USERS) -> ArmLift:
        """Return what an arm moved of a metric against another arm."""
        pairs = []
        for seed in self._config.seeds:
            some_U = self._cohort_mask(seed, cohort)
            pairs.append(tuple(_user_ratio(self._sums[seed, name], metric, some_U) for name in (control, arm)))
        return _lift(metric, arm, cohort, pairs)

    def _cohort_mask(self, seed: int, cohort: str) -> NDArray[np.bool_]:
        """Return who is in a cohort, in all cohorts, or in any but the core."""
        cohort_U = self._cohort_U[seed]
        if cohort == ALL_USERS:
            return np.ones(len(cohort_U), dtype=np.bool_)
        within_U: NDArray[np.bool_] = cohort_U == self.cohorts.index(CORE if cohort == NON_CORE else cohort)
        return ~within_U if cohort == NON_CORE else within_U


def arm_lifts(config: ExperimentConfig, out: Path) -> list[ArmLift]:
    """Return every lift of an experiment against its control."""
    outcomes, control = UserOutcomes(config, out), config.control_arm
    return [
        outcomes.lift(metric, arm, control, cohort)
        for metric in outcomes.metrics
        for arm in config.arms
        if arm != control
        for cohort in (ALL_USERS, *outcomes.cohorts)
    ]


def _user_sums(config: ExperimentConfig, out: Path, seed: int, arm: str) -> Sums:
    """Return the sum of each metric over the days of the test."""
    first = day_start_s(config.loop.bootstrap_days)
    file = seed_folder(out, seed) / "arms" / arm / "outcomes.parquet"
    rows = pl.scan_parquet(file).filter(pl.col("timestamp") >= first)
    table = rows.group_by("metric", "user_id").agg(pl.col("value").sum()).collect()
    sums = {}
    for (metric,), part in table.group_by("metric"):
        sums[str(metric)] = np.zeros(config.world.users)
        sums[str(metric)][part["user_id"].to_numpy()] = part["value"].to_numpy()
    return sums


def _user_ratio(sums: Sums, metric: str, some_U: NDArray[np.bool_]) -> Ratio:
    """Return numerator and denominator of a metric, of each of some users."""
    above, below = RATIOS.get(metric, (metric, ""))
    nothing = np.zeros(len(some_U))
    return sums.get(above, nothing)[some_U], sums.get(below, nothing)[some_U] if below else np.ones(int(some_U.sum()))


def _lift(metric: str, arm: str, cohort: str, pairs: Sequence[tuple[Ratio, ...]]) -> ArmLift:
    means = np.array([[above.sum() / max(below.sum(), 1) for above, below in pair] for pair in pairs])  # S × 2
    control, treatment = means.mean(axis=0).tolist()
    if not (means[:, 0] > 0).all():
        return ArmLift(metric, arm, cohort, control, treatment, None, None, None)
    lift_S = means[:, 1] / means[:, 0] - 1
    lift, n = float(lift_S.mean()), len(lift_S)
    if n > 1:
        half = float(t.ppf(0.975, n - 1) * lift_S.std(ddof=1) / n**0.5)
    elif len(pairs[0][0][0]) < 2:  # one user has no spread
        return ArmLift(metric, arm, cohort, control, treatment, lift, None, None)
    else:
        half = 1.96 * _lift_standard_error(pairs[0], means[0])
        if half < _MIN_RELATIVE_HALF_WIDTH * abs(
            lift
        ):  # all moved alike, as where one user has everything: no spread either
            return ArmLift(metric, arm, cohort, control, treatment, lift, None, None)
    return ArmLift(metric, arm, cohort, control, treatment, lift, lift - half, lift + half)


def _lift_standard_error(pair: tuple[Ratio, ...], means: NDArray[np.float64]) -> float:
    """Return the standard deviation of the lift of one seed over its users (delta method; the same users in both)."""
    (above_c, below_c), (above_t, below_t) = pair
    control, treatment = means
    own_t = (above_t - treatment * below_t) / max(below_t.mean(), 1e-12)
    own_c = (above_c - control * below_c) / max(below_c.mean(), 1e-12)
    spread = (own_t - treatment / control * own_c) / control  # exactly 0 where both arms are alike
    return float(spread.std(ddof=1) / len(spread) ** 0.5)


def daily_feed_saves(config: ExperimentConfig, out: Path) -> pl.DataFrame:
    """Return (arm, day, feed_saves): of a user on each day of the test, the mean over users and seeds."""
    first, rows = day_start_s(config.loop.bootstrap_days), []
    for arm in config.arms:
        files = [seed_folder(out, seed) / "arms" / arm / "outcomes.parquet" for seed in config.seeds]
        saves = pl.scan_parquet(files).filter((pl.col("metric") == "feed_saves") & (pl.col("timestamp") >= first))
        days = saves.group_by(day=(pl.col("timestamp") - first) // DAY_S).agg(pl.col("value").sum()).collect()
        of_day = dict(days.iter_rows())
        people = config.world.users * len(config.seeds)
        rows += [
            {"arm": arm, "day": day, "feed_saves": of_day.get(day, 0.0) / people} for day in range(config.loop.days)
        ]
    return pl.DataFrame(rows)
