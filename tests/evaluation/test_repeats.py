"""The run with repeats is a system of the evaluation, for all targets alone."""

import numpy as np
import pytest
from numpy.typing import NDArray

from multitudes.data.prepared import TEST, VALIDATION
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import evaluate
from multitudes.evaluation.system_search import RepeatSystems
from tests.evaluation.worlds import FakeRun, prepared

ITEMS = 30
USERS = 24
SPLIT = {"split": "validation", "budgets": (1, 4), "controls": "none"}


def world(folder, repeats=True):
    """Return a run that finds the new targets, on data whose users also return to what they chose most often."""
    past = [[user % 10 + 1] * 3 + [user % 7 + 11] for user in range(USERS)]
    future = [[(user % 10 + 1) if repeats else 29, user % 8 + 19] for user in range(USERS)]
    topics = [[item % USERS + 1] for item in range(ITEMS)]
    data = prepared(folder, past, future, topics, follows=[[user + 1] for user in range(USERS)])
    data.event_split[data.event_split == TEST] = VALIDATION
    return FakeRun(folder, data, [[user % 8 + 19, 0] for user in range(USERS)])


def hit_rate(block, method, budget):
    return block["methods"][method][f"hr@{budget}"]["mean"]


def test_the_run_with_repeats_finds_both_and_without_them_there_is_no_such_system(tmp_path):
    result = evaluate(world(tmp_path), EvaluateConfig(targets="all", **SPLIT)).result
    assert hit_rate(result, "with_repeats", 4) == pytest.approx(1)
    assert hit_rate(result, "clustering", 1) == pytest.approx(1 / 2)
    assert 1 / 2 <= hit_rate(result, "repeats", 4) < 1
    assert hit_rate(result, "own_history", 1) == 0, "the newest item is not the most frequent one"
    assert hit_rate(result, "with_repeats", 1) == pytest.approx(1 / 2)
    run = world(tmp_path, repeats=False)
    assert "with_repeats" not in evaluate(run, EvaluateConfig(targets="all", **SPLIT)).result["methods"]


def test_first_time_targets_know_nothing_of_repeats(tmp_path):
    run = world(tmp_path)
    result = evaluate(run, EvaluateConfig(targets="both", **SPLIT)).result
    assert "with_repeats" not in result["methods"]
    assert "with_repeats" in result["all_targets"]["methods"]


def test_new_items_of_the_run_with_repeats_are_never_seen_ones(tmp_path, monkeypatch):
    asked: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    lists = RepeatSystems.lists

    def watched(self, held, new, histories, *, control=True):
        asked.extend(zip((found.item_N for found in new[4]), histories, strict=True))
        return lists(self, held, new, histories, control=control)

    monkeypatch.setattr(RepeatSystems, "lists", watched)
    run = world(tmp_path)
    run.wanted = [[user % 10 + 1, user % 8 + 19] for user in range(USERS)]  # the first is a seen one
    evaluate(run, EvaluateConfig(targets="all", **SPLIT))
    assert len(asked) == USERS
    assert not any(np.isin(found, seen).any() for found, seen in asked)
