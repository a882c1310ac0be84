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
