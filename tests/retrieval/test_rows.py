"""Rows: each interest has its own list, no item is in two, and no row is short where items are left."""

import numpy as np
import pytest

from multitudes.batches.user_vectors import InterestKind
from multitudes.errors import UsageError
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.request import Degradation, Request
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.rows import divide_into_rows, find_rows, order_vectors
from multitudes.retrieval.search import Candidates, find_candidates
from tests.retrieval.worlds import catalogue, user_vectors

ITEMS = 12  # of each of three tastes: item 12 t + 1 is nearest to taste t
TASTES = np.kron(np.eye(3), np.linspace(1, 0.5, ITEMS)[:, None]).astype(np.float32)
LEAN = TASTES + 0.01 * TASTES[:, [1, 2, 0]]  # no two items score alike
NONE = np.zeros(0, dtype=np.int64)


def rows_of(kinds, vectors_KD, rows: int, n: int, excluded=NONE, **how) -> tuple[dict[int, list[int]], Candidates]:
    """Return the items of each row by column, and the candidates, of a user with the given vectors."""
    vectors, items, config = user_vectors(kinds, [vectors_KD], **how), catalogue(LEAN), RetrieveConfig()
    (listed,) = find_candidates(vectors, items, n, [excluded], config)
    found = find_rows(listed, vectors, items, rows, n, excluded, config)
    columns = dict.fromkeys(found.interest_N.tolist())
    return {k: found.item_N[found.interest_N == k].tolist() for k in columns}, found


def taste(item: int) -> int:
    return (item - 1) // ITEMS


def test_three_tastes_in_three_events_get_three_rows_each_of_its_own_taste():
    seen = np.array([1, ITEMS + 1, 2 * ITEMS + 1])
    own, mean = np.eye(3), [[0.4, 0.3, 0.3]]
    rows, found = rows_of(("unconditioned", *["implicit"] * 3), [*mean, *own], 5, 6, seen)
    assert [[taste(item) for item in row] for row in rows.values()] == [[0] * 6, [1] * 6, [2] * 6]
    assert set(rows) == {1, 2, 3}, "the whole history has no row"
    assert found.share_K.tolist() == [0, 1 / 3, 1 / 3, 1 / 3]
    assert not set(found.item_N.tolist()) & set(seen.tolist())
    assert found.shortfalls == ()


def test_the_strongest_interest_is_first_and_topics_take_turns_with_interests():
    kinds: tuple[InterestKind, ...] = ("unconditioned", "implicit", "implicit", "implicit", "explicit", "explicit")
    vectors = user_vectors(
        kinds, np.ones((1, 6, 3)), weight_BK=[[9, 0.2, 0.5, 0.3, 1, 1]], mask_BK=[[1, 1, 1, 1, 0, 1]]
    )
    assert order_vectors(vectors) == [2, 5, 3, 1]
    assert order_vectors(vectors._replace(boost_BK=np.array([[1, 4, 1, 1, 1, 1]]))) == [1, 5, 2, 3], (
        "a boost of the weakest"
    )


def test_the_order_of_followed_topics_is_that_of_no_draw(retriever: Retriever):
    answers = [retriever.recommend("bob", rows=5, n=2, request_id=str(request)) for request in range(8)]
    assert {tuple(row.title for row in answer.rows) for answer in answers} == {
        ("Crime, like Film 111", "Drama", "Crime")
    }
    assert len({tuple(one.name for one in answer.interests) for answer in answers}) == 1, "nor are their numbers"


def test_an_item_is_in_the_row_where_it_ranks_best_and_rows_are_filled_from_deeper():
    lists = [np.array(row) for row in ([1, 2, 3, 4, 5, 6], [9, 2, 1, 3, 7, 8])]
    first, second = divide_into_rows(lists, 3)
    assert lists[0][first].tolist() == [1, 2, 3], "a tie goes to the earlier row"
    assert lists[1][second].tolist() == [9, 7, 8]


