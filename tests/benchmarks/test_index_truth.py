import numpy as np
from benchmarks.index.truth import best, remove_ids, share_found


def test_more_than_there_are_is_all_of_them():
    assert best(np.ones((2, 1), np.float32), np.arange(3, dtype=np.float32)[:, None], 9).tolist() == [[2, 1, 0]] * 2


def test_what_is_gone_is_replaced_by_the_next():
    rows = remove_ids(np.array([[4, 3, 2, 1], [4, 3, 2, 1]]), [np.array([4, 2]), np.array([], dtype=int)], 2)
    assert [ids.tolist() for ids in rows] == [[3, 1], [4, 3]]


def test_the_share_found_counts_what_was_wanted():
    wanted = [np.array([1, 2, 3, 4]), np.array([1]), np.array([], dtype=int)]
    assert share_found([np.array([4, 9, 1]), np.array([2]), np.array([5])], wanted).tolist() == [0.5, 0, 1]
