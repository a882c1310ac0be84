import numpy as np
import pytest
from benchmarks.index import truth
from benchmarks.index.truth import best, share_found, without

RANDOM = np.random.default_rng(0)


def sorted_by_hand(query_QD, item_nD, depth):
    return np.argsort(-(query_QD @ item_nD.T), axis=1, kind="stable")[:, :depth]


@pytest.mark.parametrize("block", [7, 100, 8_192])
@pytest.mark.parametrize("depth", [1, 5, 300])
def test_the_best_are_those_of_a_full_sort_however_the_items_are_cut_into_blocks(block, depth, monkeypatch):
    monkeypatch.setattr(truth, "_BLOCK", block)
    query_QD, item_nD = (RANDOM.normal(size=(count, 4)).astype(np.float32) for count in (6, 300))
    np.testing.assert_array_equal(best(query_QD, item_nD, depth), sorted_by_hand(query_QD, item_nD, depth))


def test_ties_across_blocks_go_to_the_smaller_row(monkeypatch):
    monkeypatch.setattr(truth, "_BLOCK", 3)
    assert best(np.ones((1, 1), np.float32), np.ones((10, 1), np.float32), 4).tolist() == [[0, 1, 2, 3]]


def test_more_than_there_are_is_all_of_them():
    assert best(np.ones((2, 1), np.float32), np.arange(3, dtype=np.float32)[:, None], 9).tolist() == [[2, 1, 0]] * 2


def test_what_is_gone_is_replaced_by_the_next():
    rows = without(np.array([[4, 3, 2, 1], [4, 3, 2, 1]]), [np.array([4, 2]), np.array([], dtype=int)], 2)
    assert [ids.tolist() for ids in rows] == [[3, 1], [4, 3]]


def test_the_share_found_counts_what_was_wanted():
    wanted = [np.array([1, 2, 3, 4]), np.array([1]), np.array([], dtype=int)]
    assert share_found([np.array([4, 9, 1]), np.array([2]), np.array([5])], wanted).tolist() == [0.5, 0, 1]
