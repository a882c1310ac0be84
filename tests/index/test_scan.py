"""Exact search: a limit for each query, any chunk size, ties by the smaller row."""

import numpy as np
import pytest

from multitudes.index import scan as module
from multitudes.index.scan import scan


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
