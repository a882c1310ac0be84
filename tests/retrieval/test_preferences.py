"""The draw of followed topics is random, fair, and the same again for the same request."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from multitudes.retrieval.preferences import draw_topics

FOLLOWS = np.array([[3, 9, 4, 7, 1, 8, 0, 0], [5, 0, 0, 0, 0, 0, 0, 0], [0] * 8])


@given(order=st.permutations(range(6)), user=st.integers(0, 2**40))
def test_a_draw_depends_on_neither_the_order_of_follows_nor_the_batch(order, user):
    shuffled = np.concatenate([FOLLOWS[:1, list(order)], np.zeros((1, 2), np.int64)], axis=1)
    alone = draw_topics(FOLLOWS[:1], 4, np.array([user]))
    assert (draw_topics(shuffled, 4, np.array([user])) == alone).all()
    assert (draw_topics(FOLLOWS[[1, 0, 2]], 4, np.array([7, user, 8]))[1] == alone[0]).all()


def test_followed_topics_are_drawn_each_once_with_the_same_chance_and_a_draw_can_be_replayed():
    drawn = draw_topics(FOLLOWS, 5, np.arange(3))
    assert len(set(drawn[0].tolist())) == 5
    assert set(drawn[0].tolist()) <= set(FOLLOWS[0].tolist()) - {0}
    assert drawn[1].tolist() == [5, 0, 0, 0, 0]
    assert drawn[2].tolist() == [0] * 5
    assert draw_topics(FOLLOWS[:, :2], 5, np.arange(3)).shape == (3, 5)
    users = np.arange(6_000)
    drawn = draw_topics(np.repeat(FOLLOWS[:1], len(users), axis=0), 2, users)
    share = np.bincount(drawn.ravel(), minlength=10)[FOLLOWS[0, :6]] / len(users)
    assert np.abs(share - 2 / 6).max() < 0.03  # five standard errors
    users = np.array([10, 11, 12])
    first = draw_topics(FOLLOWS, 3, users, "monday")
    assert (draw_topics(FOLLOWS, 3, users, "monday") == first).all()
    others = {tuple(draw_topics(FOLLOWS, 3, users, f"request {i}")[0].tolist()) for i in range(20)}
    assert len(others) > 10


def test_who_follows_no_more_topics_than_are_drawn_finds_each_in_the_same_column_in_every_answer():
    columns = {tuple(draw_topics(FOLLOWS, 6, np.arange(3), f"request {i}").ravel().tolist()) for i in range(20)}
    assert len(columns) == 1
