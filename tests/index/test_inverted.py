"""The tuned index: its recall on easy and on hard data, and what it does when the lists come back short."""

from typing import Any

import faiss
import numpy as np
import pytest

from multitudes.index.build import IndexConfig, build
from multitudes.index.exact import Exact
from multitudes.index.inverted import Inverted

N, D = 6_000, 32


def clustered(rng):
    """Make vectors around centres: a query's neighbours share one inverted list."""
    centre = rng.standard_normal((60, D))
    return centre[rng.integers(60, size=N)] + 0.3 * rng.standard_normal((N, D)), centre[rng.integers(60, size=300)]


def latent(rng):
    """Make vectors of a factor model without clusters: neighbours are spread over many lists."""
    loading = rng.standard_normal((D // 2, D))
    return rng.standard_normal((N, D // 2)) @ loading, rng.standard_normal((300, D // 2)) @ loading


def recall(index, truth, queries, depth):
    found, wanted = index.search(queries, depth), truth.search(queries, depth)
    shared = [len(np.intersect1d(found.ids(q), wanted.ids(q))) for q in range(len(queries))]
    return np.mean(shared) / depth


@pytest.mark.parametrize("world", [clustered, latent])
def test_tuning_reaches_the_asked_recall_on_queries_it_never_saw(world):
    vectors, queries = (array.astype(np.float32) for array in world(np.random.default_rng(2)))
    truth = Exact.build(np.arange(N), vectors)
    index = Inverted.build(np.arange(N), vectors, queries=queries[:150], recall=0.97)
    tuning = index.info()["tuning"]
    assert tuning["recall"] >= 0.97
    assert tuning["tuned_on"] == "queries"
    assert recall(index, truth, queries[150:], 100) >= 0.95, "held-out queries, so a little below is chance"
    # The control: one probe is not enough where there are no clusters (at a depth that one list can fill).
    untuned = Inverted.build(np.arange(N), vectors, queries=queries[:150], recall=0.01)
    assert untuned.info()["tuning"]["probes"] == 1
    if world is latent:
        assert recall(untuned, truth, queries[150:], 5) < 0.8


def test_the_best_items_excluded_leave_full_lists_and_recall():
    vectors, queries = (array.astype(np.float32) for array in latent(np.random.default_rng(3)))
    truth = Exact.build(np.arange(N), vectors)
    index = Inverted.build(np.arange(N), vectors, queries=queries)
    best = truth.search(queries[:20], 100)
    seen = [best.ids(q) for q in range(20)]
    found, wanted = (i.search(queries[:20], 100, excluded=seen) for i in (index, truth))
    assert found.count_Q.tolist() == [100] * 20
    assert not any(np.isin(found.ids(q), seen[q]).any() for q in range(20))
    shared = np.mean([len(np.intersect1d(found.ids(q), wanted.ids(q))) / 100 for q in range(20)])
    assert shared >= 0.9


def test_a_search_deeper_than_the_probed_lists_falls_back_to_exact():
    vectors, queries = (array.astype(np.float32) for array in clustered(np.random.default_rng(4)))
    index = Inverted.build(np.arange(N), vectors, queries=queries, recall=0.01)
    found = index.search(queries[:3], 3_000)
    wanted = Exact.build(np.arange(N), vectors).search(queries[:3], 3_000)
    assert (found.id_QN == wanted.id_QN).all()


def test_without_user_vectors_the_tuning_says_what_it_stood_on():
    vectors = latent(np.random.default_rng(5))[0]
    assert Inverted.build(np.arange(N), vectors).info()["tuning"]["tuned_on"] == "items with noise"


def test_the_size_of_the_corpus_chooses_the_index():
    vectors = clustered(np.random.default_rng(6))[0]
    assert isinstance(build(np.arange(N), vectors, IndexConfig()).segment, Exact)
    assert isinstance(build(np.arange(N), vectors, IndexConfig(exact_up_to=N - 1)).segment, Inverted)


def test_excluding_only_ids_that_are_not_held_changes_nothing():
    vectors, queries = (array.astype(np.float32) for array in latent(np.random.default_rng(5)))
    index = Inverted.build(np.arange(N), vectors, queries=queries)
    plain, excluded = (index.search(queries[:3], 20, excluded=e) for e in (None, [np.array([N, N + 7])] * 3))
    assert (plain.id_QN == excluded.id_QN).all()


def test_a_loaded_index_reads_ahead_with_no_threads_of_its_own(tmp_path):
    vectors = np.random.default_rng(6).standard_normal((500, D)).astype(np.float32)
    Inverted.build(np.arange(500), vectors).save(tmp_path)
    index = Inverted.load(tmp_path)  # keeps what FAISS points to
    lists: Any = faiss.downcast_InvertedLists(index._inverted.invlists)
    assert lists.prefetch_nthread == 0
