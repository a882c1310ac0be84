"""The lift of each arm, over all users and by cohort: differences between the same users in two arms.

With several seeds, the interval is Student's over the lifts of the seeds; each seed has its own world and trainings.
With one seed, it is that of the same users in both arms, and says nothing about another world or another training.

Legend: U users · S seeds.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import t

from multitudes.data.timestamps import DAY_S
from multitudes_lab.simulation.config import ExperimentConfig
from multitudes_lab.simulation.constants import COHORTS
from multitudes_lab.simulation.run import seed_folder
from multitudes_lab.simulation.world_config import day_start_s

ALL_USERS, CORE, NON_CORE = "everybody", "core", "non-core"
LOWER_IS_BETTER = ("hide",)  # metrics that should decrease
RATIOS = {
    "saves/active": ("saves", "active"),
    "feed_saves/visits": ("feed_saves", "visits"),
    "topics_served/visits": ("topics_served", "visits"),
}
_MIN_RELATIVE_HALF_WIDTH = 1e-9  # an interval that is narrower, relative to its lift, is rounding

Sums = dict[str, NDArray[np.float64]]  # metric → sum per user (U)
Ratio = tuple[NDArray[np.float64], NDArray[np.float64]]  # numerator and denominator per user


class ArmLift(NamedTuple):
    """The lift of one metric in one arm against the control."""

    metric: str
    arm: str
    cohort: str
    control: float  # mean over users and seeds
    treatment: float
    lift: float | None  # relative; None if the control has 0
    low: float | None  # 95 %
    high: float | None

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``not significant``."""
        if not self.significant:
            return "not significant"
        return "better" if ((self.lift or 0) > 0) != (self.metric in LOWER_IS_BETTER) else "worse"


class UserOutcomes:
    """The outcomes of every user in every arm, over the days of the test."""

    def __init__(self, config: ExperimentConfig, out: Path) -> None:
        """Read the outcomes of an experiment."""
        self._config = config
        self._sums = {(seed, arm): _user_sums(config, out, seed, arm) for seed in config.seeds for arm in config.arms}
        self._cohort_U = {seed: config.build_world(seed).cohort_U for seed in config.seeds}
        self.metrics = (*sorted({metric for sums in self._sums.values() for metric in sums}), *RATIOS)

    def lift(self, metric: str, arm: str, control: str, cohort: str = ALL_USERS) -> ArmLift:
        """Return the lift of an arm over another arm, of a cohort, of all users, or of all but the core."""
        pairs = []
        for seed, cohort_U in self._cohort_U.items():
            mask_U = np.ones(len(cohort_U), dtype=np.bool_)
            if cohort != ALL_USERS:
                mask_U = (cohort_U == COHORTS.index(CORE if cohort == NON_CORE else cohort)) ^ (cohort == NON_CORE)
            pairs.append(tuple(_user_ratio(self._sums[seed, name], metric, mask_U) for name in (control, arm)))
        means_S2 = np.array([[above.sum() / max(below.sum(), 1) for above, below in pair] for pair in pairs])
        mean, treated_mean = means_S2.mean(axis=0).tolist()
        return ArmLift(metric, arm, cohort, mean, treated_mean, *_interval(pairs, means_S2))


def arm_lifts(config: ExperimentConfig, out: Path) -> list[ArmLift]:
    """Return every lift of an experiment against its control."""
    outcomes, control = UserOutcomes(config, out), config.control_arm
    return [
        outcomes.lift(metric, arm, control, cohort)
        for metric in outcomes.metrics
        for arm in config.arms
        if arm != control
        for cohort in (ALL_USERS, *COHORTS)
    ]


def _user_sums(config: ExperimentConfig, out: Path, seed: int, arm: str) -> Sums:
    """Return the sum of each metric per user, over the days of the test."""
    first = day_start_s(config.loop.bootstrap_days)
    file = seed_folder(out, seed) / "arms" / arm / "outcomes.parquet"
    rows = pl.scan_parquet(file, glob=False).filter(pl.col("timestamp") >= first)
    table = rows.group_by("metric", "user_id").agg(pl.col("value").sum()).collect()
    sums = {}
    for (metric,), group in table.group_by("metric"):
        sums[str(metric)] = np.zeros(config.world.users)
        sums[str(metric)][group["user_id"].to_numpy()] = group["value"].to_numpy()
    return sums


def _user_ratio(sums: Sums, metric: str, mask_U: NDArray[np.bool_]) -> Ratio:
    """Return numerator and denominator of a metric, for each user of the mask."""
    above, below = RATIOS.get(metric, (metric, ""))
    zeros = np.zeros(len(mask_U))
    return sums.get(above, zeros)[mask_U], sums.get(below, zeros)[mask_U] if below else np.ones(int(mask_U.sum()))


def _interval(
    pairs: Sequence[tuple[Ratio, ...]], means_S2: NDArray[np.float64]
) -> tuple[float | None, float | None, float | None]:
    """Return the lift and its interval from the means of control and treatment in each seed; None: undefined."""
    if not (means_S2[:, 0] > 0).all():
        return None, None, None
    lift_S = means_S2[:, 1] / means_S2[:, 0] - 1
    lift, n = float(lift_S.mean()), len(lift_S)
    if n > 1:
        half = float(t.ppf(0.975, n - 1) * lift_S.std(ddof=1) / n**0.5)
    elif len(pairs[0][0][0]) < 2:  # one user has no deviation
        return lift, None, None
    else:
        half = 1.96 * _lift_standard_error(pairs[0], means_S2[0])
        # All users moved alike, as if one user has everything: no deviation either.
        if half < _MIN_RELATIVE_HALF_WIDTH * abs(lift):
            return lift, None, None
    return lift, lift - half, lift + half


def _lift_standard_error(pair: tuple[Ratio, ...], means: NDArray[np.float64]) -> float:
    """Return the standard error of the lift of one seed over its users (delta method; the same users in both arms)."""
    (above_c, below_c), (above_t, below_t) = pair
    control, treatment = means
    influence_t = (above_t - treatment * below_t) / max(below_t.mean(), 1e-12)
    influence_c = (above_c - control * below_c) / max(below_c.mean(), 1e-12)
    influence = (influence_t - treatment / control * influence_c) / control  # exactly 0 if both arms are equal
    return float(influence.std(ddof=1) / len(influence) ** 0.5)


def daily_feed_saves(config: ExperimentConfig, out: Path) -> pl.DataFrame:
    """Return (arm, day, feed_saves): feed saves per user on each day of the test, mean over users and seeds."""
    first, n_users = day_start_s(config.loop.bootstrap_days), config.world.users * len(config.seeds)
    day = ((pl.col("timestamp") - first) // DAY_S).alias("day")
    days = pl.DataFrame({"day": np.arange(config.loop.days)})
    tables = []
    for arm in config.arms:
        files = [seed_folder(out, seed) / "arms" / arm / "outcomes.parquet" for seed in config.seeds]
        rows = (
            pl.scan_parquet(files, glob=False)
            .filter(metric="feed_saves")
            .group_by(day)
            .agg(feed_saves=pl.col("value").sum())
        )
        per_user = pl.col("feed_saves").fill_null(0.0) / n_users
        tables.append(days.join(rows.collect(), "day", "left").select(pl.lit(arm).alias("arm"), "day", per_user))
    return pl.concat(tables)
