"""PinnerSage in planted worlds with given item vectors: when several medoids help, and when not."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from multitudes.batches.user_vectors import UserVectors
from multitudes.data.planted import PlantedConfig, plant, write_world
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import evaluate
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.scorer import catalogue
from multitudes.run_record import ListDefaults
from multitudes.training.runs import make_pinnersage_run

BUDGET = 60  # three niches of 20 items


class MeanOfHistory:
    """Control: one vector, the mean of the history's vectors."""

    def __init__(self, run):
        self.prepared, self.config, self.item_vectors = run.prepared, run.config, run.item_vectors
        self.neighbours = None
        self.list_defaults = ListDefaults({"unconditioned": 1.0}, "fusion", 0.0)

    def user_vectors(self, users, _partition="interests"):
        histories = users.histories
        mean_BD = (self.item_vectors()[histories.item_BL] * histories.valid_BL[:, :, None]).mean(axis=1)
        length = histories.item_BL.shape[1]
        return UserVectors.alike(("unconditioned",), mean_BD[:, None], mean_BD.any(axis=1)[:, None], length)


@cache
def run(tastes):
    folder = Path(mkdtemp(prefix="multitudes-planted-"))
    world = PlantedConfig(users=200, items=600, events=8_000, niches=30, topics=10, tastes=tastes, embedding_width=8)
    write_world(plant(world), folder / "data")
    data = prepare(folder / "data", folder / "prepared", PrepareConfig(split="user"))
    return make_pinnersage_run(data, folder / "run")


@cache
def result(tastes, control=None):
    asked = EvaluateConfig(budgets=(BUDGET,), targets="new")
    return evaluate(run(tastes) if control is None else control(run(tastes)), asked).result


def hit_rate(tastes, method="pinnersage", control=None):
    return result(tastes, control)["methods"][method][f"hr@{BUDGET}"]


def test_three_tastes_are_found_by_three_medoids_alone_and_one_taste_by_one_vector():
    controls = [hit_rate(3, name) for name in ("averaged", "random_partition", "popularity")]
    for found in [*controls, hit_rate(3, control=MeanOfHistory)]:
        assert hit_rate(3)["low"] > found["high"]
    assert hit_rate(1)["mean"] > 0.5
    assert abs(hit_rate(1)["mean"] - hit_rate(1, control=MeanOfHistory)["mean"]) < 0.05


def test_round_robin_is_the_default_blend_and_can_be_changed():
    assert result(3)["settings"]["retrieve"]["blend"] == "round_robin"
    assert "fusion" in result(3)["methods"]
    asked = EvaluateConfig(budgets=(BUDGET,), targets="new", max_users=5)
    assert evaluate(run(3), asked, RetrieveConfig(blend="fusion")).result["settings"]["retrieve"]["blend"] == "fusion"


def test_an_item_without_a_vector_is_never_a_candidate():
    one = run(3)
    without = np.flatnonzero(~one.item_vectors().any(axis=1))
    assert len(without) > 1
    items = catalogue(one, one.item_vectors())
    assert not np.isin(without, items.index.ids()).any()
    assert not np.isin(without, items.items_by_popularity()).any()
    assert len(items.items_by_popularity()) == one.prepared.n_items + 1 - len(without)
