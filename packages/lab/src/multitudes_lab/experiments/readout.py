"""The readout of an experiment: from exposures and outcomes to comparisons by metric, arm, cohort and day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multitudes.data.timestamps import DAY_S
from multitudes.progress import Progress, silent
from multitudes_lab.experiments import assignment
from multitudes_lab.experiments.comparison import Comparisons, compare_family
from multitudes_lab.experiments.config import Metric, ReadoutConfig
from multitudes_lab.experiments.lift import Lift, UndefinedLift, estimate_lift
from multitudes_lab.experiments.outcomes import period_days
from multitudes_lab.experiments.users import (
    LOAD_STEPS,
    Users,
    WinsorisedSum,
    experiment_engine,
    load_users,
    metric_moments,
    period_relation,
)

Days = tuple[int, int]  # days since the exposure (0: the day of the exposure): the first, and the first day after


@dataclass(frozen=True)
class Readout:
    """The result of an experiment."""

    control: str  # the arm that the others are compared with
    sample_ratio: assignment.SampleRatioCheck
    metrics: Comparisons  # of all users; one family for Holm's correction
    cohorts: Mapping[str, Comparisons]  # of the users of each cohort; another family
    days: Mapping[Days, Comparisons]  # of the users who have all of these days behind them; another family
    covariates: Mapping[str, Sequence[str]]  # metric → covariates that reduce its variance
    winsorised: Mapping[str, Sequence[WinsorisedSum]]  # metric → its capped sums
    repairs: Mapping[str, int]  # by the names of ``summary.REPAIRS``
    warnings: Sequence[str]  # sentences
    first: int  # time of the first exposure, seconds since 1970
    last: int  # of the last outcome
    settings: ReadoutConfig


def analyse_experiment(
    exposures: Path,
    outcomes: Path,
    config: ReadoutConfig | None = None,
    progress: Progress = silent,
    *,
    now: int | None = None,
) -> Readout:
    """Compare the arms of an experiment.

    Args:
        exposures: table of user_id, arm, timestamp; optionally cohort and covariates.
        outcomes: table of user_id, timestamp, metric, value.
        config: the settings; None: the defaults.
        progress: called with the number of steps done.
        now: current time, seconds since 1970; later outcomes are dropped. None: the clock.

    Raises:
        UsageError: a table, arm, metric or covariate does not exist.
        DataError: a table cannot be used, or an arm has no users.
        MissingError: memory or disk ran out.
    """
    config = config or ReadoutConfig()
    everybody: dict[tuple[None, str, str], Lift | UndefinedLift] = {}
    cohorts: dict[tuple[str, str, str], Lift | UndefinedLift] = {}
    days: dict[tuple[Days, str, str], Lift | UndefinedLift] = {}
    winsorised = {}
    with experiment_engine(config) as connection:
        users = load_users(connection, exposures, outcomes, config, progress, now)
        sizes = assignment.arm_sizes(connection, users)
        control = assignment.control_arm(config.control, sizes)
        sample_ratio = assignment.check_sample_ratio(sizes, assignment.target_shares(config, sizes))
        arms = [arm for arm in sizes if arm != control]
        for done, metric in enumerate(users.metrics):
            name = metric.name
            progress(LOAD_STEPS + done, LOAD_STEPS + len(users.metrics), name)
            groups, winsorised[name] = metric_moments(connection, "total", users, metric, config)
            for arm in arms:
                everybody[None, name, arm] = estimate_lift(groups.get((control, None)), groups.get((arm, None)))
                for cohort in users.exposures.cohorts:
                    pair = groups.get((control, cohort)), groups.get((arm, cohort))
                    cohorts[cohort, name, arm] = estimate_lift(*pair)
            for period in users.sums.periods:
                relation = period_relation(period, users.names, users.scan.last)
                groups, _ = metric_moments(connection, relation, users, metric, config)
                for arm in arms if groups[None, None].n else ():
                    pair = groups.get((control, None)), groups.get((arm, None))
                    days[period_days(period), name, arm] = estimate_lift(*pair)
    return Readout(
        control=control,
        sample_ratio=sample_ratio,
        metrics=compare_family(everybody, config.tightest_at).get(None, {}),
        cohorts=compare_family(cohorts, config.tightest_at),
        days=compare_family(days, config.tightest_at),
        covariates={metric.name: _covariate_labels(users, config, metric) for metric in users.metrics},
        winsorised=winsorised,
        repairs=users.repairs,
        warnings=users.warnings,
        first=users.exposures.first,
        last=users.scan.last,
        settings=config,
    )


def _covariate_labels(users: Users, config: ReadoutConfig, metric: Metric) -> list[str]:
    days = users.sums.covariate_s / DAY_S
    earlier = [f"{term} of the {days:.3g} days before" for term in metric.terms] if config.cuped and days else []
    return [*earlier, *config.covariates]
