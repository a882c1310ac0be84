"""Exact search: a limit for each query, any chunk or block size, ties by the smaller id."""

import numpy as np
import pytest

from multitudes.index import scan as module
from multitudes.index.protocol import top_hits, truncate_hits
from multitudes.index.scan import inner_products, scan, scan_in_blocks


@pytest.mark.parametrize("chunk", [1, 4 * 300 * 3, 4 * 2**20])
def test_every_query_has_its_own_limit_whatever_the_chunk_size(chunk: int, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK_BYTES", chunk)
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


def test_the_top_hits_skip_fill_and_tie_by_the_smaller_id():
    ids = np.array([[-1, 3, 5, 9], [-1, -1, 2, 4]])
    scores = np.array([[-np.inf, 1, 2, 1], [-np.inf, -np.inf, 0, -1]], dtype=np.float32)
    hits = top_hits(ids, scores, np.array([3, 3]), 3)
    assert hits.id_QN.tolist() == [[5, 3, 9], [2, 4, -1]]
    assert hits.count_Q.tolist() == [3, 2]
    for shorter in (truncate_hits(hits, np.array([1, 3])), top_hits(ids, scores, np.array([1, 3]), 3)):
        assert shorter.id_QN.tolist() == [[5, -1, -1], [2, 4, -1]]
        assert shorter.count_Q.tolist() == [1, 2]


IDS = np.arange(300) * 10


def world(ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    draw = (lambda shape: rng.integers(-2, 3, shape)) if ties else rng.standard_normal
    return draw((6, 4)).astype(np.float32), draw((300, 4)).astype(np.float32)


@pytest.mark.parametrize("block", [7, 100, 16_384])
@pytest.mark.parametrize("limit", [0, 1, 5, 299, 400])
@pytest.mark.parametrize("ties", [False, True])
def test_a_scan_in_blocks_finds_what_a_full_sort_does(block: int, limit: int, ties: bool, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    query_QD, vectors_nD = world(ties)
    hits, same = scan_in_blocks(query_QD, IDS, vectors_nD, limit), scan(query_QD, IDS, vectors_nD, limit)
    order_Qn = np.argsort(-(query_QD @ vectors_nD.T), axis=1, kind="stable")
    np.testing.assert_array_equal(hits.id_QN, 10 * order_Qn[:, :limit])
    for found, scanned in zip(hits, same, strict=True):
        np.testing.assert_array_equal(found, scanned)


def test_of_copies_a_scan_in_blocks_finds_the_smaller_ids_despite_rounding(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(5)
    query_QD = world(ties=False)[0]
    vectors_nD = np.tile(rng.standard_normal((20, 4)).astype(np.float32), (15, 1))

    def rounded(query_QD: np.ndarray, vectors_nD: np.ndarray) -> np.ndarray:
        score_Qn = inner_products(query_QD, vectors_nD)
        return score_Qn * (1 + np.finfo(np.float32).eps * rng.integers(-1, 2, score_Qn.shape)).astype(np.float32)

    monkeypatch.setattr(module, "inner_products", rounded)
    monkeypatch.setattr(module, "_BLOCK", 16)
    np.testing.assert_array_equal(
        scan_in_blocks(query_QD, IDS, vectors_nD, 20).id_QN, scan(query_QD, IDS, vectors_nD, 20).id_QN
    )


def test_candidates_below_the_bound_are_pruned(monkeypatch: pytest.MonkeyPatch):
    held: list[int] = []
    take = module._TopCandidates.add_block

    def watched(one: module._TopCandidates, score_n: np.ndarray, start: int) -> None:
        take(one, score_n, start)
        held.append(one._size)

    monkeypatch.setattr(module._TopCandidates, "add_block", watched)
    monkeypatch.setattr(module, "_BLOCK", 10)
    query_QD, vectors_nD = world(ties=False)
    scan_in_blocks(query_QD, IDS, vectors_nD, 5)
    assert max(held) <= module._BUFFER_FACTOR * 5
    scan_in_blocks(query_QD, IDS, np.ones_like(vectors_nD), 5)
    assert max(held) == 300, "control: what ties all may be among the best, as far as rounded scores say"


def test_a_scan_in_blocks_reports_progress(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_BLOCK", 128)
    told: list[tuple[int, int]] = []
    scan_in_blocks(
        *world(ties=False)[:1], IDS, world(ties=False)[1], 5, lambda done, total, _="": told.append((done, total))
    )
    assert told == [(128, 300), (256, 300), (300, 300)]
