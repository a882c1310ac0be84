"""From two tables to what can be said of an experiment: every metric, arm and cohort, with what was repaired."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from multitudes.data.duck import DuckDB
from multitudes.data.times import DAY_S
from multitudes.progress import Progress, silent
from multitudes.readout import sample_ratio
from multitudes.readout.arms import control_of, planned, sizes
from multitudes.readout.config import ReadoutConfig
from multitudes.readout.judge import Comparison, judged
from multitudes.readout.lift import Lift, Undefined, compare
from multitudes.readout.metric import Metric
from multitudes.readout.moments import Group, Moments, Variables, measure, variables
from multitudes.readout.outcomes import days_of
from multitudes.readout.sample_ratio import SampleRatio
from multitudes.readout.users import STEPS, Cut, Users, cut, engine, in_period, load

EVERYBODY = "everybody"

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
    srm: SampleRatio
    metrics: Comparisons
    cohorts: Mapping[str, Comparisons]
    days: Mapping[Days, Comparisons]
    covariates: Mapping[str, Sequence[str]]
    cuts: Mapping[str, Sequence[Cut]]
    repairs: Mapping[str, int]
    warnings: Sequence[str]
    first: int
    last: int
    settings: ReadoutConfig


def read_out(
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
    with engine(config) as connection:
        users = load(connection, exposures, outcomes, config, progress, now)
        users_of = sizes(connection, users)
        control = control_of(config.control, users_of)
        srm = sample_ratio.check(users_of, planned(config, users_of))
        found = _compared(connection, users, config, control, progress)
    return Readout(
        control=control,
        srm=srm,
        metrics=_nested(judged(found.everybody, config.tightest_at)).get(EVERYBODY, {}),
        cohorts=_nested(judged(found.cohorts, config.tightest_at)),
        days=_nested(judged(found.days, config.tightest_at)),
        covariates=found.covariates,
        cuts=found.cuts,
        repairs=users.repairs,
        warnings=users.warnings,
        first=users.exposed.first,
        last=users.survey.last,
        settings=config,
    )


class _Compared(NamedTuple):
    """What was measured, by whose it is (everybody, a cohort, some days), metric and arm."""

    everybody: dict[tuple[str, str, str], Lift | Undefined]
    cohorts: dict[tuple[str, str, str], Lift | Undefined]
    days: dict[tuple[Days, str, str], Lift | Undefined]
    covariates: dict[str, list[str]]
    cuts: dict[str, list[Cut]]


def _compared(connection: DuckDB, users: Users, config: ReadoutConfig, control: str, progress: Progress) -> _Compared:
    found = _Compared({}, {}, {}, {}, {})
    arms = [arm for arm in users.exposed.arms if arm != control]
    for done, metric in enumerate(users.metrics):
        progress(STEPS + done, STEPS + len(users.metrics), metric.name)
        of, cuts = cut(connection, "total", _variables(users, metric, config), config.winsorise)
        found.cuts[metric.name] = [one._replace(of=_name(users, one.of)) for one in cuts]
        found.covariates[metric.name] = _words(users, config, metric)
        groups = measure(connection, "total", of)
        for arm in arms:
            found.everybody[EVERYBODY, metric.name, arm] = _pair(groups, control, arm)
            for cohort in users.exposed.cohorts:
                found.cohorts[cohort, metric.name, arm] = _pair(groups, control, arm, cohort)
        for period in users.summed.periods:
            relation = in_period(period, users.names, users.survey.last)
            of, _ = cut(connection, relation, _variables(users, metric, config), config.winsorise)
            groups = measure(connection, relation, of)
            for arm in arms if groups[None, None].n else ():
                found.days[days_of(period), metric.name, arm] = _pair(groups, control, arm)
    return found


def _pair(groups: Mapping[Group, Moments], control: str, arm: str, cohort: str | None = None) -> Lift | Undefined:
    return compare(groups.get((control, cohort)), groups.get((arm, cohort)))


def _variables(users: Users, metric: Metric, config: ReadoutConfig) -> Variables:
    before = config.cuped and users.summed.covariate_s > 0
    return variables(metric, users.names, len(config.covariates), before=before)


def _words(users: Users, config: ReadoutConfig, metric: Metric) -> list[str]:
    days = users.summed.covariate_s / DAY_S
    earlier = [f"{part} of the {days:.3g} days before" for part in metric.parts] if config.cuped and days else []
    return [*earlier, *config.covariates]


def _name(users: Users, column: str) -> str:
    """Return after_0 or before_0 in words."""
    when, place = column.split("_")
    return f"{users.names[int(place)]} {'since' if when == 'after' else 'before'} the exposure"


W = TypeVar("W", bound=Hashable)


def _nested(found: Mapping[tuple[W, str, str], Comparison]) -> dict[W, dict[str, dict[str, Comparison]]]:
    nested: dict[W, dict[str, dict[str, Comparison]]] = {}
    for (whose, metric, arm), comparison in found.items():
        nested.setdefault(whose, {}).setdefault(metric, {})[arm] = comparison
    return nested
