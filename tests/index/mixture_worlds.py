"""Worlds for the search for a mixture, the exact probability of each of their items, and what a search finds of them.

Legend: K vectors of a user · n items.
"""

from functools import cache

import numpy as np

from multitudes.index.engine import RecallTarget
from multitudes.index.inverted import build
from multitudes.index.live import LiveIndex
from multitudes.index.mixture import MixtureList, MixtureQuery
from multitudes.index.protocol import ANY_TOPIC
from tests.index.worlds import clustered, csr, latent

NOTHING = np.zeros(0, dtype=np.int64)
SCALE = 1.0
ITEMS, WIDTH, LARGE = 2_000, 16, 3
PROMISE = RecallTarget(recall=0.95, deepest=200, scanned=500)


class World:
    """Items, and the exact probability of each."""

    def __init__(self, ids, vectors, topics):
        self.ids, self.vectors, self.topics = np.asarray(ids), np.asarray(vectors, np.float32), topics

    def log_probabilities(self, query: MixtureQuery) -> np.ndarray:
        term_Kn = query.vectors_KD.astype(np.float64) @ self.vectors.T.astype(np.float64)
        for k, topic in enumerate(query.topic_K.tolist()):
            if topic != ANY_TOPIC:
                term_Kn[k, [topic not in own for own in self.topics]] = -np.inf
        with np.errstate(divide="ignore", invalid="ignore"):
            log_sum_K = np.logaddexp.reduce(term_Kn, axis=1)
            log_prior_K = np.where(np.isfinite(log_sum_K), query.log_share_K - log_sum_K, -np.inf)
            return np.asarray(np.logaddexp.reduce(term_Kn + log_prior_K[:, None], axis=0))

    def ranking(self, query: MixtureQuery) -> list[tuple[int, float]]:
        """Return the ids and log probabilities that a search has to find, best first, ties by the smaller id."""
        log_p_n = self.log_probabilities(query)
        allowed = (log_p_n > -np.inf) & ~np.isin(self.ids, query.excluded)
        ids, log_p = self.ids[allowed], np.round(log_p_n[allowed], 9)
        order = np.lexsort((ids, -log_p))[: query.n]
        return list(zip(ids[order].tolist(), log_p[order].tolist(), strict=True))


