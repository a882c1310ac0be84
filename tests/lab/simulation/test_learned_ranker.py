"""The ranker that learns: better than chance, worse than the one that knows, and without what lies ahead."""

import numpy as np
import polars as pl
import pytest

from multitudes_lab.simulation.actions import Actions
from multitudes_lab.simulation.arm_simulation import ArmSimulation
from multitudes_lab.simulation.config import ExperimentConfig
from multitudes_lab.simulation.day_log import read_visits
from multitudes_lab.simulation.learned_ranker import fit_ranker
from multitudes_lab.simulation.policy import InvertedIndexPolicy
from multitudes_lab.simulation.run import simulate
from multitudes_lab.simulation.world_config import day_start_s
from tests.lab.simulation.worlds import fixed

WORLD = {"users": 1_000, "items": 600, "topics": 20, "niches": 60, "tastes": 4}
LOOP = {"past_days": 20, "bootstrap_days": 8, "days": 3, "candidates": 60, "slots": 15}
CHANCE = 1e9  # a noise that leaves nothing of the appeal


def experiment(**loop: object) -> ExperimentConfig:
    tables = {"world": WORLD, "loop": LOOP | loop, "arms": {"popular": {"policy": "popular"}}}
    return ExperimentConfig.model_validate(tables)


def shown(out) -> pl.DataFrame:
    """Return what the arm showed on the days of the test."""
    folder = out / "seed-0" / "arms" / "popular" / "logs" / "served"
    days = [pl.read_parquet(folder / f"day-{day:05d}.parquet") for day in (8, 9, 10)]
    return pl.concat(days).drop_nulls("slot").sort("request_id", "slot")


def save_rates(tmp_path) -> dict[str, float]:
    """Return the saves by impression of each ranker, on the same candidates."""
    rankers = {"chance": ("knows", CHANCE), "learns": ("learns", 0.0), "knows": ("knows", 0.0)}
    for name, (ranker, noise) in rankers.items():
        simulate(experiment(ranker=ranker, ranker_noise=noise), tmp_path / name)
    done = {name: shown(tmp_path / name)["done"] for name in rankers}
    return {name: int((of == "save").sum()) / len(of) for name, of in done.items()}


def test_it_beats_chance_and_loses_to_the_ranker_that_knows(tmp_path):
    rates = save_rates(tmp_path)
    assert rates["learns"] > 1.2 * rates["chance"]
    assert rates["knows"] > 1.2 * rates["learns"]


@fixed(LOVED_ODDS=1e-9, UNLOVED_ODDS=0.1, QUALITY_SPREAD=0.0, FRESHNESS=0.0, FATIGUE=0.0, SATURATION=0.0)
def test_it_is_no_better_than_chance_where_nothing_can_be_learned(tmp_path):
    rates = save_rates(tmp_path)
    assert rates["learns"] == pytest.approx(rates["chance"], rel=0.07)
    assert rates["knows"] > 1.2 * rates["learns"]


def logged(tmp_path, days=8):
    config = experiment(ranker="learns")
    world = config.build_world(0)
    simulation, policy = ArmSimulation(world, config.loop, tmp_path), InvertedIndexPolicy(world, 60, "popular")
    for day in range(days):
        simulation.simulate_day(day, lambda: policy)
    return world, [read_visits(tmp_path, day, 15) for day in range(days)], simulation.history.all_actions


def test_it_knows_nothing_of_later_days_and_explains_no_impression_by_its_own_save(tmp_path):
    world, visits, done = logged(tmp_path)
    before = done.time_E < day_start_s(5)
    known = fit_ranker(world, visits[:5], Actions(*(column[before] for column in done)))
    again = fit_ranker(world, visits[:5], done)
    np.testing.assert_array_equal(known.weight_F, again.weight_F)
    np.testing.assert_array_equal(known.rate_I, again.rate_I)
    assert not np.array_equal(fit_ranker(world, visits, done).weight_F, known.weight_F)
    user_B, item_BN = np.arange(50), np.tile(np.arange(40), (50, 1))
    nothing = np.zeros_like(item_BN)
    features = known.features(5, user_B, item_BN, Actions(*(column[before] for column in done)), nothing)
    np.testing.assert_array_equal(known.features(5, user_B, item_BN, done, nothing), features)
    assert not np.array_equal(known.features(8, user_B, item_BN, done, nothing), features)
    stream, weights = np.random.default_rng(0), []
    for _ in range(6):
        shuffled = [of._replace(action_BS=stream.permuted(of.action_BS)) for of in visits]
        weights.append(fit_ranker(world, shuffled, done).weight_F[0])
    assert abs(np.mean(weights)) < 0.2


def test_it_is_fitted_again_at_each_training_and_after_an_interruption(tmp_path):
    config = experiment(ranker="learns", retrain_every=1)
    simulate(config, tmp_path / "whole")
    simulate(experiment(ranker="learns"), tmp_path / "once")
    whole, once = (shown(tmp_path / name) for name in ("whole", "once"))
    on_first_day = pl.col("timestamp") < day_start_s(9)
    assert whole.filter(on_first_day).equals(once.filter(on_first_day))
    assert not whole.equals(once)

    def interrupt(done: int, total: int, note: str = "") -> None:
        if note.endswith("popular, day 9"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(config, tmp_path / "broken", interrupt)
    simulate(config, tmp_path / "broken")
    assert shown(tmp_path / "broken").equals(whole)
