"""Every method trains, and the same seed gives the same weights."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from multitudes.data.prepared import PreparedData
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import evaluate
from multitudes.nn.interests.subsequence import Subsequence
from multitudes.nn.methods import METHODS, Method
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.loop import train
from multitudes.training.trained_run import TrainedRun


def a_few_steps(prepared: PreparedData, method: Method, out: Path) -> dict[str, np.ndarray]:
    model = UserTowerConfig.model_validate({"width": 8, "history": 10, "crossing": {"hidden": 8}})
    settings = TrainConfig(
        epochs=1, epoch_batches=3, batch_size=16, in_batch=16, uniform=16, validate_users=5, association="gumbel"
    )
    train(prepared, RunConfig(method=method, model=model, train=settings), out)
    return load_file(out / "weights.safetensors")


@pytest.mark.parametrize("method", METHODS)
def test_two_trainings_with_one_seed_end_with_identical_weights(prepared, tmp_path, method):
    """That another seed gives others is shown in test_loop."""
    one, two = (a_few_steps(prepared, method, tmp_path / name) for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_the_concepts_of_subsequences_are_kept_with_the_weights(prepared: PreparedData, tmp_path: Path) -> None:
    kept = a_few_steps(prepared, "subsequence", tmp_path / "run")
    opened = TrainedRun.open(tmp_path / "run").model.user.implicit
    assert isinstance(opened, Subsequence)
    assert np.array_equal(opened.sum_MD.numpy(), kept["user.implicit.sum_MD"])
    assert kept["user.implicit.count_M"].sum() > 0, "training moved them"


def test_the_paper_is_served_in_turns_without_an_unconditioned_vector(prepared: PreparedData, tmp_path: Path) -> None:
    settings = {
        "method": "paper",
        "model": {"width": 8, "history": 10, "interests": 3, "crossing": {"hidden": 8}},
        "train": {"epochs": 1, "epoch_batches": 3, "batch_size": 16, "in_batch": 16, "validate_users": 5},
    }
    train(prepared, RunConfig.model_validate(settings), tmp_path / "run")
    run = TrainedRun.open(tmp_path / "run")
    assert run.kinds(2) == ("implicit",) * 3 + ("explicit",) * 2
    found = evaluate(run, EvaluateConfig(budgets=(10,), targets="new", split="validation")).result
    assert found["settings"]["retrieve"]["blend"] == "round_robin"
    assert {"paper", "implicit", "explicit", "other_user", "fusion"} <= set(found["methods"])
    assert "hr@10" in found["max_score"]