def query_of(vectors, n, share=None, topics=None, excluded=NOTHING) -> MixtureQuery:
    count = len(vectors)
    with np.errstate(divide="ignore"):
        log_share = np.log(np.full(count, 1 / count) if share is None else np.asarray(share))
    topic_K = np.zeros(count, np.int64) if topics is None else np.asarray(topics)
    limit_K = np.full(count, max(1, n // 2))
    return MixtureQuery(np.asarray(vectors, np.float32), log_share, topic_K, limit_K, n, np.asarray(excluded))


def rounding(world: World, query: MixtureQuery) -> float:
    """Return the error of a log probability in float32: those of two scores, which may cancel each other."""
    return 1e-5 + 4e-6 * float(np.abs(query.vectors_KD @ world.vectors.T).max(initial=0))


def check_list(found: MixtureList, world: World, query: MixtureQuery) -> None:
    """Hold a list to the exact one: the same probabilities in the same order, and the same items but for near ties."""
    expected = world.ranking(query)
    assert len(found.id_N) == len(set(found.id_N.tolist())) == len(expected)
    assert not set(found.id_N.tolist()) & set(query.excluded.tolist())
    error = rounding(world, query)
    np.testing.assert_allclose(found.score_N, [score for _, score in expected], rtol=1e-5, atol=error)
    own = dict(zip(world.ids.tolist(), world.log_probabilities(query).tolist(), strict=True))
    np.testing.assert_allclose(found.score_N, [own[i] for i in found.id_N.tolist()], rtol=1e-5, atol=error)
    assert found.found_by_NK[np.arange(len(found.id_N)), found.credit_N].all()


def users(make, count: int, seed: int, topics: bool = False) -> list[MixtureQuery]:
    rng = np.random.default_rng(seed)
    lists = []
    for _ in range(count):
        taste = make(rng, 1, WIDTH)
        vectors = SCALE * (0.6 * taste + 0.4 * make(rng, 5, WIDTH)) / np.sqrt(WIDTH)
        topic = np.where(np.arange(5) >= 3, rng.integers(1, LARGE + 1, 5), ANY_TOPIC) if topics else None
        lists.append(query_of(vectors, 50, rng.dirichlet(np.ones(5)), topic))
    return lists


@cache
def large(name: str) -> tuple[LiveIndex, World]:
    """Return inverted lists over a world with topics of 1, 10 and 50 %; the largest is not scanned."""
    make = {"latent": latent, "clustered": clustered}[name]
    vectors = make(np.random.default_rng(3), ITEMS, WIDTH)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) / np.sqrt(WIDTH)
    topics = [[t for t, every in ((1, 100), (2, 10), (LARGE, 2)) if i % every == 0] for i in range(ITEMS)]
    world = World(np.arange(1, ITEMS + 1), vectors, topics)
    index = build(world.ids, vectors, csr(topics), users=users(make, 60, 1), target=PROMISE)
    return LiveIndex(index), world


def overlap(index: LiveIndex, world: World, queries: list[MixtureQuery]) -> float:
    shares = []
    for query, found in zip(queries, index.mixture(queries), strict=True):
        expected = {item for item, _ in world.ranking(query)}
        assert len(found.id_N) == len(expected), "never short"
        assert not set(found.id_N.tolist()) & set(query.excluded.tolist())
        shares.append(len(expected & set(found.id_N.tolist())) / len(expected))
    return float(np.mean(shares))


def followers(item: np.ndarray, count: int, seed: int, topics: int) -> list[MixtureQuery]:
    """Return users with six vectors near a taste, who follow some of eight topics."""
    rng, width = np.random.default_rng(seed), item.shape[1]
    lists = []
    for _ in range(count):
        taste, others = item[rng.integers(0, len(item), 1)], item[rng.integers(0, len(item), 6 + topics)]
        noise = rng.standard_normal((6 + topics, width))
        vectors = 0.6 * taste + 0.4 * others + 0.2 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
        vectors *= 10 / np.linalg.norm(vectors, axis=1, keepdims=True)
        topic = np.concatenate([np.zeros(6, np.int64), rng.choice(np.arange(1, 9), topics, replace=False)])
        lists.append(query_of(vectors, 50, rng.dirichlet(np.ones(6 + topics)), topic))
    return lists


def random_world(seed: int) -> tuple[LiveIndex, World, list[MixtureQuery]]:
    """Return an index some of whose items are new versions, and where a list is empty now, and users."""
    rng = np.random.default_rng(seed)
    make, items, width = (latent, clustered)[seed % 2], int(rng.integers(800, 1_600)), int(rng.integers(6, 24))
    item = make(rng, items, width)
    item /= np.linalg.norm(item, axis=1, keepdims=True)
    topics = [sorted(set(rng.integers(1, 7, rng.integers(0, 4)).tolist())) for _ in range(items)]
    world = World(np.sort(rng.choice(3 * items, items, replace=False)) + 1, item, topics)
    late, before = rng.random(items) < 0.2, item.copy()
    before[late] = before[rng.permutation(np.flatnonzero(late))]
    gone = 3 * items + np.arange(1, 60)
    far_away = 5 + make(rng, len(gone), width) / 3  # so they have lists of their own
    people = followers(item, 64, seed, topics=int(rng.integers(0, 4)))
    target = RecallTarget(recall=0.95, deepest=100, scanned=int(rng.choice([50, 2_000])))
    vectors, all_topics = np.concatenate([before, far_away]), csr([*topics, *([[1]] * len(gone))])
    index = LiveIndex(build(np.concatenate([world.ids, gone]), vectors, all_topics, users=people, target=target))
    index.add(world.ids[late], item[late], csr([own for own, is_late in zip(topics, late, strict=True) if is_late]))
    index.remove(gone)
    asked = []
    for followed in (0, 1, 2, 3):
        for query in followers(item, 12, 100 + seed, topics=followed):
            best = [i for i, _ in world.ranking(query._replace(n=40))]
            seen = np.sort(rng.choice(best, rng.integers(0, 40), replace=False))
            asked.append(query._replace(n=int(rng.choice([10, 50])), excluded=seen))
    return index, world, asked
