"""Small worlds for every index, the exact answers, and the checks of the contract as plain functions.

Nothing of the library computes an expected answer here: the reference is all scores in float64, sorted. A check takes
an index and the world that it was built from, so the same checks serve embedded and remote engines.

Legend: Q queries · n items · D dimensions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from multitudes.index.protocol import ANY_TOPIC, Hits, Index, Topics

Build = Callable[[NDArray[np.int64], NDArray[np.float32], Topics], Index]
Generate = Callable[[np.random.Generator, int, int], NDArray[np.float32]]

BIG = 2**60  # far beyond 2^53, where float64 loses whole numbers
LONELY, EMPTY, UNKNOWN = 5, 6, 99  # a topic of one item, one of none, one that nobody ever named
_SLACK = 1e-5  # of float32 against float64, relative to the lengths of the vectors


@dataclass(frozen=True)
class World:
    """Items, and what is asked about them."""

    ids: NDArray[np.int64]
    vectors_nD: NDArray[np.float32]
    topics_n: Sequence[Sequence[int]]
    query_QD: NDArray[np.float32]
    limit_Q: NDArray[np.int64]
    excluded_Q: Sequence[NDArray[np.int64]]
    topic_Q: NDArray[np.int64]

    def topics(self) -> Topics:
        return csr(self.topics_n)

    def allowed(self, q: int) -> NDArray[np.bool_]:
        """Say of each item whether query q may find it."""
        topic = int(self.topic_Q[q])
        of_topic = np.array([topic == ANY_TOPIC or topic in topics for topics in self.topics_n], dtype=np.bool_)
        return of_topic & ~np.isin(self.ids, self.excluded_Q[q])

    def scores(self, q: int) -> NDArray[np.float64]:
        """Return the score of each item for query q, in float64."""
        return np.asarray(self.vectors_nD.astype(np.float64) @ self.query_QD[q].astype(np.float64))

    def ranking(self, q: int) -> list[int]:
        """Return the ids that query q has to find, best first, ties by the smaller id."""
        allowed = self.allowed(q)
        ids = self.ids[allowed]
        best_first = np.lexsort((ids, -self.scores(q)[allowed]))
        return [int(i) for i in ids[best_first][: self.limit_Q[q]]]

    def only(self, q: int) -> "World":
        """Return the same items with one of the questions."""
        part = slice(q, q + 1)
        return replace(
            self,
            query_QD=self.query_QD[part],
            limit_Q=self.limit_Q[part],
            excluded_Q=self.excluded_Q[part],
            topic_Q=self.topic_Q[part],
        )


def csr(topics_n: Sequence[Sequence[int]]) -> Topics:
    offset = np.concatenate([[0], np.cumsum([len(topics) for topics in topics_n])]).astype(np.int64)
    return Topics(offset, np.array([t for topics in topics_n for t in topics], dtype=np.int64))


def by_topic(*masks: NDArray[np.bool_]) -> Topics:
    """Return the topics of items; item i is of topic t + 1 where ``masks[t][i]``."""
    return csr([(np.flatnonzero(mask_T) + 1).tolist() for mask_T in np.stack(masks, axis=1)])


def ask(index: Index, world: World) -> Hits:
    return index.search(world.query_QD, world.limit_Q, excluded=world.excluded_Q, topic_Q=world.topic_Q)


# Worlds


def whole_numbers(rng: np.random.Generator, n: int, dimension: int) -> NDArray[np.float32]:
    """Make vectors of few small whole numbers: duplicates and ties are the rule, and every score is exact."""
    return rng.integers(-2, 3, (n, dimension)).astype(np.float32)


def clustered(rng: np.random.Generator, n: int, dimension: int) -> NDArray[np.float32]:
    """Make vectors around few centres: the neighbours of a query share one inverted list."""
    centre = np.random.default_rng(0).standard_normal((12, dimension))
    return (centre[rng.integers(12, size=n)] + 0.3 * rng.standard_normal((n, dimension))).astype(np.float32)


def latent(rng: np.random.Generator, n: int, dimension: int) -> NDArray[np.float32]:
    """Make vectors of a factor model without clusters: the neighbours of a query are spread over many lists."""
    loading = np.random.default_rng(1).standard_normal((max(1, dimension // 2), dimension))
    return (rng.standard_normal((n, len(loading))) @ loading).astype(np.float32)


def copied(rng: np.random.Generator, n: int, dimension: int) -> NDArray[np.float32]:
    """Make vectors of which each is there about three times: copies have to tie, though scores are rounded."""
    few = rng.standard_normal((n // 3 + 1, dimension)).astype(np.float32)
    return np.asarray(few[rng.integers(len(few), size=n)])


GENERATORS = (whole_numbers, clustered, latent, copied)


def plain_world(
    vectors_nD: NDArray[np.float32], query_QD: NDArray[np.float32], limit: int, topics_n: Sequence[Sequence[int]] = ()
) -> World:
    """Return a world with ids from 0 whose queries exclude nothing and name no topic."""
    n, q = len(vectors_nD), len(query_QD)
    return World(
        np.arange(n),
        vectors_nD,
        topics_n or [[]] * n,
        query_QD,
        np.full(q, limit),
        [np.zeros(0, np.int64)] * q,
        np.full(q, ANY_TOPIC),
    )


@st.composite
def worlds(draw: st.DrawFn, negative: bool = True) -> World:
    """Draw a small corpus of any kind, and questions with limits, exclusions and topics of any kind."""
    generate = draw(st.sampled_from(GENERATORS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, dimension = draw(st.integers(1, 40)), draw(st.sampled_from([1, 2, 7, 64, 512]))
    near, far = st.integers(-5 if negative else 0, 60), st.integers(BIG, BIG + 60)
    ids = draw(st.lists(st.one_of(near, far), min_size=n, max_size=n, unique=True))
    topics_n = [rng.choice(4, rng.integers(4), replace=False) + 1 for _ in range(n)]
    topics_n[draw(st.integers(0, n - 1))] = np.array([LONELY])
    q = draw(st.integers(1, 6))
    id_or_not = st.one_of(st.sampled_from(ids), st.integers(-9, 99))
    without = [np.array(draw(st.lists(id_or_not, max_size=n)), dtype=np.int64) for _ in range(q)]
    without[0] = draw(st.sampled_from([without[0], np.array(ids, dtype=np.int64)]))  # everything is excluded
    topics = st.sampled_from([ANY_TOPIC, ANY_TOPIC, 1, 2, LONELY, EMPTY, UNKNOWN])
    return World(
        np.array(ids, dtype=np.int64),
        generate(rng, n, dimension),
        [topics.tolist() for topics in topics_n],
        generate(rng, q, dimension),
        np.array([draw(st.integers(0, n + 3)) for _ in range(q)]),
        without,
        np.array([draw(topics) for _ in range(q)]),
    )


def changed(build: Build) -> Build:
    """Return a build that comes to the same items by another way: half of them are added, replaced or outlived."""

    def build_and_change(ids: NDArray[np.int64], vectors_nD: NDArray[np.float32], topics: Topics) -> Index:
        topics_n = [topic.tolist() for topic in np.split(topics.topic, topics.offset[1:-1])]
        strange = np.setdiff1d(np.arange(len(ids) + 3), ids)[:3]  # ids that the world does not have
        turn = np.arange(len(ids)) % 4  # 0, 1: built; 2: built otherwise, then replaced; 3: added
        first = np.flatnonzero(turn < 3)
        otherwise = np.where((turn == 2)[:, None], -vectors_nD, vectors_nD)
        index = build(
            np.concatenate([ids[first], strange]),
            np.concatenate([otherwise[first], np.ones((len(strange), vectors_nD.shape[1]), np.float32)]),
            csr([[1, 2] if turn[i] == 2 else topics_n[i] for i in first.tolist()] + [[1, LONELY]] * len(strange)),
        )
        index.remove(strange[:1])
        later = np.flatnonzero(turn >= 2)
        for part in (later[::2], later[1::2]):
            index.add(ids[part], vectors_nD[part], csr([topics_n[i] for i in part.tolist()]))
            index.add(strange[1:], np.ones((len(strange) - 1, vectors_nD.shape[1])))
        index.remove(strange[1:])
        return index

    return build_and_change


# The contract


def check_answers(index: Index, world: World) -> None:
    """As many as asked; never a hole, a copy, an excluded id, another topic; best first, ties by the smaller id."""
    hits = ask(index, world)
    for q in range(len(world.query_QD)):
        check_answer(hits, world, q)


def check_answer(hits: Hits, world: World, q: int) -> None:
    """Check what one query found: everything that is promised but the recall."""
    found, scores = hits.ids(q), hits.scores(q)
    allowed = world.ids[world.allowed(q)]
    assert len(found) == len(set(found.tolist())) == min(int(world.limit_Q[q]), len(allowed))
    assert set(found.tolist()) <= set(allowed.tolist())
    assert found.tolist() == [i for _, i in sorted(zip((-scores).tolist(), found.tolist(), strict=True))]
    order = np.argsort(world.ids)
    truth = world.scores(q)[order[np.searchsorted(world.ids[order], found)]]
    np.testing.assert_allclose(scores, truth, rtol=0, atol=tolerance(world, q))
    assert (hits.id_QN[q, len(found) :] == -1).all()
    assert (hits.score_QN[q, len(found) :] == -np.inf).all()


def tolerance(world: World, q: int) -> float:
    """Return how far a float32 score of query q may be from the true one."""
    length = np.linalg.norm(world.query_QD[q]) * np.linalg.norm(world.vectors_nD, axis=1).max()
    return float(_SLACK * length) + 1e-30


def exact_scores(world: World) -> bool:
    """Say whether float32 computes every score exactly, in whatever order it sums: then equal is equal."""
    return all(bool((array == array.round()).all()) for array in (world.vectors_nD, world.query_QD))


def check_ranking(index: Index, world: World) -> None:
    """Every best item is found: the scores are those of the true ranking, and where scores are exact its ids too."""
    hits = ask(index, world)
    for q in range(len(world.query_QD)):
        truth, wanted = world.scores(q), world.ranking(q)
        by_id = dict(zip(world.ids.tolist(), truth.tolist(), strict=True))
        best = [by_id[i] for i in wanted]
        np.testing.assert_allclose(hits.scores(q), best, rtol=0, atol=tolerance(world, q))
        assert hits.ids(q).tolist() == wanted or not exact_scores(world)


def recall(index: Index, world: World) -> float:
    hits, wanted = ask(index, world), [world.ranking(q) for q in range(len(world.query_QD))]
    shared = sum(len(set(hits.ids(q).tolist()) & set(wanted[q])) for q in range(len(wanted)))
    return shared / max(1, sum(map(len, wanted)))


def check_alone_as_in_a_batch(index: Index, world: World, *, to_the_bit: bool = False) -> None:
    """A query gets the same answer alone and among others; up to near ties, where scores may be rounded otherwise."""
    together = ask(index, world)
    for q in range(len(world.query_QD)):
        alone = ask(index, world.only(q))
        np.testing.assert_allclose(alone.scores(0), together.scores(q), rtol=0, atol=tolerance(world, q))
        if to_the_bit or exact_scores(world):
            assert alone.ids(0).tolist() == together.ids(q).tolist()
            assert alone.scores(0).tolist() == together.scores(q).tolist()


def check_copies_tie(index: Index, world: World) -> None:
    """Items of one vector have one score to the last bit, wherever the index keeps them: so the smaller id is first."""
    hits = ask(index, world)
    vector_of = dict(zip(world.ids.tolist(), [v.tobytes() for v in world.vectors_nD], strict=True))
    for q in range(len(world.query_QD)):
        scored = {(vector_of[i], score) for i, score in zip(hits.ids(q).tolist(), hits.scores(q).tolist(), strict=True)}
        assert len(scored) == len({vector for vector, _ in scored})


def check_contents(index: Index, world: World) -> None:
    """The index knows its items: ids, vectors, topics, number."""
    assert len(index) == index.info()["items"] == len(world.ids)
    assert index.info()["dimension"] == world.vectors_nD.shape[1]
    assert index.ids().tolist() == sorted(world.ids.tolist())
    assert (index.vectors(world.ids) == world.vectors_nD).all()
    for topic in (ANY_TOPIC, 1, 2, 3, 4, LONELY, EMPTY, UNKNOWN):  # no item has topic 0
        wanted = [i for i, topics in zip(world.ids.tolist(), world.topics_n, strict=True) if topic in topics]
        assert index.items_of(topic).tolist() == sorted(wanted)


def identical(first: Hits, second: Hits) -> bool:
    return (
        np.array_equal(first.id_QN, second.id_QN)
        and np.array_equal(first.score_QN, second.score_QN)
        and np.array_equal(first.count_Q, second.count_Q)
    )


def check_saved_and_loaded(index: Index, world: World, load: Callable[[Path], Index], folder: Path) -> None:
    """An index that was saved and opened again answers the same, to the last bit, and says the same of itself."""
    index.save(folder)
    again = load(folder)
    assert identical(ask(index, world), ask(again, world))
    assert again.info() == index.info()
    check_contents(again, world)
