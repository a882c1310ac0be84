"""Worlds for the search for a mixture, the exact probability of each of their items, and what a search finds of them.

Legend: K vectors of a user · n items.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from multitudes.index import inverted_mixture
from multitudes.index.engine import RecallTarget
from multitudes.index.inverted import build
from multitudes.index.live import LiveIndex
from multitudes.index.mixture import MixtureList, MixtureQuery
from multitudes.index.protocol import ANY_TOPIC
from tests.index.worlds import clustered, csr, latent

NOTHING = np.zeros(0, dtype=np.int64)
SCALE = 1.0
ITEMS, WIDTH, LARGE = 2_000, 16, 3
_TUNING_VECTORS = 64  # of a random world, for the search of single vectors
PROMISE = RecallTarget(recall=0.95, deepest=200, scanned=500)


class World:
    """Items, and the exact probability of each."""

    def __init__(self, ids, vectors, topics) -> None:
        self.ids: NDArray[np.int64] = np.asarray(ids)
        self.vectors: NDArray[np.float32] = np.asarray(vectors, np.float32)
        self.topics: Sequence[Sequence[int]] = topics

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


class Found(NamedTuple):
    """What a search finds of the exact list of one user."""

    overlap: float  # share of the exact list
    is_short: bool


def compare(index: LiveIndex, world: World, queries: Sequence[MixtureQuery]) -> list[Found]:
    """Compare the lists of users with the exact ones; no list has an item twice or one that is excluded."""
    compared = []
    for query, found in zip(queries, index.mixture(queries), strict=True):
        expected, ids = {item for item, _ in world.ranking(query)}, set(found.id_N.tolist())
        assert len(ids) == len(found.id_N)
        assert not ids & set(query.excluded.tolist())
        overlap = len(expected & ids) / len(expected) if expected else 1.0
        compared.append(Found(overlap, len(ids) < len(expected)))
    return compared


def overlap(index: LiveIndex, world: World, queries: Sequence[MixtureQuery]) -> float:
    """Return the mean share of the exact lists that a search finds; none of its lists is short."""
    compared = compare(index, world, queries)
    assert not any(found.is_short for found in compared)
    return float(np.mean([found.overlap for found in compared]))


@contextmanager
def walk_in_the_order_of_one_vector() -> Iterator[None]:
    """Let a search read as many pairs, but the lists that are best for a user's first vector, with all vectors."""
    best_pairs = inverted_mixture._best_pairs

    def of_the_first_vector(value_FL: NDArray[np.float32], pairs: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        is_finite_F = np.asarray(np.isfinite(value_FL).any(axis=1))
        return best_pairs(np.where(is_finite_F[:, None], value_FL[is_finite_F.argmax()], -np.inf), pairs)

    with patch.object(inverted_mixture, "_best_pairs", of_the_first_vector):
        yield


def followers(item: NDArray[np.float32], count: int, seed: int, topics: int, free: int = 6) -> list[MixtureQuery]:
    """Return users with ``free`` vectors near a taste, who follow some of eight topics."""
    rng, width, vectors = np.random.default_rng(seed), item.shape[1], free + topics
    lists = []
    for _ in range(count):
        taste, others = item[rng.integers(0, len(item), 1)], item[rng.integers(0, len(item), vectors)]
        noise = rng.standard_normal((vectors, width))
        vectors_KD = 0.6 * taste + 0.4 * others + 0.2 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
        vectors_KD *= 10 / np.linalg.norm(vectors_KD, axis=1, keepdims=True)
        topic_K = np.concatenate([np.zeros(free, np.int64), rng.choice(np.arange(1, 9), topics, replace=False)])
        lists.append(query_of(vectors_KD, 50, rng.dirichlet(np.ones(vectors)), topic_K))
    return lists


def random_world(seed: int) -> tuple[LiveIndex, World, list[MixtureQuery]]:
    """Return an index of random size to which items were added and from which others were removed, and users."""
    rng = np.random.default_rng(seed)
    make, items, width = (latent, clustered)[seed % 2], int(rng.integers(400, 1_600)), int(rng.integers(6, 24))
    item = make(rng, items, width)
    item /= np.linalg.norm(item, axis=1, keepdims=True)
    topics = [sorted(set(rng.integers(1, 7, rng.integers(0, 4)).tolist())) for _ in range(items)]
    world = World(np.sort(rng.choice(3 * items, items, replace=False)) + 1, item, topics)
    people = [
        query
        for group in range(4)
        for query in followers(item, 10, 10 * seed + group, int(rng.integers(0, 4)), int(rng.integers(1, 8)))
    ]
    return _build_and_change(world, people, rng), world, _askers(world, seed, rng)


def _build_and_change(world: World, people: Sequence[MixtureQuery], rng: np.random.Generator) -> LiveIndex:
    """Build other items, and come to those of the world by additions, new versions and removals."""
    items, width = len(world.ids), world.vectors.shape[1]
    turn = rng.random(items)
    is_added, is_moved = turn < 0.1, (turn >= 0.1) & (turn < 0.25)
    before = world.vectors.copy()
    before[is_moved] = before[rng.permutation(np.flatnonzero(is_moved))]
    gone = 3 * items + np.arange(1, 90)
    gone_vectors = rng.standard_normal((len(gone), width)) / np.sqrt(width)
    gone_vectors[:60] += 5  # far away, so they have lists of their own
    index = LiveIndex(
        build(
            np.concatenate([world.ids[~is_added], gone]),
            np.concatenate([before[~is_added], gone_vectors]),
            csr([*_select(world.topics, ~is_added), *([[1]] * len(gone))]),
            queries=np.concatenate([query.vectors_KD for query in people])[:_TUNING_VECTORS],
            users=people,
            target=RecallTarget(recall=0.95, deepest=100, scanned=int(rng.choice([50, 2_000]))),
            lists=int(2 ** rng.integers(4, 8)),
        )
    )
    for is_late in (is_moved, is_added):
        index.add(world.ids[is_late], world.vectors[is_late], csr(_select(world.topics, is_late)))
    index.remove(gone)
    return index


def _select(topics: Sequence[Sequence[int]], is_chosen: NDArray[np.bool_]) -> list[Sequence[int]]:
    return [topics[row] for row in np.flatnonzero(is_chosen).tolist()]


def _askers(world: World, seed: int, rng: np.random.Generator) -> list[MixtureQuery]:
    """Return users who exclude some of their best items, and a few who exclude nearly everything."""
    asked = []
    for followed in range(4):
        for query in followers(world.vectors, 12, 100 + 10 * seed + followed, followed, int(rng.integers(1, 8))):
            best = [item for item, _ in world.ranking(query._replace(n=40))]
            excluded = rng.choice(best, rng.integers(0, len(best)), replace=False)
            if rng.random() < 0.05:
                excluded = rng.choice(world.ids, len(world.ids) - int(rng.integers(0, 6)), replace=False)
            asked.append(query._replace(n=int(rng.choice([10, 20, 50])), excluded=np.sort(excluded)))
    return asked