def test_equal_interests_share_all_items_and_one_vector_gives_one_row():
    rows, found = rows_of(("implicit",) * 4, np.ones((4, 3)), 4, 9)
    assert [len(row) for row in rows.values()] == [9] * 4
    assert len(set(found.item_N.tolist())) == 36, "every item of the catalogue, once"
    assert found.found_by_NK.sum(axis=1).tolist() == [4] * 9 + [1] * 27, "all rank the items of the first row above n"
    rows, _ = rows_of(("implicit",) * 4, np.ones((4, 3)), 2, 9)
    assert [len(row) for row in rows.values()] == [9, 9], "no more rows than asked for"
    rows, found = rows_of(("unconditioned",), [[0.4, 0.3, 0.3]], 3, 6)
    assert [len(row) for row in rows.values()] == [6]
    assert [one.reason for one in found.shortfalls] == ["the release has one vector: one row, of the whole history"]


def test_a_row_without_items_is_left_out_and_said():
    topics = [[1]] * ITEMS + [[2]] * ITEMS + [[]] * ITEMS
    vectors = user_vectors(("implicit", "explicit", "explicit"), [np.eye(3)], topic_BK=[[0, 1, 2]])
    items, seen, config = catalogue(LEAN, topics), np.arange(1, ITEMS + 1), RetrieveConfig(relevance_filter=True)
    (listed,) = find_candidates(vectors, items, 4, [seen], config)
    found = find_rows(listed, vectors, items, 3, 4, seen, config)
    assert list(dict.fromkeys(found.interest_N.tolist())) == [0, 2]
    assert found.shortfalls[0].reason.startswith("no row of interest 1: no other item is left")
    assert len(found.shortfalls) == 1


def test_an_answer_has_titled_rows_with_their_own_ranks(retriever: Retriever):
    answer = retriever.recommend("ann", rows=5, n=4)
    assert [(row.title, row.kind, row.interest) for row in answer.rows] == [
        ("Drama", "implicit", 1),
        ("Crime", "explicit", 2),
    ]
    assert [one.rank for one in answer.candidates] == [1, 2, 3, 4] * 2
    assert answer.candidates == tuple(one for row in answer.rows for one in row.candidates)
    assert len({one.item_id for one in answer.candidates}) == 8
    assert {one.interest for one in answer.rows[1].candidates} == {2}
    assert not answer.degraded
    assert retriever.recommend("ann", n=4).rows == (), "the control"


def test_filters_hold_in_every_row(retriever: Retriever):
    (answer,) = retriever.answer([Request("ann", n=4, rows=5, exclude=[112], mute_interests=[1])])
    assert [row.title for row in answer.rows] == ["Crime"], "a muted interest has no row"
    assert 112 not in {one.item_id for one in answer.candidates}
    assert not {one.item_id for one in answer.candidates} & {101, 102, 103, 104, 111}
    (seen,) = retriever.answer([Request("ann", n=4, rows=5, exclude_seen=False)])
    assert 111 in {one.item_id for one in seen.candidates}


def test_a_user_without_interests_and_an_overloaded_service_get_one_row(retriever: Retriever):
    for user in ("eve", "zoe"):
        (row,) = retriever.recommend(user, rows=3, n=4).rows
        assert (row.title, row.kind, row.interest, len(row.candidates)) == ("popular", "popular", None, 4)
    followed = retriever.recommend(history=[], followed_topics=["Crime", "Drama"], rows=3, n=4).rows
    assert {row.title for row in followed} == {"Crime", "Drama"}
    (muted,) = retriever.answer([Request("ann", n=4, rows=3, mute_interests=[1, 2, 3])])
    assert [(row.title, len(row.candidates)) for row in muted.rows] == [("whole history", 4)]
    assert muted.reason == "no interest has items for a row: one row, of the whole history"
    (answer,) = retriever.answer([Request("ann", n=4, rows=3)], degradation=Degradation.POPULAR)
    assert [(row.title, len(row.candidates)) for row in answer.rows] == [("popular", 4)]


@pytest.mark.parametrize(("rows", "n"), [(0, 5), (-1, 5), (21, 5), (20, 1_000)])
def test_rows_out_of_bounds_are_one_line(rows, n, retriever: Retriever):
    with pytest.raises(UsageError, match="rows") as caught:
        retriever.recommend("ann", rows=rows, n=n)
    assert "\n" not in str(caught.value)
