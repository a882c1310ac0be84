"""Three ways to make one list of several, each beside what one would do by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitudes.index.hits import empty_hits
from multitudes.index.protocol import NO_ID, Hits
from multitudes.retrieval.blend import (
    BlendedList,
    UserLists,
    fusion,
    fusion_terms,
    global_top,
    merge_lists,
    round_robin,
)


def lists_of(*rows: list[tuple[int, float]]) -> Hits:
    lists = empty_hits(len(rows), max(map(len, rows)))
    for k, row in enumerate(rows):
        lists.count_Q[k] = len(row)
        for place, (item, score) in enumerate(row):
            lists.id_QN[k, place], lists.score_QN[k, place] = item, score
    return lists


def of_users(hits: Hits, users: int, shares: object, places: int = 0) -> UserLists:
    """Return lists as a blend reads them: as many of each user."""
    user_Q, column_Q = np.divmod(np.arange(len(hits.count_Q)), len(hits.count_Q) // users)
    share_BK = np.array(shares, dtype=np.float64).reshape(users, -1)
    return UserLists(hits, user_Q, column_Q, merge_lists(hits, user_Q, column_Q, share_BK.shape), share_BK, places)


def blend(join, hits: Hits, n: int, shares=None) -> BlendedList:
    """Blend the lists of one user, with the shares as quotas; without the fill."""
    shares = np.ones(len(hits.count_Q)) if shares is None else np.asarray(shares)
    blended = join(of_users(hits, 1, shares, int(shares.sum())), n)
    return BlendedList(*(array[0, blended.item_BN[0] != NO_ID] for array in blended))


A = [(1, 9.0), (2, 8.0), (3, 7.0), (4, 6.0), (5, 5.0)]
B = [(2, 5.0), (6, 4.0), (1, 3.0), (7, 2.0), (8, 1.0)]


def test_round_robin_takes_turns_and_a_lost_place_goes_to_the_next_deeper_neighbour():
    blended = blend(round_robin, lists_of(A, B), 5, [2, 3])
    # A gives 1, B gives 2; A's own 2 is taken, so it gives 3; B gives 6; A is done, B skips 1 and gives 7.
    assert blended.item_BN.tolist() == [1, 2, 3, 6, 7]
    assert blended.interest_BN.tolist() == [0, 1, 0, 1, 1]
    assert blended.score_BN.tolist() == [9, 5, 7, 4, 2]
    blended = blend(round_robin, lists_of(A, [(1, 9.0)]), 5, [1, 4])
    assert blended.item_BN.tolist() == [1, 2, 3, 4, 5]
    assert blend(round_robin, lists_of(A[:2], B[:2]), 9, [2, 2]).item_BN.tolist() == [1, 2, 6]


def test_global_top_takes_the_best_score_of_all_lists():
    blended = blend(global_top, lists_of(A, B), 4)
    assert blended.item_BN.tolist() == [1, 2, 3, 4]
    assert blended.score_BN.tolist() == [9, 8, 7, 6]
    tied = blend(global_top, lists_of([(4, 1.0), (9, 1.0)], [(3, 1.0), (9, 2.0)]), 3)
    assert tied.item_BN.tolist() == [9, 3, 4], "ties by the smaller id"
    assert tied.interest_BN.tolist() == [1, 1, 0]


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
    blended = blend(round_robin, lists, n, quota)
    for k in range(len(quota)):
        others = {i for j in range(len(quota)) if j != k for i in lists.ids(j).tolist()}
        own = [i for i in lists.ids(k).tolist() if i not in others]
        if len(own) >= quota[k]:
            assert (blended.interest_BN == k).sum() >= quota[k]


def fused(hits: Hits, shares: list[float], n: int) -> BlendedList:
    return blend(fusion, hits._replace(score_QN=fusion_terms(hits, np.array(shares))), n)


def test_fusion_counts_ranks_shares_and_agreement():
    lists = lists_of([(1, 9.0), (2, 8.0), (3, 7.0)], [(4, 0.2), (3, 0.1)])
    found = fused(lists, [0.5, 0.5], 4)
    assert found.item_BN.tolist() == [3, 1, 4, 2], "both lists have item 3; scores of different lists do not compare"
    assert found.score_BN[0] == pytest.approx(0.5 / 12 + 0.5 / 11)
    assert found.interest_BN.tolist() == [1, 0, 1, 0]
    # The control: a list with nearly no share says nearly nothing.
    assert fused(lists, [0.99, 0.01], 4).item_BN.tolist() == [1, 2, 3, 4]


@given(world=ranked_lists(), n=st.integers(1, 40))
def test_fusion_is_the_sum_over_the_lists(world, n):
    lists, quota = world
    share = (quota + 1.0) / (quota + 1.0).sum()
    found = fused(lists, share.tolist(), n)
    score: dict[int, float] = {}
    for k in range(len(quota)):
        for rank, item in enumerate(lists.ids(k).tolist()):
            score[item] = score.get(item, 0.0) + share[k] / (rank + 10)
    expected = sorted(score.values(), reverse=True)[:n]
    assert found.score_BN.tolist() == pytest.approx(expected, rel=1e-5)
    assert [score[item] for item in found.item_BN.tolist()] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("join", [fusion, round_robin, global_top])
def test_many_users_are_blended_as_each_would_be_alone(join):
    users = [lists_of(A, B), lists_of([(9, 3.0), (2, 1.0)], []), lists_of([(4, 2.0)], [(4, 1.0), (1, 0.5)])]
    missing = [len(A) - one.id_QN.shape[1] for one in users]
    padded = [[np.pad(array, ((0, 0), (0, m))) for array in one[:2]] for one, m in zip(users, missing, strict=True)]
    id_QN, score_QN = map(np.concatenate, zip(*padded, strict=True))
    every = Hits(id_QN, score_QN, np.concatenate([one.count_Q for one in users]))
    together = of_users(every, 3, np.full((3, 2), 0.5), 4)
    assert (together.merged.item_BU != NO_ID).sum(axis=1).tolist() == [8, 2, 2]
    blended = join(together, 4)
    for b, lists in enumerate(users):
        alone = blend(join, lists, 4, [2, 2])
        count = len(alone.item_BN)
        assert blended.item_BN[b, :count].tolist() == alone.item_BN.tolist()
        assert blended.score_BN[b, :count].tolist() == alone.score_BN.tolist()
        assert blended.interest_BN[b, :count].tolist() == alone.interest_BN.tolist()
        assert (blended.item_BN[b, count:] == NO_ID).all(), "the fill comes last"
