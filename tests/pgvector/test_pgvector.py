"""A real server keeps the contract of every index and gives the same answers as an embedded index."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

pytest.importorskip("psycopg", reason="psycopg is not installed: pip install ./packages/pgvector")

from multitudes.errors import DataError, UsageError
from multitudes_pgvector.config import PgvectorConfig
from multitudes_pgvector.index import PgvectorIndex, publish_table
from tests.index import worlds as contract
from tests.index.worlds import World

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("server")]

few = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
N, D = 4_000, 16


def scored(ids, vectors_nD, topics, queries=None) -> PgvectorIndex:
    """Build a table in which every item is scored."""
    config = PgvectorConfig(name="scored", timeout_s=60)
    return publish_table(ids, vectors_nD, config, topics=topics, queries=queries)


def graph(ids, vectors_nD, topics, queries=None) -> PgvectorIndex:
    """Build a table with a graph of few links, of any size."""
    config = PgvectorConfig(name="graph", timeout_s=60, graph_above=0, links=6, construction=64)
    return publish_table(ids, vectors_nD, config, topics=topics, queries=queries)


@pytest.mark.parametrize("build", [scored, graph])
@given(world=contract.worlds())
@few
def test_it_keeps_the_contract_on_small_worlds_of_any_kind(build: contract.Build, world: World):
    index = contract.changed(build)(world.ids, world.vectors_nD, world.topics())
    contract.check_contents(index, world)
    contract.check_answers(index, world)
    contract.check_ranking(index, world)
    contract.check_copies_tie(index, world)
    contract.check_alone_as_in_a_batch(index, world)
    index.discard()


def test_of_equal_scores_the_smaller_ids_win_however_many_there_are():
    ids = np.random.default_rng(0).permutation(600)
    vectors_nD = np.ones((600, 7), dtype=np.float32)
    vectors_nD[ids >= 500] = 2  # a hundred are better, then five hundred are equal
    index = scored(ids, vectors_nD, contract.csr([[1]] * 600))
    hits = index.search(np.ones((2, 7), np.float32), np.array([103, 4]), excluded=[np.arange(2), np.arange(500, 600)])
    assert hits.ids(0).tolist() == [*range(500, 600), 2, 3, 4]
    assert hits.ids(1).tolist() == [0, 1, 2, 3]


@pytest.fixture(scope="module")
def large() -> tuple[PgvectorIndex, World]:
    """Return a graph in which few candidates find too little, and its world; items of a factor model, some longer."""
    rng = np.random.default_rng(8)
    vectors_nD = contract.latent(rng, N, D) * rng.uniform(0.2, 2, (N, 1)).astype(np.float32)
    topics_n = [[t for t, share in ((1, 2), (2, 100)) if i % share == 0] for i in range(N)]
    world = contract.plain_world(vectors_nD, contract.latent(rng, 40, D), 30, topics_n)
    return graph(world.ids, vectors_nD, world.topics(), contract.latent(rng, 200, D)), world


def test_the_graph_reaches_the_recall_under_every_filter(large: tuple[PgvectorIndex, World]):
    index, world = large
    queries = len(world.query_QD)
    best = [np.array(world.ranking(q)) for q in range(queries)]
    deep = replace(world, limit_Q=np.full(queries, 300))
    assert contract.recall(index, world) >= 0.95
    assert contract.recall(index, deep) >= 0.95
    assert contract.recall(index, replace(world, excluded_Q=best)) >= 0.95
    for topic in (1, 2):
        assert contract.recall(index, replace(world, topic_Q=np.full(queries, topic))) == 1, "items are scored"
    least = tuple(level._replace(effort=1) for level in index.tuning.levels)
    careless = PgvectorIndex(index.config, index.name, index._identity, index.tuning._replace(levels=least))
    assert contract.recall(careless, world) < 0.95, "the control"


def test_an_exclusion_that_the_graph_does_not_get_past_is_searched_item_by_item(large: tuple[PgvectorIndex, World]):
    index, world = large
    rest = np.array(world.ranking(0)[:3])
    hits = index.search(world.query_QD[:1], 3, excluded=[np.setdiff1d(world.ids, rest)])
    assert hits.ids(0).tolist() == rest.tolist()


def test_threads_and_forked_processes_share_an_index(large: tuple[PgvectorIndex, World]):
    index, world = large
    alone = contract.ask(index, world)
    with ThreadPoolExecutor(4) as pool:
        for hits in pool.map(lambda _: contract.ask(index, world), range(12)):
            assert contract.identical(hits, alone)
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(
        target=lambda: there.send(contract.ask(index, world).id_QN.tolist())
    )
    child.start()
    assert here.poll(60), "no answer from the child"
    assert here.recv() == contract.ask(index, world).id_QN.tolist() == alone.id_QN.tolist()
    child.join()


def test_an_invalid_request_changes_nothing(large: tuple[PgvectorIndex, World]):
    index, world = large
    with pytest.raises(DataError, match="a query"):
        index.search(np.full((1, D), np.nan, np.float32), 1)
    with pytest.raises(UsageError, match=f"the index holds {D}"):
        index.search(np.ones((1, 2), np.float32), 1)
    with pytest.raises(DataError, match=f"have 2 dimensions; the index holds {D}"):
        index.add([1], np.ones((1, 2)))
    with pytest.raises(DataError, match="not finite"):
        index.add([1], np.full((1, D), np.inf))
    with pytest.raises(UsageError, match=f"id {N + 5} is not in the index. Nothing was removed"):
        index.remove([3, N + 5])
    with pytest.raises(UsageError, match=f"id {N + 5} is not in the index"):
        index.vectors(np.array([3, N + 5]))
    contract.check_contents(index, world)
