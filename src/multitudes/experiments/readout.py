"""From two tables to what can be said of an experiment: every metric, arm and cohort, with what was repaired."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from multitudes.data.duck import DuckDBEngine
from multitudes.data.timestamps import DAY_S
from multitudes.experiments import assignment
from multitudes.experiments.assignment import SampleRatioCheck, arm_sizes, control_arm, target_shares
from multitudes.experiments.comparison import Comparison, compare_family
from multitudes.experiments.config import Metric, ReadoutConfig
from multitudes.experiments.lift import Lift, UndefinedLift, estimate_lift
from multitudes.experiments.moments import Group, Moments, Variables, group_moments, metric_variables
from multitudes.experiments.outcomes import period_days
from multitudes.experiments.users import (
    LOAD_STEPS,
    Users,
    WinsorisedSum,
    experiment_engine,
    load_users,
    period_relation,
    winsorise,
)
from multitudes.progress import Progress, silent

ALL_USERS = "everybody"

Comparisons = Mapping[str, Mapping[str, Comparison]]  # metric → arm → comparison
Days = tuple[int, int]  # since the exposure (0: its own): the first, and the first that is no longer meant


@dataclass(frozen=True)
class Readout:
    """What an experiment says.

    Attributes:
        control: the arm that the others are compared with.
        srm: whether the arms are as large as planned.
        metrics: the comparisons of all users; one family for Holm's correction.
        cohorts: cohort → the same of its users; another family.
        days: the same by days since the exposure, of the users who were in for all of them.
        covariates: metric → what was known before and is taken off.
        cuts: metric → what winsorising did.
        repairs: counts, by the names of ``repairs.REPAIRS``.
        warnings: sentences.
        first, last: seconds: the first exposure and the last outcome.
        settings: as they were given.
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
    """Read an experiment.

    Args:
        exposures: table of user_id, arm, timestamp; and cohort and covariates, if there are.
        outcomes: table of user_id, timestamp, metric, value.
        config: what is compared, and how.
        progress: called with the steps done.
        now: the time in seconds after which rows are in the future; the clock's by default.

    Raises:
        UsageError: there is no such table, arm, metric or covariate.
        DataError: a table cannot be used, or an arm has nobody.
        MissingError: memory or disk ran out.
    """
    config = config or ReadoutConfig()
    with experiment_engine(config) as connection:
        users = load_users(connection, exposures, outcomes, config, progress, now)
        users_of = arm_sizes(connection, users)
        control = control_arm(config.control, users_of)
        srm = assignment.check_sample_ratio(users_of, target_shares(config, users_of))
        found = _measure(connection, users, config, control, progress)
    return Readout(
        control=control,
        sample_ratio=srm,
        metrics=_nest(compare_family(found.all_users, config.tightest_at)).get(ALL_USERS, {}),
        cohorts=_nest(compare_family(found.cohorts, config.tightest_at)),
        days=_nest(compare_family(found.days, config.tightest_at)),
        covariates=found.covariates,
        winsorised=found.winsorised,
        repairs=users.repairs,
        warnings=users.warnings,
        first=users.exposures.first,
        last=users.scan.last,
        settings=config,
    )


class _Measurements(NamedTuple):
    """What was measured, by whose it is (everybody, a cohort, some days), metric and arm."""

    all_users: dict[tuple[str, str, str], Lift | UndefinedLift]
    cohorts: dict[tuple[str, str, str], Lift | UndefinedLift]
    days: dict[tuple[Days, str, str], Lift | UndefinedLift]
    covariates: dict[str, list[str]]
    winsorised: dict[str, list[WinsorisedSum]]


def _measure(
    connection: DuckDBEngine, users: Users, config: ReadoutConfig, control: str, progress: Progress
) -> _Measurements:
    found = _Measurements({}, {}, {}, {}, {})
    arms = [arm for arm in users.exposures.arms if arm != control]
    for done, metric in enumerate(users.metrics):
        progress(LOAD_STEPS + done, LOAD_STEPS + len(users.metrics), metric.name)
        of, cuts = winsorise(connection, "total", _variables(users, metric, config), config.winsorise)
        found.winsorised[metric.name] = [one._replace(of=_column_label(users, one.of)) for one in cuts]
        found.covariates[metric.name] = _covariate_labels(users, config, metric)
        groups = group_moments(connection, "total", of)
        for arm in arms:
            found.all_users[ALL_USERS, metric.name, arm] = _group_lift(groups, control, arm)
            for cohort in users.exposures.cohorts:
                found.cohorts[cohort, metric.name, arm] = _group_lift(groups, control, arm, cohort)
        for period in users.sums.periods:
            relation = period_relation(period, users.names, users.scan.last)
            of, _ = winsorise(connection, relation, _variables(users, metric, config), config.winsorise)
            groups = group_moments(connection, relation, of)
            for arm in arms if groups[None, None].n else ():
                found.days[period_days(period), metric.name, arm] = _group_lift(groups, control, arm)
    return found


def _group_lift(
    groups: Mapping[Group, Moments], control: str, arm: str, cohort: str | None = None
) -> Lift | UndefinedLift:
    return estimate_lift(groups.get((control, cohort)), groups.get((arm, cohort)))


def _variables(users: Users, metric: Metric, config: ReadoutConfig) -> Variables:
    before = config.cuped and users.sums.covariate_s > 0
    return metric_variables(metric, users.names, len(config.covariates), before=before)


def _covariate_labels(users: Users, config: ReadoutConfig, metric: Metric) -> list[str]:
    days = users.sums.covariate_s / DAY_S
    earlier = [f"{part} of the {days:.3g} days before" for part in metric.terms] if config.cuped and days else []
    return [*earlier, *config.covariates]


def _column_label(users: Users, column: str) -> str:
    """Return after_0 or before_0 in words."""
    when, place = column.split("_")
    return f"{users.names[int(place)]} {'since' if when == 'after' else 'before'} the exposure"


W = TypeVar("W", bound=Hashable)


def _nest(found: Mapping[tuple[W, str, str], Comparison]) -> dict[W, dict[str, dict[str, Comparison]]]:
    nested: dict[W, dict[str, dict[str, Comparison]]] = {}
    for (whose, metric, arm), comparison in found.items():
        nested.setdefault(whose, {}).setdefault(metric, {})[arm] = comparison
    return nested
