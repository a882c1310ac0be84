"""From tables to comparisons: the same figures in plain NumPy, and everything that can be wrong with a table."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

from multitudes.errors import DataError, MissingError, UsageError
from multitudes_lab.experiments.config import ReadoutConfig
from multitudes_lab.experiments.readout import Readout, analyse_experiment
from multitudes_lab.experiments.summary import readout_record
from multitudes_lab.experiments.users import experiment_engine, load_users
from tests.lab.experiments.worlds import DAY, NOW, START, World, plant

SAVES = {"metrics": ("saves",)}


def read(world: World, folder: Path, **settings) -> Any:
    return analyse_experiment(*world.write(folder), ReadoutConfig(**settings), now=NOW)


def saves(world: World, folder: Path, **settings) -> Any:
    """Return the comparison of the saves of all users."""
    return read(world, folder, **SAVES | settings).metrics["saves"]["treatment"]


def refusal(world: World, folder: Path, **settings) -> str:
    with pytest.raises((DataError, UsageError)) as caught:
        read(world, folder, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def more(world: World, *, exposures=(), outcomes=()) -> World:
    """Return the world with rows appended to its tables."""
    tables = []
    for frame, rows in ((world.exposures, exposures), (world.outcomes, outcomes)):
        added = pl.DataFrame(list(rows), schema=frame.schema, orient="row") if rows else frame.clear()
        tables.append(pl.concat([frame, added]))
    return World(*tables)


def users_and_lift(found: Readout) -> list[float | None]:
    """Return figures that two readouts of the same experiment share."""
    return [
        figure
        for arms in found.metrics.values()
        for one in arms.values()
        for figure in (one.users_control, one.users_treatment, one.lift, one.low, one.high, one.sequential.low)
    ]


def per_user(world: World, metric: str) -> pl.DataFrame:
    """Return each user's sums of a metric before and after the exposure, by Polars."""
    rows = world.outcomes.filter(metric=metric).join(world.exposures, on="user_id", suffix="_exposed")
    after = pl.col("timestamp") >= pl.col("timestamp_exposed")
    sums = rows.group_by("user_id").agg(
        after=pl.col("value").filter(after).sum(), before=pl.col("value").filter(~after).sum()
    )
    return world.exposures.join(sums, on="user_id", how="left").fill_null(0)


def test_figures_agree_with_sums_per_user_and_those_before_the_exposure_reduce_the_variance(tmp_path):
    world = plant(lift=0.1)
    found = read(world, tmp_path, cuped=False, metrics=("saves", "saves/sessions"))
    users, sessions = per_user(world, "saves"), per_user(world, "sessions")
    of = {arm: users.filter(arm=arm)["after"].to_numpy() for arm in ("control", "treatment")}
    one = found.metrics["saves"]["treatment"]
    assert (one.users_control, one.users_treatment) == (len(of["control"]), len(of["treatment"]))
    assert (one.control, one.treatment) == pytest.approx((of["control"].mean(), of["treatment"].mean()))
    error = np.sqrt(sum(value.var(ddof=1) / len(value) for value in of.values()))
    assert one.lift / one.error == pytest.approx((one.treatment - one.control) / error, rel=0.1)
    ratio = found.metrics["saves/sessions"]["treatment"]
    assert ratio.treatment == pytest.approx(of["treatment"].sum() / sessions.filter(arm="treatment")["after"].sum())
    plain, adjusted = saves(world, tmp_path, cuped=False), saves(world, tmp_path)
    users = per_user(world, "saves")
    assert np.corrcoef(users["before"], users["after"])[0, 1] > 0.5
    assert adjusted.error < 0.8 * plain.error
    assert adjusted.explained > 0.5 > plain.explained == 0
    assert saves(world, tmp_path, cuped=False, covariates=("rate",)).explained > 0.5


