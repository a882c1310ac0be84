"""The re-rankers as systems of an evaluation, and the choice of their λ."""

from dataclasses import replace

import numpy as np
import pytest

from multitudes.batches.held_out import held_out_users
from multitudes.data.prepared import TEST, VALIDATION
from multitudes.evaluation import reranked
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import evaluate
from multitudes.evaluation.reranked import RERANKERS, WEIGHTS, RerankedSystems, _choose_weight
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.scorer import catalogue
from tests.evaluation.worlds import FakeRun, prepared

ITEMS, USERS = 40, 12
SETTINGS = RetrieveConfig(blend="round_robin", unconditioned_share=0.5, explicit_share=0)


class UntiedRun(FakeRun):
    """Items have different scores for every user."""

    def item_vectors(self):
        vectors = np.random.default_rng(0).normal(size=(ITEMS + 1, 8)).astype(np.float32)
        vectors[0] = 0
        return vectors


@pytest.fixture
def run(tmp_path):
    """A run with one vector of the whole history beside an interest; the third event is for validation."""
    past = [[1 + b % 5, 6 + b % 5, 11 + b % 5] for b in range(USERS)]
    future = [[16 + b % 5, 21 + b % 5] for b in range(USERS)]
    data = prepared(
        tmp_path,
        past,
        future,
        [[item % USERS + 1] for item in range(ITEMS)],
        follows=[[user + 1] for user in range(USERS)],
    )
    data.event_split[2::5] = VALIDATION
    wanted = [[16 + b % 5, 21 + b % 5] for b in range(USERS)]
    return UntiedRun(tmp_path, data, wanted, kinds=("unconditioned", "implicit"))


def test_the_largest_weight_that_keeps_the_hits_is_chosen():
    hits_WB = np.array([[100, 0], [100, 0], [99, 50], [98, 100], [50, 100], [10, 100]])
    user_B = np.array([4, 7])
    assert _choose_weight(user_B, hits_WB, 0) == WEIGHTS[2]
    assert _choose_weight(user_B, hits_WB, 1) == WEIGHTS[-1]
    assert _choose_weight(user_B, hits_WB, None) == WEIGHTS[-1]


def test_re_ranked_lists_are_rows_up_to_the_main_budget(run):
    result = evaluate(run, EvaluateConfig(budgets=(2, 5), baselines="none"), SETTINGS).result
    for name in RERANKERS:
        assert result["methods"][name]["candidates@5"]["mean"] == 5
        assert {"served@2", "served@5"} <= result["differences"][name].keys()
        assert len(result["rerankers"][name]) == 2
    none = evaluate(run, EvaluateConfig(budgets=(2, 5), baselines="none", controls="none"), SETTINGS).result
    assert not set(RERANKERS) & set(none["methods"])
    assert none["rerankers"] == {}


def test_a_run_without_a_vector_of_the_whole_history_has_nothing_to_re_rank(run):
    run.kinds = ("implicit", "implicit")
    assert not set(RERANKERS) & set(evaluate(run, EvaluateConfig(budgets=(2,)), SETTINGS).result["methods"])


def test_with_a_weight_of_zero_the_list_is_that_of_the_one_vector(run, monkeypatch):
    monkeypatch.setattr(reranked, "WEIGHTS", (0.0,))
    frame = evaluate(run, EvaluateConfig(budgets=(5,), baselines="none"), SETTINGS).outcomes
    one = frame.filter(method="unconditioned").drop("method").sort("kind", "user_id")
    for name in RERANKERS:
        assert frame.filter(method=name).drop("method").sort("kind", "user_id").equals(one)


def test_an_excluded_item_is_in_no_list_and_places_are_filled(run):
    systems = RerankedSystems(run, catalogue(run, run.item_vectors()), SETTINGS, 5, "test")
    held = held_out_users(run.prepared, "test")
    score_BI = np.tile(-np.arange(ITEMS + 1, dtype=np.float32), (USERS, 1))
    lists = systems.lists(score_BI, held, [np.arange(1, 4 + b) for b in range(USERS)], (5,))
    for list_BN in lists.values():
        for b, list_N in enumerate(list_BN):
            assert len(set(list_N)) == 5
            assert list_N.min() >= 4 + b


def test_on_validation_each_half_of_the_users_has_the_weight_of_the_other(run, monkeypatch):
    chosen: list[int | None] = []

    def choose(user_B, hits_WB, half):
        chosen.append(half)
        return _choose_weight(user_B, hits_WB, half)

    monkeypatch.setattr(reranked, "_choose_weight", choose)
    evaluate(run, EvaluateConfig(budgets=(2,), split="validation", baselines="none"), SETTINGS)
    assert chosen == [1, 0] * len(RERANKERS)
    chosen.clear()
    evaluate(run, EvaluateConfig(budgets=(2,), baselines="none"), SETTINGS)
    assert chosen == [None, None] * len(RERANKERS)


def test_the_weight_is_chosen_on_validation_whatever_happens_in_test(run):
    def weights(split):
        """Return the λ of a world in which the users have exchanged their targets of a split."""
        item = run.prepared.event_item.copy()
        at = np.flatnonzero(run.prepared.event_split == split)
        item[at] = np.roll(item[at], 1)
        changed = replace(run, prepared=replace(run.prepared, event_item=item))
        return RerankedSystems(changed, catalogue(changed, changed.item_vectors()), SETTINGS, 5, "test").weights

    plain = RerankedSystems(run, catalogue(run, run.item_vectors()), SETTINGS, 5, "test").weights
    assert weights(TEST) == plain
    assert weights(VALIDATION) != plain
