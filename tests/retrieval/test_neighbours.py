"""Own events propose beside the vectors: exact sums, exact interests and reasons, nothing that is left out."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from multitudes.batches.user_vectors import InterestKind, OwnEvents
from multitudes.linear.neighbours import Neighbours, NeighbourSource, NeighbourWeights
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.neighbours import interest_terms, largest_terms, own_events
from multitudes.retrieval.search import find_candidates, search_vectors
from tests.retrieval.worlds import catalogue, user_vectors

ITEMS = 12
NONE = np.zeros(0, dtype=np.int64)
KINDS: tuple[InterestKind, ...] = ("unconditioned", "implicit", "implicit")
# Own items 1 and 2 are of interest 1, own item 3 of interest 2, own item 4 of none.
OWN = OwnEvents(np.array([1, 2, 3, 4]), np.array([0.5, 0.7, 0.9, 1.0], np.float32), np.array([1, 1, 2, -1]))
TERMS = {(1, 5): 2.0, (2, 5): 1.0, (2, 6): 1.5, (3, 7): 2.0, (3, 5): -1.0, (4, 8): 3.0, (1, 9): 0.2, (3, 9): 0.3}
ALONE = RetrieveConfig(unconditioned_share=1.0, explicit_share=0.0, calibration=0.0)


def source(weight=2.0):
    places, values = zip(*TERMS.items(), strict=True)
    matrix = csr_array((np.array(values, np.float32), np.array(places).T), shape=(ITEMS + 1,) * 2)
    matrix.sort_indices()
    rows = Neighbours(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data)
    return NeighbourSource(rows, NeighbourWeights(weight=weight, recency=0.0))


def world(vectors_KD=None, own=OWN, topics=None, weight=2.0):
    """Return a catalogue of items with vectors, and one user with own events."""
    draw = np.random.default_rng(0)
    item_ID = draw.normal(size=(ITEMS, 4)).astype(np.float32)
    plain = catalogue(item_ID, topics)
    users = user_vectors(KINDS, [draw.normal(size=(3, 4)) if vectors_KD is None else vectors_KD])
    return Catalogue(plain.index, plain.item_count, None, source(weight)), item_ID, users._replace(own=[own])


def scores_of(item_ID, vector_D, events, weight=2.0):
    """Return the score of every item by brute force, by item number."""
    score = np.concatenate([[-np.inf], item_ID @ vector_D])
    for (own, item), term in TERMS.items():
        place = np.flatnonzero(OWN.item_n == own)[0]
        if place in events:
            score[item] += weight * OWN.weight_n[place] * term
    return score


@pytest.mark.parametrize(("column", "events"), [(0, {0, 1, 2, 3}), (1, {0, 1}), (2, {2})])
def test_each_list_is_by_the_sum_of_both_scores_of_the_events_of_its_interest(column, events):
    items, item_ID, users = world()
    found = search_vectors(users, items, ITEMS, [OWN.item_n], RetrieveConfig())
    expected = scores_of(item_ID, users.vectors_BKD[0, column], events)
    expected[OWN.item_n] = -np.inf
    order = np.argsort(-expected, kind="stable")[: ITEMS - 4]
    assert found.hits.ids(column).tolist() == order.tolist()
    np.testing.assert_allclose(found.hits.scores(column), expected[order], atol=1e-5)


def test_the_sum_is_exact_for_what_either_side_proposes_and_a_cold_item_is_found_by_its_vector():
    items, item_ID, users = world()
    vector = users.vectors_BKD[0, 0]
    (found,) = find_candidates(users, items, 3, [OWN.item_n], ALONE)
    expected = scores_of(item_ID, vector, {0, 1, 2, 3})
    expected[OWN.item_n] = -np.inf
    assert found.item_N.tolist() == np.argsort(-expected, kind="stable")[:3].tolist()
    cold = 12  # in no row
    loud = np.zeros(4, dtype=np.float32) + 100 * item_ID[cold - 1]
    items, _, users = world([loud, loud, loud])
    (found,) = find_candidates(users, items, 1, [OWN.item_n], ALONE)
    assert found.item_N.tolist() == [cold]


def test_a_vector_of_zeros_finds_nothing_and_events_propose_alone_what_they_speak_for():
    items, _, users = world(np.zeros((3, 4)))
    (found,) = find_candidates(users, items, 8, [OWN.item_n], ALONE)
    brought = found.item_N[found.interest_N >= 0].tolist()
    assert brought == [8, 7, 6, 5, 9], "in the order of their sums: 6, 3.6, 2.1, 1.6, .74"
    assert (found.interest_N == -1).sum() == 3, "popular items fill the list"
    silent = users._replace(own=[OwnEvents(NONE, NONE.astype(np.float32), NONE)])
    (found,) = find_candidates(silent, items, 8, [OWN.item_n], ALONE)
    assert (found.interest_N == -1).all()


def test_nothing_excluded_removed_or_of_another_topic_comes_through_a_row():
    topics = [[1 + item % 2] for item in range(1, ITEMS + 1)]
    items, _, users = world(topics=topics)
    items.index.remove([8])
    (found,) = find_candidates(users, items, 6, [np.append(OWN.item_n, 7)], ALONE)
    assert not {1, 2, 3, 4, 7, 8} & set(found.item_N.tolist())
    assert {5, 6} <= set(found.item_N.tolist())
    explicit = user_vectors(("explicit",), [[[1, 0, 0, 0]]], topic_BK=[[1]])._replace(
        own=[OWN._replace(column_n=np.full(4, -1))]
    )
    by_topic = search_vectors(explicit, items, ITEMS, [OWN.item_n], RetrieveConfig())
    assert set(by_topic.hits.ids(0).tolist()) == {6, 10, 12}


def test_a_candidate_is_for_the_interest_whose_events_speak_for_it_and_no_other():
    items, _, users = world()
    (found,) = find_candidates(users, items, 8, [OWN.item_n], ALONE)
    interest = dict(zip(found.item_N.tolist(), found.interest_N.tolist(), strict=True))
    assert (interest[5], interest[6], interest[7]) == (1, 1, 2)
    assert interest[8] == 0, "an event of no interest brought it: the whole history"
    assert all(interest[item] == 0 for item in (10, 11, 12)), "the vector alone found these"
    found_by = {
        item: set(np.flatnonzero(row)) for item, row in zip(found.item_N.tolist(), found.found_by_NK, strict=True)
    }
    assert all(k in found_by[item] for item, k in interest.items())
    assert 2 not in found_by[5], "an interest that speaks against an item did not find it"


def test_reasons_are_the_largest_terms_of_the_own_interest_and_small_ones_are_none():
    terms, item_N = source().terms(OWN), np.array([7, 5, 9, 12])
    because = largest_terms(terms, OWN, item_N, np.array([2, 1, 2, 0]), 2)
    assert because.tolist() == [[3, 0], [1, 2], [3, 0], [0, 0]]
    tiny = OWN._replace(weight_n=np.array([1, 0.01, 1, 1], np.float32))
    assert largest_terms(source().terms(tiny), tiny, np.array([5]), np.array([1]), 2).tolist() == [[1, 0]]


def test_without_a_named_event_the_score_falls_by_exactly_its_term():
    """Faithful by construction: with the weights frozen, a deletion is the attribution."""
    items, _, users = world()
    before = search_vectors(users, items, ITEMS, [OWN.item_n], RetrieveConfig()).hits
    for place, own in enumerate(OWN.item_n.tolist()):
        rest = OWN._replace(weight_n=np.where(np.arange(4) == place, np.float32(0), OWN.weight_n))
        after = search_vectors(users._replace(own=[rest]), items, ITEMS, [OWN.item_n], RetrieveConfig()).hits
        scores = [dict(zip(hits.ids(0).tolist(), hits.scores(0).tolist(), strict=True)) for hits in (before, after)]
        for item in range(5, ITEMS + 1):
            term = 2.0 * float(OWN.weight_n[place]) * TERMS.get((own, item), 0.0)
            assert scores[0][item] - scores[1][item] == pytest.approx(term, abs=1e-5)


def test_squares_of_terms_relative_to_those_of_all_items_say_which_interest_speaks_for_an_item():
    strength = interest_terms(source(1.0).terms(OWN), OWN, np.array([5, 8]), 3)
    of_all_items = 1.0**2 + 0.7**2 + 1.05**2 + 0.1**2
    expected = np.array([[0, (1.0**2 + 0.7**2) / of_all_items, 0, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(strength, expected, atol=1e-5)


def test_an_interest_with_many_events_is_not_the_cause_of_everything():
    own = OwnEvents(np.array([1, 2, 3]), np.array([9, 9, 1], np.float32), np.array([1, 1, 2]))
    strength = interest_terms(source(1.0).terms(own), own, np.array([9]), 3)  # 9 × .2 and .3 speak for it
    assert strength.argmax() == 2


def test_own_events_are_of_the_interest_that_read_them_or_else_of_the_one_that_speaks_for_them():
    history = np.array([[3, 1, 3, 6, 0, 0]])  # newest first; 3 occurs twice, 6 is read and of no interest
    assignment = np.array([[2, 1, 1, -1, -1, -1]])
    (own,) = own_events(source(), [np.array([7, 5, 8, 6, 1, 3])], history, assignment)
    assert own.item_n.tolist() == [7, 5, 8, 6, 1, 3]
    assert own.column_n.tolist() == [2, 1, -1, -1, 1, 2]
    np.testing.assert_allclose(own.weight_n, np.ones(6))
    (nothing,) = own_events(source(), [NONE], history, assignment)
    assert len(nothing.item_n) == 0
    (alone,) = own_events(source(), [np.array([7, 5])], history, np.full((1, 6), -1))
    assert alone.column_n.tolist() == [-1, -1]


def test_a_batch_gets_the_lists_of_each_user_alone():
    items, _, users = world()
    other = OWN._replace(item_n=np.array([4, 3, 2, 1]), column_n=np.array([2, -1, 1, 1]))
    both = users.select(np.array([0, 0]))._replace(own=[OWN, other])
    excluded = [OWN.item_n, NONE]
    together = find_candidates(both, items, 6, excluded, RetrieveConfig(calibration=0.0))
    for b in range(2):
        (alone,) = find_candidates(
            both.select(slice(b, b + 1)), items, 6, excluded[b : b + 1], RetrieveConfig(calibration=0.0)
        )
        assert together[b].item_N.tolist() == alone.item_N.tolist()
        assert together[b].interest_N.tolist() == alone.interest_N.tolist()
        assert (together[b].found_by_NK == alone.found_by_NK).all()
