"""Exact search: a limit for each query, any chunk size, ties by the smaller row."""

import numpy as np
import pytest

from multitudes.index import scan as module
from multitudes.index.item_table import are_among
from multitudes.index.scan import paired_inner_products, scan


@pytest.mark.parametrize("chunk", [1, 4 * 300 * 3, 4 * 2**20])
def test_every_query_has_its_own_limit_whatever_the_chunk_size(chunk: int, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK_BYTES", chunk)
    monkeypatch.setattr(module, "FEW_QUERIES", 1)
    rng = np.random.default_rng(0)
    vectors = rng.integers(-3, 4, (300, 4)).astype(np.float32)  # many equal scores
    queries = rng.integers(-3, 4, (7, 4)).astype(np.float32)
    ids, limits = np.arange(300) * 10, np.array([5, 0, 300, 1, 7, 999, 40])
    excluded = [ids[q::9] for q in range(7)]
    hits = scan(queries, ids, vectors, limits, excluded)
    assert hits.id_QN.shape[1] == 300
    for q in range(7):
        allowed = np.setdiff1d(ids, excluded[q])
        ranking = allowed[np.lexsort((allowed, -(vectors[allowed // 10] @ queries[q])))]
        assert hits.ids(q).tolist() == ranking[: limits[q]].tolist()
        assert (hits.id_QN[q, hits.count_Q[q] :] == -1).all()
        assert (hits.score_QN[q, hits.count_Q[q] :] == -np.inf).all()


@pytest.mark.parametrize("queries", [3, 256])
def test_items_that_are_compared_in_parts_give_the_same_hits(queries: int, monkeypatch):
    rng = np.random.default_rng(0)
    vectors, asked = (rng.integers(-3, 4, (n, 4)).astype(np.float32) for n in (3_000, 40))  # many equal scores
    excluded = [np.arange(q, 2_900, 3) for q in range(40)]
    arguments = asked, np.arange(3_000), vectors, rng.integers(0, 120, 40), excluded
    whole = scan(*arguments)
    monkeypatch.setattr(module, "_ITEMS", 500)
    monkeypatch.setattr(module, "_QUERIES", queries)
    for expected, found in zip(whole, scan(*arguments), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_score_is_the_same_to_the_last_bit_at_every_position():
    rng = np.random.default_rng(1)
    vectors, queries = (rng.standard_normal((n, 48)).astype(np.float32) for n in (200, 5))
    row_QM = rng.integers(-1, 200, (5, 60))
    query_QM = np.repeat(np.arange(5), 60)
    score_QM = paired_inner_products(queries, vectors, query_QM, row_QM)
    np.testing.assert_allclose(
        score_QM[row_QM >= 0],
        (queries @ vectors.T)[query_QM, row_QM.ravel()][row_QM.ravel() >= 0],
        rtol=1e-4,
        atol=1e-5,
    )
    assert (score_QM[row_QM < 0] == -np.inf).all()
    reversed_M = row_QM[3, ::-1]  # alone, in another order
    np.testing.assert_array_equal(
        paired_inner_products(queries[3:], vectors, 0 * reversed_M, reversed_M), score_QM[3, ::-1]
    )


@pytest.mark.parametrize("rows", [100, 200_000])
def test_rows_are_found_among_others_of_the_same_last_bits(rows: int):
    rng = np.random.default_rng(2)
    excluded = np.unique(rng.integers(0, rows, 60))
    proposed = rng.integers(-1, rows, (9, 70))
    proposed[:, :9] = rng.choice(excluded, (9, 9)) + np.array([0, 2**16, -(2**16)] * 3)
    np.testing.assert_array_equal(are_among(excluded, proposed), np.isin(proposed, excluded))
    assert not are_among(excluded[:0], proposed).any()