def test_the_covariate_covers_an_equally_long_time_for_all_users(tmp_path):
    world, config = plant(), ReadoutConfig(**SAVES)
    with experiment_engine(config) as connection:
        summed = load_users(connection, *world.write(tmp_path), config, now=NOW).sums
        ((taken,),) = connection.rows("SELECT sum(before_0) FROM total")
    back_s = int(np.min(world.exposures["timestamp"].to_numpy()) - np.min(world.outcomes["timestamp"].to_numpy()))
    joined = world.outcomes.filter(metric="saves").join(world.exposures, on="user_id", suffix="_exposed")
    age = pl.col("timestamp") - pl.col("timestamp_exposed")
    before = joined.filter(age < 0)
    assert summed.covariate_s == back_s
    assert taken == before.filter(age >= -back_s)["value"].sum() < before["value"].sum()


def test_the_result_does_not_depend_on_format_and_order_of_the_tables(tmp_path):
    world = plant()
    parquet, csv = world.write(tmp_path), world.write(tmp_path, "csv")
    shuffled = World(*(frame.sample(fraction=1, shuffle=True, seed=1) for frame in world)).write(tmp_path / "..")
    database = tmp_path / "both.duckdb"
    with duckdb.connect(str(database)) as engine:
        for name, file in zip(("exposures", "outcomes"), parquet, strict=True):
            engine.execute(f"CREATE TABLE {name} AS FROM '{file}'")
    first, *others = (
        users_and_lift(analyse_experiment(*files, now=NOW)) for files in (parquet, csv, shuffled, (database,) * 2)
    )
    assert None not in first
    for other in others:
        assert other == pytest.approx(first)


def test_cohorts_are_a_separate_family_and_one_that_an_arm_lacks_has_a_reason(tmp_path):
    world = plant(6_000, cohort_lift=0.4)
    found = read(world, tmp_path)
    core, new = (found.cohorts[cohort]["saves"]["treatment"] for cohort in ("core", "new"))
    assert (core.significant, new.significant) == (False, True)
    assert new.lift == pytest.approx(0.4, abs=0.15)
    assert core.users_control + new.users_control == found.metrics["saves"]["treatment"].users_control
    lacking = World(world.exposures.filter((pl.col("cohort") == "core") | (pl.col("arm") == "control")), world.outcomes)
    one = read(lacking, tmp_path).cohorts["new"]["saves"]["treatment"]
    assert one.lift is None
    assert one.users_treatment == 0 < one.users_control
    assert "too few" in one.reason


def test_every_arm_is_compared_with_the_control_in_one_family(tmp_path):
    world = plant(4_000, lift=0.2)
    is_placebo = (pl.col("arm") == "control") & (pl.col("user_id") % 4 == 0)
    arm = pl.when(is_placebo).then(pl.lit("placebo")).otherwise(pl.col("arm"))
    three = World(world.exposures.with_columns(arm=arm), world.outcomes)
    found = read(three, tmp_path, **SAVES, planned={"control": 3, "placebo": 1, "treatment": 4})
    assert found.sample_ratio.ok
    moved = {arm: one.significant for arm, one in found.metrics["saves"].items()}
    assert moved == {"placebo": False, "treatment": True}
    treatment = found.metrics["saves"]["treatment"]
    assert treatment.p_holm == pytest.approx(2 * treatment.p)


def test_a_period_and_a_window_are_equally_long_for_all_users(tmp_path):
    days = {days: of["saves"]["treatment"] for days, of in read(plant(days=12), tmp_path).days.items()}
    assert list(days) == [(day, day + 1) for day in range(7)]  # no user has a second week
    users = [one.users_control + one.users_treatment for one in days.values()]
    assert users[0] == 2_000 > users[6] > 0
    world = plant(days=10)
    found = read(world, tmp_path, window_days=7)
    late = world.exposures.filter(pl.col("timestamp") + 7 * DAY > found.last + 1)
    assert found.repairs["users_without_whole_window"] == len(late) > 0
    assert sum(found.sample_ratio.users.values()) == 2_000 - len(late)
    assert users_and_lift(found) != users_and_lift(read(world, tmp_path))


