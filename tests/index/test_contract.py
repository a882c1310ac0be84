"""One suite for every index: what the protocol promises, on corpora that Hypothesis makes.

Each engine is tested as it was built, and as a live index that came to the same items by additions, new versions and
removals. The checks themselves are in ``worlds``.
"""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from multitudes.index import approximate, scan
from multitudes.index.exact import ExactIndex
from multitudes.index.factory import load_index
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import ANY_TOPIC, Index, Topics
from multitudes.index.tuning import RecallTarget
from tests.index import worlds
from tests.index.worlds import Build, World, ask, changed, clustered, copied, latent, plain_world

pytestmark = pytest.mark.contract


QUERIES = 24
PROMISE = RecallTarget(recall=0.97, deepest=100, scanned=500)  # topics of more than 500 items are searched, not scanned
few = settings(max_examples=10, deadline=None)
Vectors = NDArray[np.float32]


def exact(ids: NDArray[np.int64], vectors: Vectors, topics: Topics, queries: Vectors | None = None) -> LiveIndex:
    del queries  # nothing to tune
    return LiveIndex(ExactIndex.build(ids, vectors, topics))


def inverted(ids: NDArray[np.int64], vectors: Vectors, topics: Topics, queries: Vectors | None = None) -> LiveIndex:
    """Build an inverted index, of a few lists where Hypothesis makes a small corpus."""
    lists = min(4, len(ids)) if len(ids) < 100 else None
    return LiveIndex(approximate.build(ids, vectors, topics, queries=queries, lists=lists, target=PROMISE))


ENGINES = {"exact": exact, "inverted": inverted}


def builder(name: str, queries: Vectors | None = None) -> Build:
    """Return the build of an engine, or by its changed name the one that comes to the same items by another way."""
    engine, _, way = name.partition("-")
    build = partial(ENGINES[engine], queries=queries)
    return changed(build) if way else build


NAMES = [*ENGINES, *(f"{name}-changed" for name in ENGINES)]
implementations = pytest.mark.parametrize("build", [builder(name) for name in NAMES], ids=NAMES)
named = pytest.mark.parametrize("name", NAMES)


def built(build: Build, world: World) -> Index:
    return build(world.ids, world.vectors_nD, world.topics())


@cache
def large(name: str, generate: worlds.Generate, n: int = 2_500, dimension: int = 16) -> tuple[Index, World]:
    """Return an index and its world, of topics of 1, 10 and 100 %, in which an approximate engine has a choice."""
    rng = np.random.default_rng(8)
    topics_n = [[t for t, share in ((1, 100), (2, 10), (3, 1)) if i % share == 0] for i in range(n)]
    world = plain_world(generate(rng, n, dimension), generate(rng, QUERIES, dimension), 30, topics_n)
    return built(builder(name, generate(rng, 100, dimension)), world), world


@implementations
@given(world=worlds.worlds())
@few
def test_hits_satisfy_the_request_best_first_and_are_the_same_alone_and_in_a_batch(build: Build, world: World):
    worlds.check_answers(built(build, world), world)
    index = built(build, world)
    worlds.check_alone_as_in_a_batch(index, world, to_the_bit=True)
    worlds.check_copies_tie(index, world)


@pytest.mark.parametrize("build", [builder("exact"), builder("exact-changed")], ids=["built", "changed"])
@given(world=worlds.worlds())
@few
def test_the_reference_ranks_as_a_sort_of_all_scores_does(build: Build, world: World):
    worlds.check_ranking(built(build, world), world)


def test_of_copies_at_the_limit_the_smaller_ids_are_found_despite_rounding(monkeypatch: pytest.MonkeyPatch):
    """A linear algebra library rounds by the shape of a product and the place in it; here it rounds by chance."""
    rng = np.random.default_rng(5)
    few = rng.standard_normal((20, 3)).astype(np.float32)
    which = np.arange(60) % 20
    products = scan.inner_products

    def rounded(*operands: Any) -> np.ndarray:
        score_Qn = products(*operands)
        return score_Qn * (1 + np.finfo(np.float32).eps * rng.integers(-1, 2, score_Qn.shape)).astype(np.float32)

    monkeypatch.setattr(scan, "inner_products", rounded)
    query_QD = rng.standard_normal((50, 3)).astype(np.float32)
    hits = ExactIndex.build(np.arange(60), few[which]).search(query_QD, 7)  # two triples, and one of a third
    for q in range(50):
        triples = [i % 20 + 20 * copy for i in hits.ids(q)[::3].tolist() for copy in range(3)]
        assert hits.ids(q).tolist() == triples[:7]


