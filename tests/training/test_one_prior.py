"""The shares of the list are the same in the selection of a run, in its evaluation and in serving."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from multitudes.batches.held_out import held_out_users
from multitudes.batches.user_vectors import INTEREST_KINDS, InterestKind, UserVectors
from multitudes.evaluation import system_search
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import evaluate
from multitudes.retrieval import retriever
from multitudes.retrieval.config import DEFAULT_SHARES, RetrieveConfig
from multitudes.retrieval.request import Request
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.search import Candidates
from multitudes.retrieval.user_vectors import vectors_for_requests
from multitudes.training import selection
from multitudes.training.config import RunConfig
from multitudes.training.loop import train
from multitudes.training.selection import choose_list, hit_rate
from multitudes.training.trained_run import TrainedRun
from tests.worlds import planted

MODULES = {"selection": selection, "evaluation": system_search, "serving": retriever}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    settings = {"epochs": 1, "batch_size": 32, "in_batch": 64, "uniform": 32, "eval_k": 10}
    model = {"width": 16, "history": 10, "crossing": {"hidden": 0}, "neighbours": False}
    config = RunConfig.model_validate({"method": "joint", "model": model, "train": settings})
    return train(planted()[1], config, tmp_path_factory.mktemp("prior") / "run")


def prior(
    kinds: tuple[InterestKind, ...], mask_K: NDArray[np.bool_], weight_K: NDArray[Any], shares: tuple[float, ...]
) -> NDArray[np.float64]:
    """The share of a kind is divided among its vectors, by importance if implicit; the rest is in proportion."""
    share_K = np.zeros(len(kinds))
    for kind, share in zip(INTEREST_KINDS, shares, strict=True):
        own = [k for k, of in enumerate(kinds) if of == kind and mask_K[k]]
        weight = [float(weight_K[k]) for k in own]
        if kind != "implicit" or not any(weight):
            weight = [1.0] * len(own)
        for k, w in zip(own, weight, strict=True):
            share_K[k] = share * w / sum(weight)
    if mask_K.any() and not share_K.any():
        return prior(kinds, mask_K, weight_K, DEFAULT_SHARES)
    return np.asarray(share_K / max(share_K.sum(), 1e-300))


def test_selection_evaluation_and_serving_divide_a_list_by_one_formula(run, monkeypatch):
    rng, compared = np.random.default_rng(0), dict.fromkeys(MODULES, 0)

    def lacking(make: Callable[..., UserVectors]) -> Callable[..., UserVectors]:
        """Return vectors of which users lack some at random, and no user is new."""

        def vectors(*arguments: Any, **named: Any) -> UserVectors:
            made = make(*arguments, **named)
            return made._replace(mask_BK=made.mask_BK & (rng.random(made.mask_BK.shape) < 0.5), events_B=None)

        return vectors

    def watch(name: str, find: Callable[..., list[Candidates]]) -> Callable[..., list[Candidates]]:
        def find_candidates(vectors: UserVectors, *arguments: Any, **named: Any) -> list[Candidates]:
            found = find(vectors, *arguments, **named)
            config: RetrieveConfig = arguments[3]
            if vectors.taste_BT is None:
                unconditioned, explicit = config.unconditioned_share, config.explicit_share
                shares = tuple(DEFAULT_SHARES)
                if unconditioned is not None and explicit is not None:
                    shares = (unconditioned, 1 - unconditioned - explicit, explicit)
                for one, mask_K, weight_K in zip(found, vectors.mask_BK, vectors.weight_BK, strict=True):
                    expected_K = prior(vectors.kinds, mask_K, weight_K, shares)
                    np.testing.assert_allclose(one.share_K, expected_K, atol=1e-12, err_msg=name)
                    compared[name] += int(0 < mask_K.sum() < len(mask_K))
            return found

        return find_candidates

    monkeypatch.setattr(TrainedRun, "user_vectors", lacking(TrainedRun.user_vectors))
    monkeypatch.setattr(retriever, "vectors_for_requests", lacking(vectors_for_requests))
    for name, module in MODULES.items():
        monkeypatch.setattr(module, "find_candidates", watch(name, module.find_candidates))
    held = held_out_users(run.prepared, "validation")
    hit_rate(run, held, 10, run.blend)
    choose_list(run, held, 10)
    settings = EvaluateConfig(split="validation", budgets=(10,), controls="none", baselines="none")
    for shares in ((None, None), (0.3, 0.2), (1.0, 0.0)):
        asked = RetrieveConfig(calibration=0.0, unconditioned_share=shares[0], explicit_share=shares[1])
        evaluate(run, settings, asked)
        Retriever(run.retriever.release, asked).answer([Request(user, n=10) for user in run.prepared.user_ids])
    assert min(compared.values()) > 100


def test_a_run_in_memory_answers_for_the_users_of_its_data(run: TrainedRun, tmp_path: Path) -> None:
    user = run.prepared.user_ids[3]
    answer = run.recommend(user, n=20)
    assert [one.rank for one in answer.candidates] == list(range(1, 21))
    assert answer.user_id == user
    assert all(one.interest_name for one in answer.candidates)
    assert run.retriever is run.retriever, "it is made once"
    assert not list(tmp_path.iterdir())
