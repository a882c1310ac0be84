"""All queries against block after block: the answer of a full sort, wherever the blocks are cut and however it ties."""

import numpy as np
import pytest

from multitudes.index import scan as module
from multitudes.index.scan import inner_products, scan, scan_in_blocks

IDS = np.arange(300) * 10


def world(ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    draw = (lambda shape: rng.integers(-2, 3, shape)) if ties else rng.standard_normal
    return draw((6, 4)).astype(np.float32), draw((300, 4)).astype(np.float32)


@pytest.mark.parametrize("block", [7, 100, 16_384])
@pytest.mark.parametrize("limit", [0, 1, 5, 299, 400])
@pytest.mark.parametrize("ties", [False, True])
def test_it_finds_what_a_full_sort_does_however_the_items_are_cut(block: int, limit: int, ties: bool, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    query_QD, vectors_nD = world(ties)
    hits, same = scan_in_blocks(query_QD, IDS, vectors_nD, limit), scan(query_QD, IDS, vectors_nD, limit)
    order_Qn = np.argsort(-(query_QD @ vectors_nD.T), axis=1, kind="stable")
    np.testing.assert_array_equal(hits.id_QN, 10 * order_Qn[:, :limit])
    for found, scanned in zip(hits[:3], same[:3], strict=True):
        np.testing.assert_array_equal(found, scanned)


def test_of_copies_the_smaller_ids_are_found_however_a_product_rounds(monkeypatch: pytest.MonkeyPatch):
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


def test_what_fell_behind_is_dropped_on_the_way(monkeypatch: pytest.MonkeyPatch):
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
    assert max(held) == 300, "the control: what ties all may be among the best, as far as rounded scores say"


def test_it_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_BLOCK", 128)
    told: list[tuple[int, int]] = []
    scan_in_blocks(
        *world(ties=False)[:1], IDS, world(ties=False)[1], 5, lambda done, total, _="": told.append((done, total))
    )
    assert told == [(128, 300), (256, 300), (300, 300)]