@named
@given(world=worlds.worlds())
@few
def test_an_index_knows_its_items_also_after_loading(name: str, world: World):
    index = built(builder(name), world)
    worlds.check_contents(index, world)
    with TemporaryDirectory() as folder:
        if name in ENGINES:  # unchanged
            worlds.check_saved_and_loaded(index, world, load_index, Path(folder))


@named
@pytest.mark.parametrize("generate", [clustered, latent, copied])
def test_the_stated_recall_is_reached_with_and_without_filters(name: str, generate: worlds.Generate):
    index, world = large(name, generate)
    worlds.check_alone_as_in_a_batch(index, world, to_the_bit=True)
    worlds.check_copies_tie(index, world)
    for asked in filtered(world):
        worlds.check_answers(index, asked)
        assert worlds.recall(index, asked) >= stated(index) - 0.03, "of queries that it was not tuned on"


def filtered(world: World) -> list[World]:
    """Return a world, and the same with its best items excluded, with topics, and with both."""
    best, thousand = (
        [np.array(replace(world, limit_Q=np.full(QUERIES, n)).ranking(q)) for q in range(QUERIES)] for n in (30, 1_000)
    )
    topic_Q = np.arange(QUERIES) % 4
    return [
        world,
        replace(world, excluded_Q=best),
        replace(world, excluded_Q=thousand),
        replace(world, topic_Q=topic_Q),
        replace(world, topic_Q=topic_Q, excluded_Q=best),
    ]


def stated(index: Index) -> float:
    """Return the least recall that an index measured on queries it was not tuned on; one without any is exact."""
    levels = index.info().get("tuning", {"levels": []})["levels"]
    return min([1.0, *(float(level["checked"]) for level in levels)])


@implementations
def test_ids_may_be_any_of_64_bits_and_no_query_gets_no_answer(build: Build):
    world = replace(
        plain_world(latent(np.random.default_rng(3), 5, 4), latent(np.random.default_rng(4), 3, 4), 4),
        ids=np.array([-(2**63), 2**63 - 1, 2**53 + 1, 2**53, -7]),
        excluded_Q=[np.array([2**53]), np.array([-(2**63), 8]), np.zeros(0, np.int64)],
    )
    index = built(build, world)
    worlds.check_contents(index, world)
    worlds.check_ranking(index, world)
    index = built(build, plain_world(np.eye(4, dtype=np.float32), np.zeros((0, 4), np.float32), 2))
    nobody = np.zeros((0, 4), np.float32)
    hits = index.search(nobody, 2, excluded=[], topic_Q=np.zeros(0, np.int64))
    assert len(hits.id_QN) == len(hits.count_Q) == len(index.search(nobody, 2).count_Q) == 0


@named
def test_for_a_query_of_zeros_every_item_ties(name: str):
    """Among others, with and without what is excluded, in every topic: the first ids."""
    index, world = large(name, latent)
    zeros = world.query_QD * (np.arange(QUERIES)[:, None] % 3 != 0)
    for asked in filtered(replace(world, query_QD=zeros)):
        worlds.check_answers(index, asked)
        hits = ask(index, asked)
        for q in range(0, QUERIES, 3):
            assert hits.ids(q).tolist() == asked.ranking(q)
            assert not hits.scores(q).any()


@named
def test_searches_at_the_same_time_answer_as_one_after_the_other(name: str):
    index, world = large(name, latent)
    asked = [replace(world, topic_Q=np.full(QUERIES, topic)) for topic in (ANY_TOPIC, 1, 2, 3)] * 4
    serial = [ask(index, world) for world in asked]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda world: ask(index, world), asked))
    assert all(worlds.identical(a, b) for a, b in zip(serial, together, strict=True))


@named
def test_a_forked_process_answers_the_same(name: str):
    index, world = large(name, latent)
    before = ask(index, world)
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)
    child = fork.Process(target=lambda: there.send(ask(index, world)))
    child.start()
    assert here.poll(60), "the forked process does not answer"
    assert worlds.identical(before, here.recv())
    child.join()
