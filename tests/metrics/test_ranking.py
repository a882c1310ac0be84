"""Ranks and the figures from them, against hand-made worlds and against ir-measures."""

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import NumRelRet, R, nDCG

from multitudes.metrics import ranking

RANKED = np.array([[5, 3, 9, 0], [2, 4, 6, 8], [0, 0, 0, 0]])
OFFSET = np.array([0, 2, 3, 4])
TARGET = np.array([9, 7, 2, 1])  # user 0: 9 and 7, user 1: 2, user 2: 1


def test_each_target_gets_its_rank_in_the_list_of_its_user_and_padding_is_a_miss():
    rank_T = ranking.ranks_in_list(RANKED, OFFSET, TARGET)
    assert rank_T.tolist() == [3, np.inf, 1, np.inf]  # item 2 is in no list but user 1's
    for cutoff in (1, 4, 1000):
        assert ranking.hits(rank_T, OFFSET, cutoff)[2] == 0
    assert ranking.ranks_in_list(np.zeros((3, 0), dtype=np.int64), OFFSET, TARGET).tolist() == [np.inf] * 4
    rank_T = ranking.ranks_in_list(np.array([[4, 0, 0]]), np.array([0, 1]), np.array([0]))
    assert rank_T.tolist() == [np.inf]


def test_ties_take_the_middle_rank_and_an_excluded_item_none():
    scores = np.zeros((1, 9))
    assert ranking.ranks_by_score(scores, np.array([0, 1]), np.array([4])).tolist() == [5.0]
    scores[0, 2] = 1.0
    assert ranking.ranks_by_score(scores, np.array([0, 2]), np.array([4, 2])).tolist() == [5.5, 1.0]
    scores = np.array([[-np.inf, 3.0, -np.inf, 1.0], [-np.inf] * 4])
    ranks = ranking.ranks_by_score(scores, np.array([0, 2, 3]), np.array([3, 2, 1]))
    assert ranks.tolist() == [2.0, np.inf, np.inf]


@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
def test_ranks_by_score_equal_those_of_the_sorted_list_if_there_are_no_ties(seed, n_items):
    rng = np.random.default_rng(seed)
    scores = rng.permutation(n_items)[None].astype(np.float32)
    scores[0, 0] = -np.inf
    listed = np.argsort(-scores, axis=1)[:, :-1]
    target, offset = np.arange(1, n_items), np.array([0, n_items - 1])
    expected = ranking.ranks_in_list(listed, offset, target)
    assert np.array_equal(ranking.ranks_by_score(scores, offset, target), expected)


@st.composite
def rankings(draw):
    """Lists of a few users over a small corpus; some short, some empty; at least one target each."""
    items = st.lists(st.integers(1, 30), unique=True, max_size=25)
    n_users = draw(st.integers(1, 4))
    lists = [draw(items) for _ in range(n_users)]
    targets = [draw(items.filter(bool)) for _ in range(n_users)]
    return lists, targets


@settings(max_examples=60, deadline=None)
@given(rankings())
def test_hits_recall_and_ndcg_equal_ir_measures(world):
    lists, targets = world
    ranked = np.zeros((len(lists), 25), dtype=np.int64)
    for row, items in zip(ranked, lists, strict=True):
        row[: len(items)] = items
    offset = np.cumsum([0, *map(len, targets)])
    rank_T = ranking.ranks_in_list(ranked, offset, np.concatenate(targets))
    for cutoff in (1, 5, 20):
        ours = {
            R @ cutoff: ranking.recall(rank_T, offset, cutoff),
            nDCG @ cutoff: ranking.ndcg(rank_T, offset, cutoff),
            NumRelRet: ranking.hits(rank_T, offset, cutoff),  # knows no cut-off: its list is cut instead
        }
        for measure, value_B in ours.items():
            theirs = oracle(measure, [items[:cutoff] for items in lists], targets)
            assert value_B == pytest.approx(theirs, abs=1e-9), str(measure)


def oracle(measure, lists, targets):
    """Return the measure of each user by ir-measures; a user whom it leaves out got nothing."""
    judged = [ir_measures.Qrel(str(u), str(i), 1) for u, items in enumerate(targets) for i in items]
    run = [
        ir_measures.ScoredDoc(str(u), str(i), -float(r)) for u, items in enumerate(lists) for r, i in enumerate(items)
    ]
    found = {value.query_id: value.value for value in ir_measures.iter_calc([measure], judged, run)}
    return [found.get(str(u), 0.0) for u in range(len(targets))]
