"""Two runs as one system: the order of turns by hand, and a pair finds what its two runs find."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from multitudes.batches.held_out import HeldOut
from multitudes.evaluation import pair
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import evaluate
from multitudes.evaluation.pair import Member, evaluate_pair, merge_lists, pair_lists
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.scorer import Scorer
from multitudes.retrieval.search import find_candidates
from tests.evaluation.worlds import FakeRun, prepared
from tests.retrieval.worlds import catalogue, user_vectors

PAST = [[1, 2], [1, 3], [1, 2]]
FUTURE = [[5, 6, 1], [7, 8, 1], [9, 10, 1]]
CONFIG = EvaluateConfig(budgets=(2, 4), resamples=20)
SERVED = RetrieveConfig(unconditioned_share=0, explicit_share=0, blend="round_robin")


def world(folder):
    topics = [[item % 3 + 1] for item in range(1, 15)]
    return prepared(folder, PAST, FUTURE, topics, follows=[[user + 1] for user in range(len(PAST))])


def member(data, wanted, method="clustering"):
    config = SimpleNamespace(method=method, seed=0, model=SimpleNamespace(history=10))
    return Member.from_run(FakeRun(data.path, data, wanted, config=config), SERVED)


def hits(evaluation, name, budget, kind="new"):
    table = evaluation.outcomes
    rows = table.filter((table["method"] == name) & (table["budget"] == budget) & (table["kind"] == kind))
    return dict(zip(rows["user_id"], rows["hits"], strict=True))


@pytest.mark.parametrize(
    ("places", "second", "expected"),
    [
        ([2, 2], [3, 5, 1, 6], [1, 3, 2, 5]),
        ([3, 1], [3, 5, 1, 6], [1, 3, 2, 4]),  # the first list's third item was the second one's: its fourth comes
        ([2, 2], [1, 5], [1, 5, 2, 3]),  # a shared item counts once, and the second list is short of one place
        ([2, 2], [], [1, 2, 3, 4]),
        ([0, 4], [3], [3, 1, 2, 4]),
    ],
)
def test_two_lists_take_turns(places, second, expected):
    lists = [np.array([1, 2, 3, 4]), np.array(second, dtype=np.int64)]
    assert merge_lists(lists, np.array(places), np.array([], dtype=np.int64), 4).tolist() == expected


def test_popular_items_come_after_everything_that_was_found():
    nothing = np.array([], dtype=np.int64)
    assert merge_lists([nothing, np.array([7, 8])], np.array([2, 2]), np.array([8, 1, 2, 3]), 4).tolist() == [
        7,
        8,
        1,
        2,
    ]
    assert merge_lists([nothing, nothing], np.array([1, 1]), np.array([4, 2]), 2).tolist() == [4, 2]


def test_each_run_finds_what_the_other_misses(tmp_path):
    data = world(tmp_path)
    first, second = [[5, 11], [7, 11], [9, 11]], [[6, 12], [8, 12], [12, 13]]
    both = evaluate_pair((member(data, first), member(data, second)), 0.5, CONFIG)
    assert hits(both, "pair", 2) == {100: 2, 101: 2, 102: 1}
    assert (both.result["budget"], both.result["users"]) == (4, 3)
    assert both.result["methods"]["pair"]["hr@2"]["mean"] == pytest.approx(5 / 6, abs=1e-6)
    alone = evaluate_pair((member(data, first), member(data, second)), 1.0, CONFIG)
    assert hits(alone, "pair", 2) == {100: 1, 101: 1, 102: 1}, "control: no place for the second"


def test_a_run_paired_with_itself_is_that_run_and_the_baselines_are_the_same(tmp_path):
    data = world(tmp_path)
    one = member(data, [[5, 11], [7, 8], [12, 11]])
    alone, twice = evaluate(one.run, CONFIG, SERVED), evaluate_pair((one, one), 0.5, CONFIG)
    for kind in ("new", "all"):
        for budget in CONFIG.budgets:
            assert hits(twice, "pair", budget, kind) == hits(alone, "clustering", budget, kind)
            for name in ("popularity", "covisit", "followed_topics"):
                assert hits(twice, name, budget, kind) == hits(alone, name, budget, kind)
    assert set(twice.outcomes.columns) == set(alone.outcomes.columns)


def test_with_half_of_the_places_a_run_fills_the_list_of_half_the_budget(tmp_path):
    """At .76 to .24 the first interest has 3 of 4 places, but 2 of 2: the other's item is not in the half list."""
    data = world(tmp_path)
    uneven = Member.from_run(FakeRun(tmp_path, data, [[5, 6], [7, 8], [9, 10]], weights=(0.76, 0.24)), SERVED)
    other = member(data, [[11, 12], [11, 12], [11, 12]])
    assert hits(evaluate_pair((uneven, other), 0.5, CONFIG), "pair", 4) == {100: 1, 101: 1, 102: 1}
    assert hits(evaluate_pair((uneven, other), 1.0, CONFIG), "pair", 4) == {100: 2, 101: 2, 102: 2}


def test_a_pair_of_a_run_with_itself_keeps_the_turns_of_popular_items(monkeypatch):
    items = catalogue(np.outer(np.linspace(1, 0.1, 20), [1, 0.1]), counts=np.arange(20))  # item 20 is the most popular
    config = RetrieveConfig(relevance_filter=False)
    both = user_vectors(("unconditioned", "explicit"), [[[0, 5], [5, 0.5]]], topic_BK=[[0, 1]])
    vectors = both._replace(events_B=np.array([0]))
    monkeypatch.setattr(pair, "user_vectors", lambda *_: vectors)
    own, nothing = Member(cast("Scorer", None), items, config), [np.array([], dtype=np.int64)]
    (alone,) = find_candidates(vectors, items, 6, nothing, config)
    assert alone.item_N.tolist() == [1, 20, 2, 19, 3, 18]
    assert pair_lists((own, own), 1.0, cast("HeldOut", [0]), nothing, (6,))[6].tolist() == [alone.item_N.tolist()]
