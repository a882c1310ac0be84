"""The readout of an experiment: from exposures and outcomes to comparisons by metric, arm, cohort and day."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from multitudes.data.duck import DuckDBEngine
from multitudes.data.timestamps import DAY_S
from multitudes.progress import Progress, silent
from multitudes_lab.experiments.assignment import (
    SampleRatioCheck,
    arm_sizes,
    check_sample_ratio,
    control_arm,
    target_shares,
)
from multitudes_lab.experiments.comparison import Comparison, compare_family
from multitudes_lab.experiments.config import Metric, ReadoutConfig
from multitudes_lab.experiments.lift import Lift, UndefinedLift, estimate_lift
from multitudes_lab.experiments.moments import Group, Moments
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

ALL_USERS = "everybody"

Comparisons = Mapping[str, Mapping[str, Comparison]]  # metric → arm → comparison
Days = tuple[int, int]  # days since the exposure (0: the day of the exposure): the first, and the first day after
W = TypeVar("W", bound=Hashable)


@dataclass(frozen=True)
class Readout:
    """The result of an experiment.

    Attributes:
        control: the arm that the others are compared with.
        sample_ratio: whether the arms are as large as planned.
        metrics: metric → arm → comparison over all users; one family for Holm's correction.
        cohorts: cohort → the same over its users; another family.
        days: days since the exposure → the same over the users who have all of these days behind them.
        covariates: metric → covariates that reduce its variance.
        winsorised: metric → its capped sums.
        repairs: counts, by the names of ``summary.REPAIRS``.
        warnings: sentences.
        first, last: time of the first exposure and of the last outcome, seconds since 1970.
        settings: the given settings.
    """

    control: str
    sample_ratio: SampleRatioCheck
    metrics: Comparisons
    cohorts: Mapping[str, Comparisons]
    days: Mapping[Days, Comparisons]
    covariates: Mapping[str, Sequence[str]]
    winsorised: Mapping[str, Sequence[WinsorisedSum]]
    repairs: Mapping[str, int]
    warnings: Sequence[str]
    first: int
    last: int
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

    Returns:
        Comparisons of all arms with the control.

    Raises:
        UsageError: a table, arm, metric or covariate does not exist.
        DataError: a table cannot be used, or an arm has no users.
        MissingError: memory or disk ran out.
    """
    config = config or ReadoutConfig()
    with experiment_engine(config) as connection:
        users = load_users(connection, exposures, outcomes, config, progress, now)
        sizes = arm_sizes(connection, users)
        control = control_arm(config.control, sizes)
        sample_ratio = check_sample_ratio(sizes, target_shares(config, sizes))
        measured = _measure(connection, users, config, control, progress)
    return Readout(
        control=control,
        sample_ratio=sample_ratio,
        metrics=_nest(compare_family(measured.all_users, config.tightest_at)).get(ALL_USERS, {}),
        cohorts=_nest(compare_family(measured.cohorts, config.tightest_at)),
        days=_nest(compare_family(measured.days, config.tightest_at)),
        covariates=measured.covariates,
        winsorised=measured.winsorised,
        repairs=users.repairs,
        warnings=users.warnings,
        first=users.exposures.first,
        last=users.scan.last,
        settings=config,
    )


class _Measurements(NamedTuple):
    """Lifts by group of users (all, a cohort, those with some days), metric and arm; and how they were measured."""

    all_users: dict[tuple[str, str, str], Lift | UndefinedLift]
    cohorts: dict[tuple[str, str, str], Lift | UndefinedLift]
    days: dict[tuple[Days, str, str], Lift | UndefinedLift]
    covariates: dict[str, list[str]]
    winsorised: dict[str, list[WinsorisedSum]]


def _measure(
    connection: DuckDBEngine, users: Users, config: ReadoutConfig, control: str, progress: Progress
) -> _Measurements:
    measured = _Measurements({}, {}, {}, {}, {})
    arms = [arm for arm in users.exposures.arms if arm != control]
    for done, metric in enumerate(users.metrics):
        name = metric.name
        progress(LOAD_STEPS + done, LOAD_STEPS + len(users.metrics), name)
        groups, capped = metric_moments(connection, "total", users, metric, config)
        measured.winsorised[name] = [one._replace(of=_column_label(users, one.of)) for one in capped]
        measured.covariates[name] = _covariate_labels(users, config, metric)
        for arm in arms:
            measured.all_users[ALL_USERS, name, arm] = _group_lift(groups, control, arm)
            for cohort in users.exposures.cohorts:
                measured.cohorts[cohort, name, arm] = _group_lift(groups, control, arm, cohort)
        for period in users.sums.periods:
            relation = period_relation(period, users.names, users.scan.last)
            groups, _ = metric_moments(connection, relation, users, metric, config)
            for arm in arms if groups[None, None].n else ():
                measured.days[period_days(period), name, arm] = _group_lift(groups, control, arm)
    return measured


def _group_lift(
    groups: Mapping[Group, Moments], control: str, arm: str, cohort: str | None = None
) -> Lift | UndefinedLift:
    return estimate_lift(groups.get((control, cohort)), groups.get((arm, cohort)))


def _covariate_labels(users: Users, config: ReadoutConfig, metric: Metric) -> list[str]:
    days = users.sums.covariate_s / DAY_S
    earlier = [f"{term} of the {days:.3g} days before" for term in metric.terms] if config.cuped and days else []
    return [*earlier, *config.covariates]


def _column_label(users: Users, column: str) -> str:
    """Return a label of column after_j or before_j."""
    when, number = column.split("_")
    return f"{users.names[int(number)]} {'since' if when == 'after' else 'before'} the exposure"


def _nest(comparisons: Mapping[tuple[W, str, str], Comparison]) -> dict[W, dict[str, dict[str, Comparison]]]:
    nested: dict[W, dict[str, dict[str, Comparison]]] = {}
    for (group, metric, arm), comparison in comparisons.items():
        nested.setdefault(group, {}).setdefault(metric, {})[arm] = comparison
    return nested
