"""One suite for every index: what the protocol promises, on corpora that Hypothesis makes.

Each engine is tested as it was built, and as a live index that came to the same items by additions, new versions and
removals. The checks themselves are in ``worlds``.
"""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings

from multitudes.index.build import load
from multitudes.index.exact import Exact
from multitudes.index.inverted import Inverted
from multitudes.index.live import Live
from multitudes.index.protocol import ANY_TOPIC, Index, Topics
from tests.index import worlds
from tests.index.worlds import Build, World, ask, changed, clustered, latent, plain_world

pytestmark = pytest.mark.contract


def exact(ids: np.ndarray, vectors: np.ndarray, topics: Topics, queries: np.ndarray | None = None) -> Live:
    del queries  # nothing to tune
    return Live(Exact.build(ids, vectors, topics))


def inverted(ids: np.ndarray, vectors: np.ndarray, topics: Topics, queries: np.ndarray | None = None) -> Live:
    """Build an inverted index, of a few lists where Hypothesis makes a small corpus."""
    lists = min(4, len(ids)) if len(ids) < 100 else None
    return Live(Inverted.build(ids, vectors, topics, queries=queries, lists=lists))


ENGINES = {"exact": exact, "inverted": inverted}
builds = ENGINES | {f"{n}-changed": changed(b) for n, b in ENGINES.items()}
implementations = pytest.mark.parametrize("build", builds.values(), ids=builds.keys())
QUERIES = 24
few = settings(max_examples=25, deadline=None)


def built(build: Build, world: World) -> Index:
    return build(world.ids, world.vectors_nD, world.topics())


def large(generate: worlds.Generate, n: int = 3_000, dimension: int = 16, limit: int = 30) -> World:
    """Return a world that takes an approximate engine more than one list, with topics of 1, 10 and 100 % of it."""
    rng = np.random.default_rng(8)
    topics_n = [[t for t, share in ((1, 100), (2, 10), (3, 1)) if i % share == 0] for i in range(n)]
    return plain_world(generate(rng, n, dimension), generate(rng, QUERIES, dimension), limit, topics_n)


@implementations
@given(world=worlds.worlds())
@few
def test_what_is_found_is_what_was_asked_for_and_best_first(build: Build, world: World):
    worlds.check_answers(built(build, world), world)


@pytest.mark.parametrize("build", [exact, changed(exact)], ids=["exact", "exact-changed"])
@given(world=worlds.worlds())
@few
def test_the_reference_ranks_as_a_sort_of_all_scores_does(build: Build, world: World):
    worlds.check_ranking(built(build, world), world)


@implementations
@given(world=worlds.worlds())
@few
def test_a_query_gets_the_same_answer_alone_and_in_a_batch(build: Build, world: World):
    index = built(build, world)
    worlds.check_alone_as_in_a_batch(index, world, to_the_bit=True)
    worlds.check_copies_tie(index, world)


@implementations
@given(world=worlds.worlds())
@few
def test_an_index_knows_what_it_holds_also_when_it_was_saved(build: Build, world: World):
    index = built(build, world)
    worlds.check_contents(index, world)
    worlds.check_log_sums(index, world)
    with TemporaryDirectory() as folder:
        worlds.check_saved_and_loaded(index, world, load, Path(folder))


@pytest.mark.parametrize("way", [lambda build: build, changed], ids=["built", "changed"])
@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES.keys())
@pytest.mark.parametrize("generate", [clustered, latent])
def test_the_stated_recall_is_reached_with_and_without_filters(
    way: Callable[[Build], Build], engine: Callable[..., Index], generate: worlds.Generate
):
    world = large(generate)
    held_out = generate(np.random.default_rng(9), 200, 16)
    index = built(way(partial(engine, queries=held_out)), world)
    best = [np.array(world.ranking(q)) for q in range(QUERIES)]
    topic_Q = np.arange(QUERIES) % 4
    for asked in (world, replace(world, topic_Q=topic_Q), replace(world, topic_Q=topic_Q, excluded_Q=best)):
        worlds.check_answers(index, asked)
        assert worlds.recall(index, asked) >= stated(index) - 0.03, "of queries that it was not tuned on"


@implementations
def test_ids_may_be_any_of_64_bits(build: Build):
    world = replace(
        plain_world(latent(np.random.default_rng(3), 5, 4), latent(np.random.default_rng(4), 3, 4), 4),
        ids=np.array([-(2**63), 2**63 - 1, 2**53 + 1, 2**53, -7]),
        excluded_Q=[np.array([2**53]), np.array([-(2**63), 8]), np.zeros(0, np.int64)],
    )
    index = built(build, world)
    worlds.check_contents(index, world)
    worlds.check_ranking(index, world)


@implementations
def test_no_query_gets_no_answer(build: Build):
    index = built(build, plain_world(np.eye(4, dtype=np.float32), np.zeros((0, 4), np.float32), 2))
    nobody = np.zeros((0, 4), np.float32)
    hits = index.search(nobody, 2, excluded=[], topic_Q=np.zeros(0, np.int64), log_sums=True)
    assert len(hits.id_QN) == len(hits.count_Q) == len(index.search(nobody, 2).count_Q) == 0


def stated(index: Index) -> float:
    """Return the recall that an index says it has."""
    return float(index.info().get("tuning", {"recall": 1.0})["recall"])


@implementations
def test_searches_at_the_same_time_answer_as_one_after_the_other(build: Build):
    world = large(latent, limit=20)
    index = built(build, world)
    asked = [replace(world, topic_Q=np.full(QUERIES, topic)) for topic in (ANY_TOPIC, 1, 2, 3)] * 4
    serial = [ask(index, world) for world in asked]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda world: ask(index, world), asked))
    assert all(worlds.identical(a, b) for a, b in zip(serial, together, strict=True))


@implementations
def test_a_forked_process_answers_the_same(build: Build):
    world = large(latent, limit=20)
    index = built(build, world)
    here, there = multiprocessing.get_context("fork").Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=lambda: there.send(ask(index, world)))
    before = ask(index, world)
    child.start()
    assert here.poll(60), "the forked process does not answer"
    assert worlds.identical(before, here.recv())
    child.join()
