"""What a build decides, seen on an engine whose failings are known, and what its seed draws."""

from typing import Any

import numpy as np
import pytest

from multitudes.index import hnsw, inverted, tuning
from multitudes.index.engine import DEFAULT_TARGET, QueryLevels, RecallTarget
from multitudes.index.item_table import make_item_table
from tests.index.tuned_worlds import N, by_topic, exact, latent

ITEMS = 2_000


class Blind:
    """Proposes the best items but for some, which it never sees; writes down how many queries it was asked."""

    kind, file = "blind", "none"

    def __init__(self, vectors_nD, blind_n) -> None:
        self._vectors_nD, self._blind_n, self.asked = vectors_nD, blind_n, 0

    def describe(self) -> dict[str, Any]:
        return {}

    def efforts(self) -> list[int]:
        return [1]

    def proposals(self, depth: int) -> list[int]:
        return [2 * depth + 32]

    def propose(self, query_QD, walk: QueryLevels, wanted_Q, among=None):
        assert among is None
        self.asked += len(walk.effort_Q)
        score_Qn = np.where(self._blind_n, -np.inf, query_QD @ self._vectors_nD.T)
        return np.argsort(-score_Qn, axis=1)[:, : wanted_Q.max()]


def test_a_large_topic_whose_search_falls_short_of_the_promise_is_scanned_and_another_is_not():
    rng = np.random.default_rng(0)
    vectors_nD, query_QD = (rng.standard_normal((n, 8)).astype(np.float32) for n in (ITEMS, 300))
    seen, poor = np.arange(ITEMS) % 2 == 0, np.arange(ITEMS) % 2 == 1
    topics = by_topic(seen, poor)
    engine: Any = Blind(vectors_nD, poor & (rng.random(ITEMS) < 0.16))
    promise = RecallTarget(recall=0.9, deepest=200, scanned=100)
    index = tuning.build_tuned(make_item_table(np.arange(ITEMS), vectors_nD, topics), engine, query_QD[:200], promise)
    searched, scanned = index.info()["tuning"]["topics"]
    assert (searched["topic"], searched["items"], searched["recall"], searched["scanned"]) == (1, 1_000, 1.0, False)
    assert (scanned["topic"], scanned["items"], scanned["scanned"]) == (2, 1_000, True)
    assert 0.8 < scanned["recall"] < 0.9
    users_QD, asked = query_QD[200:], engine.asked
    for topic, more in ((2, 0), (1, 100)):
        topic_Q = np.full(100, topic)
        found, truth = (i.search(users_QD, 40, topic_Q=topic_Q) for i in (index, exact(vectors_nD, topics)))
        assert (found.id_QN == truth.id_QN).all()
        assert engine.asked == asked + more


def test_the_seed_draws_what_lists_are_trained_on():
    vectors, queries = latent(np.random.default_rng(9), 60)
    first, again, other = (
        inverted.build(
            np.arange(N), vectors, queries=queries, lists=16, seed=seed, target=DEFAULT_TARGET._replace(deepest=10)
        )
        for seed in (0, 0, 1)
    )
    centroid_LD = [index._engine.inverted.quantizer.reconstruct_n(0, 16) for index in (first, again, other)]  # type: ignore[attr-defined]
    assert (centroid_LD[0] == centroid_LD[1]).all()
    assert (centroid_LD[0] != centroid_LD[2]).any()


@pytest.mark.parametrize("engine", [inverted, hnsw])
def test_the_seed_draws_what_is_tuned_on(engine: Any):
    """Of so few items all are trained on, and the graph is the same: only the queries differ."""
    vectors, queries = (each[:1_000] for each in latent(np.random.default_rng(9), 700))
    first, again, other = (
        engine.build(np.arange(1_000), vectors, queries=queries, seed=seed).info()["tuning"] for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
