"""A real server keeps the contract of every index and gives the same answers as an embedded index."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

pytest.importorskip("pymilvus", reason="pymilvus is not installed; run make test-milvus")
pytest.importorskip("milvus", reason="the package of the server is not installed; run make test-milvus")

from multitudes.errors import DataError, UsageError
from multitudes.index.exact import ExactIndex
from multitudes.index.protocol import Hits
from multitudes_milvus.config import MilvusConfig
from multitudes_milvus.connection import Connection
from multitudes_milvus.index import MilvusIndex
from multitudes_milvus.publishing import publish_collection
from multitudes_milvus.search import SearchParameters, TopicParameters
from tests.index import worlds as contract
from tests.index.worlds import World

pytestmark = pytest.mark.contract


WIDTHS = (1, 7, 512)  # of the worlds that are drawn, some: each has a collection, which takes seconds to load


class Collections:
    """One collection for each width, emptied and filled again for each world."""

    def __init__(self, uri: str) -> None:
        config = MilvusConfig(uri=uri, alias="contract", timeout_s=60)
        self._of = {width: publish_collection([0], np.ones((1, width)), config) for width in WIDTHS}

    def build(self, ids, vectors_nD, topics) -> MilvusIndex:
        index = self._of[vectors_nD.shape[1]]
        index.remove(index.ids())
        index.add(ids, vectors_nD, topics)
        return index

    def close(self) -> None:
        for index in self._of.values():
            index.discard()


@pytest.fixture(scope="module")
def collections(uri: str) -> Iterator[Collections]:
    made = Collections(uri)
    yield made
    made.close()


few = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@given(world=contract.worlds().filter(lambda world: world.vectors_nD.shape[1] in WIDTHS))
@few
def test_it_keeps_the_contract_on_small_worlds_of_any_kind(collections: Collections, world: World):
    index = contract.changed(collections.build)(world.ids, world.vectors_nD, world.topics())
    contract.check_contents(index, world)
    contract.check_answers(index, world)
    contract.check_ranking(index, world)
    contract.check_alone_as_in_a_batch(index, world)


def test_of_equal_scores_the_smaller_ids_win_however_many_there_are(collections: Collections):
    ids = np.random.default_rng(0).permutation(600)
    vectors_nD = np.ones((600, 7), dtype=np.float32)
    vectors_nD[ids >= 500] = 2  # a hundred are better, then five hundred are equal
    index = collections.build(ids, vectors_nD, contract.csr([[1]] * 600))
    hits = index.search(np.ones((2, 7), np.float32), np.array([103, 4]), excluded=[np.arange(2), np.arange(500, 600)])
    assert hits.ids(0).tolist() == [*range(500, 600), 2, 3, 4]
    assert hits.ids(1).tolist() == [0, 1, 2, 3]


# A corpus of some size: the server builds its graph, which is approximate, and weak on purpose.

N, D = 12_000, 32
SHARES = (0.01, 0.12, 0.3, 0.7)  # of the items, by topic: scanned; in pieces; by the graph with more candidates


class Large(NamedTuple):
    """A corpus without clusters on the server, the same searched exactly, and users."""

    milvus: MilvusIndex
    exact: ExactIndex
    query_QD: np.ndarray


@pytest.fixture(scope="module")
def large(uri: str) -> Iterator[Large]:
    rng = np.random.default_rng(5)
    vectors_nD, query_QD = contract.latent(rng, N, D), contract.latent(rng, 200, D)
    member_nT = rng.random((N, len(SHARES))) < SHARES
    topics = contract.csr([(np.flatnonzero(row) + 1).tolist() for row in member_nT])
    config = MilvusConfig(uri=uri, alias="large", timeout_s=60, links=8, construction=40)
    made = publish_collection(np.arange(N), vectors_nD, config, topics=topics, queries=query_QD[:100])
    yield Large(made, ExactIndex.build(np.arange(N), vectors_nD, topics), query_QD[100:106])
    made.discard()


class Question(NamedTuple):
    """What every user asks."""

    limit: int = 100
    topic: int = 0
    excluded: list[np.ndarray] | None = None

    def asked_of(self, index: MilvusIndex | ExactIndex, query_QD: np.ndarray) -> Hits:
        topic_Q = np.full(len(query_QD), self.topic)
        return index.search(query_QD, self.limit, excluded=self.excluded, topic_Q=topic_Q)


def recall(large: Large, index: MilvusIndex, question: Question) -> float:
    found, wanted = (question.asked_of(each, large.query_QD) for each in (index, large.exact))
    assert found.count_Q.tolist() == wanted.count_Q.tolist(), "never short"
    shared = [np.isin(wanted.ids(q), found.ids(q)).mean() for q in range(len(large.query_QD))]
    return float(np.mean(shared))


def questions(large: Large) -> dict[str, Question]:
    best = large.exact.search(large.query_QD, 1_000)
    own_best = [best.ids(q) for q in range(len(large.query_QD))]
    return {
        "plain": Question(),
        "deep": Question(limit=700),
        **{f"topic {t}": Question(topic=t) for t in range(1, len(SHARES) + 1)},
        "its 1,000 best are excluded": Question(excluded=own_best),
        "excluded within a topic": Question(topic=3, excluded=own_best),
    }


def test_the_promised_recall_holds_under_every_filter(large: Large):
    for name, question in questions(large).items():
        assert recall(large, large.milvus, question) >= 0.95, name
    # The control: as few candidates as there may be, and topics searched as everything is.
    least = large.milvus._parameters.tuning.levels[0]._replace(effort=1, depth=2**62)
    careless = SearchParameters(large.milvus._parameters.tuning._replace(levels=(least,)), {})
    weak = MilvusIndex(large.milvus.connection, large.milvus.name, large.milvus._identity, careless)
    assert recall(large, weak, Question()) < 0.95
    assert recall(large, weak, Question(topic=4)) < 0.95
    assert recall(large, weak, Question(topic=1)) == 1, "the server scans what is rare"


def test_a_topic_in_pieces_is_searched_exactly(large: Large):
    milvus = large.milvus
    assert milvus._parameters.topics, "some topic needs more than a search of everything does"
    assert 1 not in milvus._parameters.topics, "not the rare one"
    in_pieces = SearchParameters(milvus._parameters.tuning, {3: TopicParameters(pieces=7, more=0)})
    index = MilvusIndex(milvus.connection, milvus.name, milvus._identity, in_pieces)
    for question in (Question(topic=3), Question(topic=3, limit=900)):
        assert recall(large, index, question) == 1


def test_a_batch_of_the_graph_answers_as_its_queries_one_by_one(large: Large):
    limits = np.array([3, 90, 10, 200, 1, 0])
    together = large.milvus.search(large.query_QD, limits)
    for q, limit in enumerate(limits.tolist()):
        alone = large.milvus.search(large.query_QD[q : q + 1], limit)
        assert alone.ids(0).tolist() == together.ids(q).tolist()


def test_a_request_of_plain_vectors_is_one_call(large: Large, monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []
    ask = Connection.call

    def counted(self: Connection, what: str, request: Callable[[Any], Any], retry: bool = True) -> Any:
        calls.append(what)
        return ask(self, what, request, retry=retry)

    monkeypatch.setattr(Connection, "call", counted)
    large.milvus.search(large.query_QD, np.arange(6), excluded=[np.arange(9)] * 6)
    assert calls == ["search with 6 vectors"]


def test_threads_share_an_index(large: Large):
    alone = large.milvus.search(large.query_QD, 50)
    with ThreadPoolExecutor(4) as pool:
        for hits in pool.map(lambda _: large.milvus.search(large.query_QD, 50), range(12)):
            assert contract.identical(hits, alone)


def test_a_forked_process_opens_a_connection_of_its_own(large: Large):
    def best() -> list[list[int]]:
        ids: list[list[int]] = large.milvus.search(large.query_QD, 5).id_QN.tolist()
        return ids

    before = best()
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=lambda: there.send(best()))
    child.start()
    assert here.poll(60), "no answer from the child"
    assert here.recv() == best() == before
    child.join()


def test_an_invalid_request_is_rejected_before_it_is_sent(large: Large, monkeypatch: pytest.MonkeyPatch):
    index, query_QD = large.milvus, large.query_QD
    monkeypatch.setattr(Connection, "_open_client", None)  # nothing can be sent
    with pytest.raises(DataError, match="a query"):
        index.search(np.full((1, D), np.nan, np.float32), 1)
    with pytest.raises(UsageError, match=f"the index holds {D}"):
        index.search(np.ones((1, 2), np.float32), 1)
    with pytest.raises(DataError, match="not finite"):
        index.add([1], np.full((1, D), np.inf))
    with pytest.raises(DataError, match=f"have 2 dimensions; the index holds {D}"):
        index.add([1], np.ones((1, 2)))
    with pytest.raises(DataError, match="an item has 65 topics; this collection accepts up to 64"):
        index.add([1], np.ones((1, D)), contract.csr([list(range(1, 66))]))
    with pytest.raises(TypeError):
        index.search(query_QD, 1)  # the control: this one would have been sent


def test_a_limit_above_the_servers_maximum_is_rejected(large: Large):
    assert large.milvus.search(large.query_QD[:1], 20_000).count_Q.tolist() == [N], "there are fewer than its limit"


def test_an_unknown_id_is_not_removed_nor_anything_with_it(large: Large):
    with pytest.raises(UsageError, match=f"id {N + 5} is not in the index of {N} items. Nothing was removed"):
        large.milvus.remove([3, N + 5])
    assert len(large.milvus) == N
