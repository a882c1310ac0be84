"""From planted logs to figures: the gain of interests is known, and zero in the control worlds.

The world of tastes has more niches than the model and its linear history are wide (60 against 8 each), so one vector
cannot stand for three tastes. In the world of links only the whole history tells what comes next. Methods that are
compared have equal linear histories, or none.
"""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import polars as pl
import pytest

from multitudes.batches.histories import followed_topics, gather_histories
from multitudes.batches.user_vectors import UserHistories
from multitudes.data.own_items import positive_items
from multitudes.data.planted import PlantedConfig, PlantedWorld, plant, write_world
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import PreparedData
from multitudes.evaluation.compare import compare, read_result
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import evaluate, save
from multitudes.nn.methods import Method
from multitudes.training.config import RunConfig
from multitudes.training.loop import train
from multitudes.training.trained_run import TrainedRun
from tests.metrics.rand_index import adjusted_rand_index

pytestmark = pytest.mark.slow

BUDGET = 60  # three niches of 20 items


@cache
def world(tastes: int) -> tuple[PlantedWorld, Path]:
    folder = Path(mkdtemp(prefix="multitudes-planted-"))
    users = 1500 if tastes == 3 else 750  # half of them show that the control gains nothing
    planted = plant(PlantedConfig(users=users, items=1200, events=40 * users, niches=60, topics=20, tastes=tastes))
    write_world(planted, folder / "data")
    prepare(folder / "data", folder / "prepared", PrepareConfig(split="user"))
    return planted, folder


@cache
def run(tastes: int, method: Method) -> TrainedRun:
    _, folder = world(tastes)
    return trained(folder, method, method, {"neighbours": False}, {})


def trained(
    folder: Path, method: Method, name: str, model: dict[str, Any], train_settings: dict[str, Any], budget: int = BUDGET
) -> TrainedRun:
    tower = {"width": 8, "history": 30, "dropout": 0.1, "interests": 3, "crossing": {"hidden": 32}}
    steps = {"epochs": 3, "learning_rate": 0.01, "batch_size": 64, "window": 5, "in_batch": 256, "uniform": 256}
    config = RunConfig.model_validate(
        {"method": method, "seed": 0, "model": tower | model, "train": steps | train_settings}
    )
    made = train(PreparedData.open(folder / "prepared"), config, folder / name)
    save(evaluate(made, EvaluateConfig(budgets=(budget,), targets="new", baselines="cheap")), folder / name)
    return made


def difference(tastes: int) -> dict[str, float]:
    return paired(run(tastes, "joint"), run(tastes, "single"))


def paired(one: TrainedRun, other: TrainedRun, budget: int = BUDGET) -> dict[str, float]:
    found: dict[str, float] = compare([one.path], [other.path])["differences"]["new"][f"hr@{budget}"]
    return found


def agreement(tastes: int) -> float:
    """Return the adjusted Rand index of interests and planted tastes over each user's last events."""
    planted, _ = world(tastes)
    joint = run(tastes, "joint")
    users = np.arange(300)
    end_B = joint.prepared.event_offset[users + 1]
    histories = gather_histories(joint.prepared, users, end_B, 30)
    topics_BC = followed_topics(joint.prepared, users)[:, :5]
    positives = positive_items(joint.prepared, users, end_B)
    column_BL = joint.user_vectors(UserHistories(histories, topics_BC, positives=positives)).assignment_BL
    scores = []
    for b, end in enumerate(end_B):
        taste_L = planted.event_taste[end - 1 : end - 31 : -1] if end > 30 else planted.event_taste[end - 1 :: -1]
        known_L = np.zeros(30, dtype=bool)
        known_L[: len(taste_L)] = taste_L >= 0
        known_L &= column_BL[b] >= 0
        scores.append(adjusted_rand_index(column_BL[b][known_L], taste_L[known_L[: len(taste_L)]]))
    return float(np.mean(scores))


def test_three_planted_tastes_come_back_as_three_interests() -> None:
    assert agreement(3) > 0.6


def test_joint_beats_single_at_equal_budget_if_users_have_three_tastes_and_hardly_if_they_have_one() -> None:
    assert difference(3)["low"] > 0
    assert difference(1)["low"] < 0.01
    assert difference(1)["mean"] < difference(3)["low"] / 10


def test_a_random_partition_of_the_history_finds_less_than_its_interests() -> None:
    _, folder = world(3)
    run(3, "joint")
    control = read_result(folder / "joint", "test")["differences"]["random_partition"][f"hr@{BUDGET}"]
    assert control["low"] > 0  # joint minus the control


LINKED_SETS, SET_SIZE, OTHER_ITEMS, LINKED_BUDGET = 16, 12, 200, 10


@cache
def linked_world() -> Path:
    """Return a world whose targets are linked to items that the tower no longer reads.

    Items of a set are linked: the same users engage with them. Each user has items of two sets, then of none of them,
    and so again in validation; the targets are of both sets. Eight events before a target say nothing about it.
    """
    folder, rng = Path(mkdtemp(prefix="multitudes-planted-")), np.random.default_rng(0)
    rows = []
    for _ in range(400):
        sets = rng.choice(LINKED_SETS, 2, replace=False) * SET_SIZE
        linked = rng.permuted(sets[:, None] + np.arange(SET_SIZE), axis=1)[:, :10]
        other = LINKED_SETS * SET_SIZE + rng.choice(OTHER_ITEMS, 20, replace=False)
        first, second, last = (rng.permutation(part.ravel()) for part in np.split(linked, [6, 8], axis=1))
        rows.append(np.concatenate([first, other[:12], second, other[12:], last]))
    item_UE = np.stack(rows)
    users, events = item_UE.shape
    columns = {
        "user_id": np.repeat(np.arange(users), events),
        "item_id": item_UE.ravel(),
        "timestamp": np.tile(np.arange(events), users),
    }
    (folder / "data").mkdir()
    pl.DataFrame(columns).write_parquet(folder / "data" / "events.parquet")
    items = np.arange(LINKED_SETS * SET_SIZE + OTHER_ITEMS)
    pl.DataFrame({"item_id": items, "topics": [["any"]] * len(items)}).write_parquet(folder / "data" / "items.parquet")
    shares = PrepareConfig(split="user", validation_share=0.3, test_share=0.1)  # 12 and 4 of 40 events
    prepare(folder / "data", folder / "prepared", shares)
    return folder


@cache
def linked_run(method: Method, neighbours: bool) -> TrainedRun:
    """Return a run whose tower reads eight events, with neighbours or without."""
    model, name = {"history": 8, "neighbours": neighbours}, f"{method}-{neighbours}"
    return trained(linked_world(), method, name, model, {"eval_k": LINKED_BUDGET}, budget=LINKED_BUDGET)


def linked_difference(one: tuple[Method, bool], other: tuple[Method, bool]) -> dict[str, float]:
    return paired(linked_run(*one), linked_run(*other), LINKED_BUDGET)


def test_where_only_neighbours_find_the_targets_interests_find_no_more_and_nothing_else_finds_them() -> None:
    level = linked_difference(("joint", True), ("transformer", True))
    assert -0.12 < level["low"] <= level["high"] < 0.02, "the chosen list may give hits for interests served"
    assert linked_difference(("transformer", True), ("transformer", False))["low"] > 0.5
