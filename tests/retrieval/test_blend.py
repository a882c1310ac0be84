"""Three ways to make one list of several, each beside what one would do by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitudes.index.protocol import NO_ID, Hits, empty_hits
from multitudes.retrieval.blend import (
    MergedLists,
    UserLists,
    fusion,
    fusion_terms,
    global_top,
    merge_lists,
    round_robin,
    round_robin_of_users,
)


def lists_of(*rows: list[tuple[int, float]]) -> Hits:
    lists = empty_hits(len(rows), max(map(len, rows)))
    for k, row in enumerate(rows):
        lists.count_Q[k] = len(row)
        for place, (item, score) in enumerate(row):
            lists.id_QN[k, place], lists.score_QN[k, place] = item, score
    return lists


def union(lists: Hits) -> MergedLists:
    """Return the distinct items of the lists of one user."""
    n_lists = len(lists.count_Q)
    found = merge_lists(lists, np.zeros(n_lists, dtype=np.int64), np.arange(n_lists), (1, n_lists))
    return MergedLists(found.item_U[0], found.score_KU[0])


A = [(1, 9.0), (2, 8.0), (3, 7.0), (4, 6.0), (5, 5.0)]
B = [(2, 5.0), (6, 4.0), (1, 3.0), (7, 2.0), (8, 1.0)]


def test_round_robin_takes_turns_and_a_lost_place_goes_to_the_next_deeper_neighbour():
    blended = round_robin(lists_of(A, B), np.array([2, 3]), 5)
    # A gives 1, B gives 2; A's own 2 is taken, so it gives 3; B gives 6; A is done, B skips 1 and gives 7.
    assert blended.item_N.tolist() == [1, 2, 3, 6, 7]
    assert blended.interest_N.tolist() == [0, 1, 0, 1, 1]
    assert blended.score_N.tolist() == [9, 5, 7, 4, 2]


def test_round_robin_lets_others_go_on_where_a_list_ends_before_its_quota():
    blended = round_robin(lists_of(A, [(1, 9.0)]), np.array([1, 4]), 5)
    assert blended.item_N.tolist() == [1, 2, 3, 4, 5]
    assert round_robin(lists_of(A[:2], B[:2]), np.array([2, 2]), 9).item_N.tolist() == [1, 2, 6]


def test_global_top_takes_the_best_score_of_all_lists():
    blended = global_top(union(lists_of(A, B)), 4)
    assert blended.item_N.tolist() == [1, 2, 3, 4]
    assert blended.score_N.tolist() == [9, 8, 7, 6]
    tied = global_top(union(lists_of([(4, 1.0), (9, 1.0)], [(3, 1.0), (9, 2.0)])), 3)
    assert tied.item_N.tolist() == [9, 3, 4], "ties by the smaller id"
    assert tied.interest_N.tolist() == [1, 1, 0]


@st.composite
def ranked_lists(draw):
    rows = []
    for _ in range(draw(st.integers(1, 5))):
        items = draw(st.lists(st.integers(1, 30), unique=True, max_size=15))
        rows.append([(item, float(len(items) - place)) for place, item in enumerate(items)])
    return lists_of(*rows), np.array(draw(st.lists(st.integers(0, 8), min_size=len(rows), max_size=len(rows))))


@given(world=ranked_lists())
def test_round_robin_gives_each_list_its_quota_while_it_has_items_of_its_own(world):
    lists, quota = world
    n = int(quota.sum())
    blended = round_robin(lists, quota, n)
    for k in range(len(quota)):
        others = {i for j in range(len(quota)) if j != k for i in lists.ids(j).tolist()}
        own = [i for i in lists.ids(k).tolist() if i not in others]
        if len(own) >= quota[k]:
            assert (blended.interest_N == k).sum() >= quota[k]


def fused(lists: Hits, share: list[float]) -> MergedLists:
    return union(lists._replace(score_QN=fusion_terms(lists, np.array(share))))


def test_fusion_counts_ranks_shares_and_agreement():
    lists = lists_of([(1, 9.0), (2, 8.0), (3, 7.0)], [(4, 0.2), (3, 0.1)])
    found = fusion(fused(lists, [0.5, 0.5]), 4)
    assert found.item_N.tolist() == [3, 1, 4, 2], "both lists have item 3; scores of different lists do not compare"
    assert found.score_N[0] == pytest.approx(0.5 / 12 + 0.5 / 11)
    assert found.interest_N.tolist() == [1, 0, 1, 0]
    # The control: a list with nearly no share says nearly nothing.
    assert fusion(fused(lists, [0.99, 0.01]), 4).item_N.tolist() == [1, 2, 3, 4]


@given(world=ranked_lists(), n=st.integers(1, 40))
def test_fusion_is_the_sum_over_the_lists(world, n):
    lists, quota = world
    share = (quota + 1.0) / (quota + 1.0).sum()
    found = fusion(fused(lists, share.tolist()), n)
    score: dict[int, float] = {}
    for k in range(len(quota)):
        for rank, item in enumerate(lists.ids(k).tolist()):
            score[item] = score.get(item, 0.0) + share[k] / (rank + 10)
    expected = sorted(score.values(), reverse=True)[:n]
    assert found.score_N.tolist() == pytest.approx(expected, rel=1e-5)
    assert [score[item] for item in found.item_N.tolist()] == pytest.approx(expected, rel=1e-5)


def test_many_users_are_blended_as_each_would_be_alone():
    users = [lists_of(A, B), lists_of([(9, 3.0), (2, 1.0)], []), lists_of([(4, 2.0)], [(4, 1.0), (1, 0.5)])]
    width = max(one.id_QN.shape[1] for one in users)
    padded = [np.pad(one.id_QN, ((0, 0), (0, width - one.id_QN.shape[1]))) for one in users]
    scores = [np.pad(one.score_QN, ((0, 0), (0, width - one.id_QN.shape[1]))) for one in users]
    every = Hits(np.concatenate(padded), np.concatenate(scores), np.concatenate([one.count_Q for one in users]))
    user_Q, column_Q = np.repeat(np.arange(3), 2), np.tile([0, 1], 3)
    found = merge_lists(every, user_Q, column_Q, (3, 2))
    assert (found.item_U != NO_ID).sum(axis=1).tolist() == [8, 2, 2]
    together = UserLists(every, user_Q, column_Q, found, np.full((3, 2), 0.5), 4)
    for blended, alone in (
        (global_top(found, 4), [global_top(union(lists), 4) for lists in users]),
        (fusion(found, 4), [fusion(union(lists), 4) for lists in users]),
        (
            round_robin_of_users(together, 4),
            [round_robin(one, np.array([2, 2]), 4) for one in users],
        ),
    ):
        for b, own in enumerate(alone):
            count = len(own.item_N)
            assert blended.item_N[b, :count].tolist() == own.item_N.tolist()
            assert blended.score_N[b, :count].tolist() == own.score_N.tolist()
            assert blended.interest_N[b, :count].tolist() == own.interest_N.tolist()
            assert (blended.item_N[b, count:] == NO_ID).all(), "the fill comes last"
