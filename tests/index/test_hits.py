"""Hits of several parts and of one ranking, no more for each query than its limit."""

import numpy as np
import pytest

from multitudes.index.hits import merge_hits, sort_keys, top_filtered, truncate_hits
from multitudes.index.protocol import NO_ID, Hits

PARTS = [
    Hits(np.array([[1, 3, NO_ID]] * 3), np.array([[9, 5, -np.inf]] * 3, dtype=np.float32), np.array([2] * 3)),
    Hits(np.array([[2, 4, 6]] * 3), np.array([[7, 5, 1]] * 3, dtype=np.float32), np.array([3] * 3)),
]
BEST_FIRST = [1, 2, 3, 4, 6]


def check(hits: Hits, limits: list[int]) -> None:
    assert hits.count_Q.tolist() == limits
    for id_N, score_N, limit in zip(hits.id_QN, hits.score_QN, limits, strict=True):
        assert id_N[:limit].tolist() == BEST_FIRST[:limit]
        assert (id_N[limit:] == NO_ID).all()
        assert np.isfinite(score_N).sum() == limit


@pytest.mark.parametrize("limits", [[0, 1, 3], [2, 2, 2], [5, 4, 0]])
def test_each_query_gets_as_many_hits_as_its_limit(limits: list[int]) -> None:
    limit_Q = np.array(limits)
    merged = merge_hits(PARTS, limit_Q)
    check(merged, limits)
    assert merged.id_QN.shape[1] == max(limits)
    everything = merge_hits(PARTS, 9)  # the control: all that the parts have
    check(everything, [5, 5, 5])
    check(truncate_hits(everything, limit_Q), limits)
    row_QM, score_QM = np.array([[6, 4, 3, 2, 1]] * 3), np.array([[1, 5, 5, 7, 9]] * 3, dtype=np.float32)
    check(top_filtered(sort_keys(row_QM, score_QM), limit_Q, 5).hits, limits)
