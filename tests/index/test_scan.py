"""The exact search: limits of their own for every query, chunks that leave no seam, ties by the smaller id."""

import numpy as np
import pytest

from multitudes.index import scan as module
from multitudes.index.hits import top_hits, truncate_hits
from multitudes.index.scan import scan


@pytest.mark.parametrize("chunk", [1, 4 * 300 * 3, 4 * 2**20])
def test_every_query_gets_its_own_number_of_results_however_the_work_is_cut(chunk: int, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK_BYTES", chunk)
    rng = np.random.default_rng(0)
    vectors = rng.integers(-3, 4, (300, 4)).astype(np.float32)  # many equal scores
    queries = rng.integers(-3, 4, (7, 4)).astype(np.float32)
    ids, limits = np.arange(300) * 10, np.array([5, 0, 300, 1, 7, 999, 40])
    excluded = [ids[q::9] for q in range(7)]
    hits = scan(queries, ids, vectors, limits, excluded, log_sums=True)
    assert hits.id_QN.shape[1] == 300
    for q in range(7):
        allowed = np.setdiff1d(ids, excluded[q])
        ranking = allowed[np.lexsort((allowed, -(vectors[allowed // 10] @ queries[q])))]
        assert hits.ids(q).tolist() == ranking[: limits[q]].tolist()
        assert (hits.id_QN[q, hits.count_Q[q] :] == -1).all()
        assert (hits.score_QN[q, hits.count_Q[q] :] == -np.inf).all()
    assert hits.log_sum_Q is not None
    np.testing.assert_allclose(hits.log_sum_Q, np.log(np.exp(queries @ vectors.T).sum(axis=1)), rtol=1e-5)


def test_the_best_of_candidates_skip_holes_and_tie_by_the_smaller_id():
    ids = np.array([[-1, 3, 5, 9], [-1, -1, 2, 4]])
    scores = np.array([[-np.inf, 1, 2, 1], [-np.inf, -np.inf, 0, -1]], dtype=np.float32)
    hits = top_hits(ids, scores, 3)
    assert hits.id_QN.tolist() == [[5, 3, 9], [2, 4, -1]]
    assert hits.count_Q.tolist() == [3, 2]
    assert truncate_hits(hits, np.array([1, 3])).id_QN.tolist() == [[5, -1, -1], [2, 4, -1]]
