"""The contract of every index, kept by a real server, and the same answers as the embedded one."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

pytest.importorskip("pymilvus", reason="pymilvus is not installed; run make test-milvus")
pytest.importorskip("milvus", reason="the package of the server is not installed; run make test-milvus")

from multitudes.index.milvus.config import MilvusConfig
from multitudes.index.milvus.milvus import Milvus
from multitudes.index.milvus.publish import discard, publish_collection
from tests.index import worlds as contract
from tests.index.worlds import World

pytestmark = pytest.mark.contract


class Collections:
    """One collection for each width, emptied and filled again for each world: a new one takes seconds to load."""

    def __init__(self, uri: str) -> None:
        self.config = MilvusConfig(uri=uri, alias="contract", timeout_s=20)
        self._of: dict[int, Milvus] = {}

    def build(self, ids, vectors_nD, topics) -> Milvus:
        dimension = vectors_nD.shape[1]
        if dimension not in self._of:
            self._of[dimension] = publish_collection([0], np.ones((1, dimension)), self.config)
        index = self._of[dimension]
        index.remove(index.ids())
        index.add(ids, vectors_nD, topics)
        return index

    def close(self) -> None:
        for index in self._of.values():
            discard(index.connection, index.name)


@pytest.fixture(scope="module")
def collections(uri: str) -> Iterator[Collections]:
    made = Collections(uri)
    yield made
    made.close()


few = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@given(world=contract.worlds())
@few
def test_it_keeps_the_contract_on_small_worlds_of_any_kind(collections: Collections, world: World):
    index = contract.changed(collections.build)(world.ids, world.vectors_nD, world.topics())
    contract.check_contents(index, world)
    contract.check_answers(index, world)
    contract.check_ranking(index, world)
    contract.check_alone_as_in_a_batch(index, world)
    contract.check_log_sums(index, world)
