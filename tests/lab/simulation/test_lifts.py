"""Lifts of small experiments with known figures."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import t, ttest_rel

from multitudes_lab.simulation.config import ExperimentConfig
from multitudes_lab.simulation.lifts import ALL_USERS, UserOutcomes, arm_lifts, daily_feed_saves
from multitudes_lab.simulation.run import seed_folder
from multitudes_lab.simulation.world_config import day_start_s

USERS = 400


def experiment(seeds: list[int]) -> ExperimentConfig:
    world = {"users": USERS, "items": 50, "topics": 5, "niches": 10}
    return ExperimentConfig.model_validate(
        {"seeds": seeds, "world": world, "loop": {"bootstrap_days": 3, "days": 2}, "arms": {"a": {}, "b": {}}}
    )


def write(out, seed: int, arm: str, value_U: np.ndarray, day: int = 4, metric: str = "feed_saves") -> None:
    folder = seed_folder(out, seed) / "arms" / arm
    folder.mkdir(parents=True, exist_ok=True)
    users = len(value_U)
    rows = {"user_id": np.arange(users), "timestamp": np.full(users, day_start_s(day)), "metric": [metric] * users}
    pl.DataFrame(rows | {"value": value_U.astype(np.float64)}).write_parquet(folder / "outcomes.parquet")


def lift_of(config, out, cohort=ALL_USERS):
    return next(one for one in arm_lifts(config, out) if one.metric == "feed_saves" and one.cohort == cohort)


@pytest.fixture
def values():
    rng = np.random.default_rng(5)
    base = rng.poisson(2.0, USERS)
    return base, base + rng.poisson(0.2, USERS)


def test_the_interval_over_several_seeds_is_students(tmp_path, values):
    lift_S = []
    for seed in range(4):
        more = values[1] + (np.arange(USERS) % 7 < seed)
        write(tmp_path, seed, "a", values[0])
        write(tmp_path, seed, "b", more)
        lift_S.append(more.mean() / values[0].mean() - 1)
    found = lift_of(experiment([0, 1, 2, 3]), tmp_path)
    half = t.ppf(0.975, 3) * np.std(lift_S, ddof=1) / 2
    mean = np.mean(lift_S)
    assert (found.lift, found.low, found.high) == pytest.approx((mean, mean - half, mean + half))


def test_the_interval_of_one_seed_pairs_the_users_of_both_arms(tmp_path, values):
    write(tmp_path, 0, "a", values[0])
    write(tmp_path, 0, "b", values[1])
    found = lift_of(experiment([0]), tmp_path)
    low, high = ttest_rel(values[1], values[0]).confidence_interval()
    assert found.low == pytest.approx(low / values[0].mean(), abs=0.01)
    assert found.high == pytest.approx(high / values[0].mean(), abs=0.01)
    assert found.significant
    apart = np.random.default_rng(0).permutation(values[1])
    write(tmp_path, 0, "b", apart)
    assert not lift_of(experiment([0]), tmp_path).significant  # control: other users, the same means


def test_cohorts_are_those_of_the_world_and_days_before_the_test_do_not_count(tmp_path, values):
    config = experiment([0])
    core = config.build_world(0).cohort_U == 0
    write(tmp_path, 0, "a", np.ones(USERS))
    write(tmp_path, 0, "b", np.where(core, 2, 1))
    assert lift_of(config, tmp_path, "core").lift == pytest.approx(1.0)
    assert lift_of(config, tmp_path, "casual").lift == pytest.approx(0.0)
    others = UserOutcomes(config, tmp_path).lift("feed_saves", "a", "b", "non-core")
    assert (others.control, others.treatment, others.lift) == (1.0, 1.0, 0.0)
    assert UserOutcomes(config, tmp_path).lift("feed_saves", "a", "b", "core").lift == pytest.approx(-0.5)
    (saves,) = daily_feed_saves(config, tmp_path).filter(arm="b", day=1)["feed_saves"]
    assert saves == pytest.approx(1 + core.mean())
    write(tmp_path, 0, "b", np.where(core, 2, 1), day=2)
    assert lift_of(config, tmp_path).treatment == 0


def test_a_lift_needs_a_control_above_zero_and_its_interval_users_that_differ(tmp_path):
    config = experiment([0])

    def lift(of_a, of_b, config=config):
        write(tmp_path, 0, "a", of_a)
        write(tmp_path, 0, "b", of_b)
        return lift_of(config, tmp_path)

    assert lift(np.zeros(USERS), np.ones(USERS)).lift is None
    alone = np.where(np.arange(USERS) == 7, 4, 0)
    one_user = config.model_copy(update={"world": config.world.model_copy(update={"users": 1})})
    for one in (lift(alone, alone * 5 // 4), lift(np.full(1, 4), np.full(1, 5), one_user)):
        assert (one.lift, one.low, one.high, one.verdict) == (pytest.approx(0.25), None, None, "not significant")
    two = lift(alone, np.where(np.arange(USERS) == 8, 1, alone))  # control: a second user has a spread
    assert two.low < 0.25 < two.high
    uneven = np.arange(USERS) % 10
    assert lift(uneven, uneven)[-3:] == (0.0, 0.0, 0.0)
