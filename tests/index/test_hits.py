"""Candidates ranked by one integer each: by score, ties by the smaller row; filtered ones keep their rank."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from multitudes.index.hits import sort_keys, top_filtered, top_unfiltered
from tests.index.worlds import identical

NONE = np.float32(-np.inf)


def ask(rows, scores, out, limit: int):
    """Return the rows that one query keeps, their scores, and the depth."""
    given_as = (np.array([rows]), np.array([scores], dtype=np.float32), np.array([out], dtype=np.bool_))
    hits, depth_Q = top_filtered(sort_keys(*given_as), np.array([limit]), limit)
    return hits.ids(0).tolist(), hits.scores(0).tolist(), int(depth_Q[0])


@given(st.lists(st.tuples(st.floats(width=32, allow_nan=False), st.booleans()), min_size=1, max_size=30), st.data())
def test_the_best_unfiltered_candidates_come_back_with_their_scores(candidates, data):
    rows = data.draw(st.permutations(range(2**31 - len(candidates), 2**31)))
    scores, out = zip(*candidates, strict=True)
    limit = data.draw(st.integers(1, len(rows)))
    order = sorted(zip(rows, scores, out, strict=True), key=lambda c: (-c[1], c[0]))
    wanted = [(row, score) for row, score, gone in order if not gone][:limit]
    found, scored, _ = ask(rows, scores, out, limit)
    assert list(zip(found, scored, strict=True)) == wanted


def test_negative_rows_are_no_candidates_and_come_last():
    assert ask([-1, 7, -1, 3], [NONE, -5, NONE, 2], [False] * 4, 4)[0] == [3, 7]


def test_without_a_filter_both_selections_agree():
    rng = np.random.default_rng(0)
    row_QM = np.array([rng.permutation(40)[:20] for _ in range(5)])
    row_QM[rng.random(row_QM.shape) < 0.3] = -1
    score_QM = np.where(row_QM < 0, NONE, rng.integers(-3, 3, row_QM.shape).astype(np.float32))
    key_QM, limit_Q = sort_keys(row_QM, score_QM, row_QM < 0), np.array([0, 1, 7, 20, 24])
    found, wanted = top_unfiltered(key_QM, limit_Q, 24), top_filtered(key_QM, limit_Q, 24).hits
    assert found.count_Q.tolist() == [min(limit, np.sum(row >= 0)) for limit, row in zip(limit_Q, row_QM, strict=True)]
    assert identical(found, wanted)


def test_the_depth_is_the_last_rank_or_twice_the_mean_rank():
    scores = -np.arange(10)
    assert ask(range(10), scores, [False] * 10, 6)[2] == 6
    assert ask(range(10), scores, [*[False] * 5, *[True] * 4, False], 6)[2] == 10, "the last stands at place 10"
    assert ask(range(10), scores, [*[True] * 6, *[False] * 4], 2)[2] == 14, "places 7 and 8: a mean of 7.5"