def test_winsorising_caps_sums_at_a_quantile_over_all_users_and_reports_it(tmp_path):
    world = more(plant(), outcomes=[(7, START + 9 * DAY, "saves", 10**6)])
    plain, cut = read(world, tmp_path, **SAVES), read(world, tmp_path, **SAVES, winsorise=0.999)
    assert abs(plain.metrics["saves"]["treatment"].lift) > 0.9  # control: one user decides the lift
    assert abs(cut.metrics["saves"]["treatment"].lift) < 0.1
    after, said = per_user(world, "saves")["after"].to_numpy(), cut.winsorised["saves"][0]
    assert said.of == "saves since the exposure"
    assert (said.at, said.users) == pytest.approx((np.quantile(after, 0.999), (after > said.at).sum()))
    assert not plain.winsorised["saves"]


def test_users_without_outcomes_count_as_zero_and_a_constant_metric_has_a_reason(tmp_path):
    world = plant()
    silent = [(10_000 + n, "control", START + 10, "core", 0.0) for n in range(3_000)]
    before, after = (saves(one, tmp_path, cuped=False) for one in (world, more(world, exposures=silent)))
    assert after.users_control == before.users_control + 3_000
    assert after.control == pytest.approx(before.control * before.users_control / after.users_control)
    found = read(more(world, outcomes=[(user, START + 9 * DAY, "visits", 1) for user in range(2_000)]), tmp_path)
    assert readout_record(found)["metrics"]["visits"]["treatment"]["p"] is None
    one = found.metrics.pop("visits")["treatment"]
    assert (one.lift, one.significant) == (None, False)
    assert "does not vary" in (one.reason or "")
    p_holm = [[of["treatment"].p_holm for of in each.metrics.values()] for each in (found, read(world, tmp_path))]
    assert p_holm[0] == pytest.approx(p_holm[1])


def test_every_repair_is_counted(tmp_path):
    world = plant(lift=0.1)
    arms = dict(world.exposures.select("user_id", "arm").iter_rows())
    other = {"control": "treatment", "treatment": "control"}
    bad = more(
        World(world.exposures, world.outcomes.with_columns(pl.col("value").cast(pl.Float64))),
        exposures=[
            (None, "control", START, "core", 1.0),
            (1, arms[1], START + 9 * DAY, "another", 1.0),
            (2, other[arms[2]], START, "core", 1.0),
            (20_000, "control", NOW - DAY, "core", None),
        ],
        outcomes=[
            (3, None, "saves", 1.0),
            (3, START + 9 * DAY, "saves", float("nan")),
            (3, START + 9 * DAY, "saves", -1.0),
            (3, NOW + 3 * DAY, "saves", 1.0),
            (30_000, START + 9 * DAY, "saves", 1.0),
        ],
    )
    found = read(bad, tmp_path, covariates=("rate",))
    unexposed = 1 + len(world.outcomes.filter(pl.col("user_id") == 2))
    assert {name: count for name, count in found.repairs.items() if name != "outcomes_before_exposure"} == {
        "exposures_with_nulls": 1,
        "repeated_exposures": 1,
        "users_in_two_arms": 1,
        "users_in_two_cohorts": 1,
        "missing_covariates": 1,
        "users_exposed_after_the_end": 1,
        "outcomes_with_nulls": 2,
        "negative_outcomes": 1,
        "future_outcomes": 1,
        "outcomes_of_the_unexposed": unexposed,
    }
    kept = read(bad, tmp_path, keep_negative=True)
    assert "negative_outcomes" not in kept.repairs


