"""Three ways to make one list of several, each beside what one would do by hand."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from multitudes.index.exact import ExactIndex
from multitudes.index.hits import empty_hits
from multitudes.index.protocol import NO_ID, Hits
from multitudes.retrieval.blend import MergedLists, global_top, merge_lists, mixture, round_robin


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


def test_an_item_is_one_item_by_its_id_not_by_its_score():
    found = union(lists_of([(1, 5.0), (2, 5.0)], [(2, 1.0), (3, 5.0)]))
    assert found.item_U.tolist() == [1, 2, 3]
    assert (found.score_KU > -np.inf).tolist() == [[True, True, False], [False, True, True]]


@st.composite
def ranked_lists(draw):
    rows = []
    for _ in range(draw(st.integers(1, 5))):
        items = draw(st.lists(st.integers(1, 30), unique=True, max_size=15))
        rows.append([(item, float(len(items) - place)) for place, item in enumerate(items)])
    return lists_of(*rows), np.array(draw(st.lists(st.integers(0, 8), min_size=len(rows), max_size=len(rows))))


@given(world=ranked_lists(), n=st.integers(0, 40))
def test_every_blend_is_full_without_repeats_and_from_the_lists(world, n):
    lists, quota = world
    found = union(lists)
    for blended in (round_robin(lists, quota, n), global_top(found, n)):
        items = blended.item_N.tolist()
        assert len(items) == len(set(items)) == min(n, len(found.item_U))
        for item, k in zip(items, blended.interest_N.tolist(), strict=True):
            assert item in lists.ids(k).tolist()


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


@given(seed=st.integers(0, 1_000), n=st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_the_mixture_is_the_log_probability_under_all_interests_together(seed, n):
    rng = np.random.default_rng(seed)
    item_vectors = rng.standard_normal((12, 4)).astype(np.float32)
    vectors = rng.standard_normal((3, 4)).astype(np.float32)
    share = rng.dirichlet(np.ones(3))
    # By hand: probabilities of every item under each vector, mixed. Lists are the whole corpus, so nothing is lost.
    by_hand = np.log(np.exp(log_softmax(vectors @ item_vectors.T, axis=1)).T @ share)
    lists = ExactIndex.build(np.arange(12), item_vectors).search(vectors, 12, log_sums=True)
    found = union(lists)
    logit = vectors @ item_vectors[found.item_U].T
    assert lists.log_sum_Q is not None
    blended = mixture(found, logit, share, lists.log_sum_Q, n)
    assert blended.item_N.tolist() == np.argsort(-by_hand, kind="stable")[:n].tolist()
    np.testing.assert_allclose(blended.score_N, np.sort(by_hand)[::-1][:n], rtol=1e-4)


def test_the_mixture_credits_the_interest_with_the_largest_part_that_found_the_item():
    found = union(lists_of([(1, 2.0)], [(2, 1.0)]))
    logit = np.array([[2.0, 0.0], [9.0, 1.0]], dtype=np.float32)  # vector 1 likes item 1 best but did not find it
    blended = mixture(found, logit, np.array([0.5, 0.5]), np.zeros(2, np.float32), 2)
    assert dict(zip(blended.item_N.tolist(), blended.interest_N.tolist(), strict=True)) == {1: 0, 2: 1}


def test_a_vector_without_share_or_without_right_to_an_item_has_no_say():
    found = union(lists_of([(1, 2.0), (2, 1.0)], [(2, 5.0)]))
    barred = np.array([[2.0, 1.0], [-np.inf, 5.0]], dtype=np.float32)
    log_normaliser = np.zeros(2, np.float32)
    assert mixture(found, barred, np.array([1.0, 0.0]), log_normaliser, 2).item_N.tolist() == [1, 2]
    without_items = np.array([0, -np.inf], np.float32)  # a topic that no item has
    assert mixture(found, barred, np.array([0.5, 0.5]), without_items, 2).item_N.tolist() == [1, 2]
    silent = mixture(union(lists_of([], [(2, 5.0)])), barred[:, 1:], np.array([1.0, 0.0]), log_normaliser, 1)
    assert silent.interest_N.tolist() == [1], "whoever is credited found the item, even without a share"
    assert mixture(found, barred, np.array([0.5, 0.5]), log_normaliser, 2).item_N.tolist() == [2, 1]


def test_many_users_are_blended_as_each_would_be_alone():
    users = [lists_of(A, B), lists_of([(9, 3.0), (2, 1.0)], []), lists_of([(4, 2.0)], [(4, 1.0), (1, 0.5)])]
    rng = np.random.default_rng(0)
    logit_I, share_BK = rng.standard_normal((2, 10)).astype(np.float32), rng.dirichlet(np.ones(2), 3)
    log_normaliser_BK = rng.standard_normal((3, 2)).astype(np.float32)
    width = max(one.id_QN.shape[1] for one in users)
    padded = [np.pad(one.id_QN, ((0, 0), (0, width - one.id_QN.shape[1]))) for one in users]
    scores = [np.pad(one.score_QN, ((0, 0), (0, width - one.id_QN.shape[1]))) for one in users]
    every = Hits(np.concatenate(padded), np.concatenate(scores), np.concatenate([one.count_Q for one in users]))
    found = merge_lists(every, np.repeat(np.arange(3), 2), np.tile([0, 1], 3), (3, 2))
    assert (found.item_U != NO_ID).sum(axis=1).tolist() == [8, 2, 2]
    together = mixture(found, logit_I[:, found.item_U].transpose(1, 0, 2), share_BK, log_normaliser_BK, 4)
    for b, lists in enumerate(users):
        own = union(lists)
        alone = mixture(own, logit_I[:, own.item_U], share_BK[b], log_normaliser_BK[b], 4)
        count = len(alone.item_N)
        assert together.item_N[b, :count].tolist() == alone.item_N.tolist()
        assert together.score_N[b, :count].tolist() == alone.score_N.tolist()
        assert together.interest_N[b, :count].tolist() == alone.interest_N.tolist()
        assert (together.item_N[b, count:] == NO_ID).all(), "the fill comes last"
