"""Users of whom nothing is known but the topics that they follow: what conditions on topics (CR) are for.

In this world three of four users arrive late: the test split asks about many who have no history at all. Follows are
true (a topic is a taste) but for one stale topic a user.
"""

import dataclasses
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Literal

import numpy as np
import polars as pl
import pytest

from multitudes.data.planted import START_S, PlantedConfig, plant, write_world
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import PreparedData
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import evaluate
from multitudes.nn.methods import Method
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.retrieval.config import RetrieveConfig
from multitudes.seeding import generator
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.loop import train
from multitudes.training.trained_run import TrainedRun

Follows = Literal["own", "none", "of_others"]
WORLD = PlantedConfig(users=400, items=400, events=20_000, niches=20, topics=20, follow_share=0.8, sourced_share=0)
BUDGET = 40  # two niches of 20 items; a user holds three


@cache
def world() -> PreparedData:
    folder = Path(mkdtemp(prefix="multitudes-new-users-"))
    write_world(plant(WORLD), folder / "data")
    late = generator(0, "arrivals").uniform(0.85, 1, WORLD.users) * (np.arange(WORLD.users) % 4 > 0)
    arrival = pl.Series(START_S + late * WORLD.days * 86_400)
    events = pl.read_parquet(folder / "data" / "events.parquet")
    events.filter(events["timestamp"] >= arrival.gather(events["user_id"])).write_parquet(
        folder / "data" / "events.parquet"
    )
    return prepare(folder / "data", folder / "prepared", PrepareConfig(split="time", test_share=0.2))


@cache
def run(method: Method) -> TrainedRun:
    model = UserTowerConfig.model_validate({"width": 16, "history": 20, "dropout": 0.1, "crossing": {"hidden": 32}})
    few = {"epochs": 8, "patience": 4, "batch_size": 64, "window": 5, "in_batch": 128, "uniform": 128}
    settings = TrainConfig.model_validate(few | {"learning_rate": 0.01, "explicit_weight": 1.0})
    config = RunConfig(method=method, model=model, train=settings)
    return train(world(), config, Path(mkdtemp(prefix="multitudes-new-users-")) / method)


def following(prepared: PreparedData, whose: Follows) -> PreparedData:
    """Return the same users with their own followed topics, none, or those of another user."""
    if whose == "own":
        return prepared
    order = generator(0, "others").permutation(prepared.n_users)
    rows = [prepared.followed_topics(user) if whose == "of_others" else prepared.follow_topic[:0] for user in order]
    ends = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return dataclasses.replace(prepared, follow_offset=ends, follow_topic=np.concatenate(rows))


@cache
def hit_rates(method: Method, whose: Follows = "own", *, by_topic: bool = False) -> dict[str, dict[str, float]]:
    """Return the hit rate of every system among the users without a history, with its interval.

    Unless ``by_topic``, a topic's vector searches all items: nothing but the condition leads it to those of its topic.
    """
    trained = run(method)
    asked = TrainedRun(trained.path, following(world(), whose), trained.config, trained.model)
    settings = EvaluateConfig(budgets=(BUDGET,), targets="new", controls="none")
    part = evaluate(asked, settings, RetrieveConfig(relevance_filter=by_topic)).result["segments"]["history"]["0"]
    assert part["users"] > 60
    return {system: figures[f"hr@{BUDGET}"] for system, figures in part["methods"].items()}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "by_topic"), [("conditional", False), ("conditional", True), ("joint", True)])
def test_new_users_are_served_far_better_by_followed_topics_than_by_one_vector(method: Method, by_topic: bool) -> None:
    found = hit_rates(method, by_topic=by_topic)[method]
    assert found["low"] > hit_rates("single", "none")["single"]["high"]  # knows nothing: popular items
    assert found["low"] > hit_rates("single")["single"]["high"]  # has the same follows, as one feature


@pytest.mark.slow
def test_the_condition_alone_leads_joint_to_the_items_of_a_topic() -> None:
    found = hit_rates("joint")["joint"]
    assert found["low"] > hit_rates("single", "none")["single"]["mean"]
    assert found["low"] > hit_rates("single")["single"]["high"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["conditional", "joint"])
def test_the_followed_topics_of_another_user_find_no_more_than_popular_items(method: Method) -> None:
    shuffled = hit_rates(method, "of_others")
    assert shuffled[method]["high"] < hit_rates(method)[method]["low"] / 1.1
    assert shuffled[method]["mean"] < shuffled["popularity"]["mean"] + 0.02


@pytest.mark.slow
@pytest.mark.parametrize("method", ["single", "conditional", "joint"])
def test_without_followed_topics_a_new_user_gets_popular_items(method: Method) -> None:
    rates = hit_rates(method, "none")
    assert (
        abs(rates[method]["mean"] - rates["popularity"]["mean"]) < 0.02
    )  # items of as many users are in another order