def test_a_broken_log_clock_or_assignment_is_a_warning(tmp_path):
    world = plant()
    exposures, outcomes = world
    plain = read(world, tmp_path)
    assert not plain.warnings
    is_gap = (pl.col("timestamp") // DAY == START // DAY + 4) & (pl.col("metric") == "saves")
    (warning,) = read(World(exposures, outcomes.filter(~is_gap)), tmp_path).warnings
    assert "saves has no row on 2026-01-05" in warning

    moments = [datetime.fromtimestamp(at, UTC) for at in exposures["timestamp"]]
    zoneless = exposures.with_columns(timestamp=pl.Series([at.replace(tzinfo=None) for at in moments]))
    (warning,) = read(World(zoneless, outcomes), tmp_path).warnings
    assert "exposures.parquet have no zone" in warning
    zoned = read(World(exposures.with_columns(timestamp=pl.Series(moments)), outcomes), tmp_path)
    assert not zoned.warnings
    assert users_and_lift(zoned) == pytest.approx(users_and_lift(plain))

    twice = pl.concat([exposures, exposures.head(200).with_columns(arm=pl.lit("third"))])
    found = read(World(twice, outcomes), tmp_path)
    assert any("10.0% of the users were in more than one arm" in warning for warning in found.warnings)
    assert "third" not in found.sample_ratio.users


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"metrics": ("savs",)}, "metric 'savs': no row of the outcomes has it; did you mean 'saves'?"),
        ({"metrics": ("saves/session",)}, "did you mean 'sessions'?"),
        ({"control": "contrl"}, "--control 'contrl': no row has this arm; did you mean 'control'?"),
        ({"planned": {"control": 1}}, "--ratio has no share of arm 'treatment'"),
        ({"planned": {"control": 1, "old": 1}}, "--ratio names arm 'old'"),
        ({"planned": {"control": 1, "treatment": 0}}, "expected a finite share above 0"),
        ({"planned": {"control": 1, "treatment": float("inf")}}, "expected a finite share above 0"),
        ({"covariates": ("rat",)}, "--covariate 'rat': "),
        ({"covariates": ("cohort",)}, "--covariate 'cohort' is VARCHAR"),
        ({"window_days": 40}, "no user has a whole window of 40 days"),
    ],
)
def test_a_wrong_setting_is_rejected_in_one_line(settings, said, tmp_path):
    assert said in refusal(plant(100), tmp_path, **settings)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e, o: (e.with_columns(arm=pl.lit("control")), o), "the only arm is 'control'"),
        (lambda e, o: (e.with_columns(arm=pl.col("arm").replace("control", "off")), o), "no arm is called 'control'"),
        (lambda e, o: (e.drop("arm"), o), "column 'arm' is missing"),
        (lambda e, o: (e.with_columns(pl.col("timestamp") * 1000), o), "looks like milliseconds"),
        (lambda e, o: (e, o.with_columns(pl.col("timestamp") * 1000)), "looks like milliseconds"),
        (lambda e, o: (e, o.with_columns(pl.col("timestamp") - 60 * DAY)), "no outcome is later than the exposure"),
        (lambda e, o: (e, o.with_columns(pl.col("user_id") + 10**6)), "no outcome is later than the exposure"),
        (lambda e, o: (e, o.with_columns(pl.col("user_id").cast(pl.String))), "'user_id' is int64 in exposures"),
        (lambda e, o: (e, o.with_columns(value=pl.lit("many"))), "column 'value' is VARCHAR; expected a number"),
        (lambda e, o: (e, o.with_columns(metric=pl.col("user_id").cast(pl.String))), "too many to compare at once"),
        (lambda e, o: (e, o.with_columns(value=-1)), "a finite value of at least 0; expected at least one"),
        (lambda e, o: (e.clear(), o), "the table has no rows"),
        (lambda e, o: (e.with_columns(cohort=pl.col("user_id").cast(str)), o), "has 100 values; expected at most 50"),
    ],
)
def test_an_unusable_table_is_rejected_in_one_line(change, said, tmp_path):
    world = plant(100)
    assert said in refusal(World(*change(world.exposures, world.outcomes)), tmp_path)


def test_too_little_memory_names_the_option(tmp_path):
    with pytest.raises(MissingError, match="raise --memory-limit"):
        read(plant(30_000, days=20), tmp_path, memory_limit="3MB")
