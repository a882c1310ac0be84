"""A collection serves only when complete; a failed publish changes nothing; a switch mixes no releases."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pymilvus", reason="pymilvus is not installed; run make test-milvus")
pytest.importorskip("milvus", reason="the package of the server is not installed; run make test-milvus")

from pymilvus import MilvusClient

from multitudes.errors import ArtefactError, DataError, UnavailableError
from multitudes.index.factory import load_index
from multitudes.index.protocol import Topics
from multitudes_milvus.collection import expire, serving_collection
from multitudes_milvus.config import MilvusConfig
from multitudes_milvus.connection import Connection
from multitudes_milvus.index import MilvusIndex
from multitudes_milvus.publishing import publish_collection
from tests.ports import free_port

N, D = 300, 8
SWITCHES = 100
RNG = np.random.default_rng(0)
VECTORS = RNG.standard_normal((N, D)).astype(np.float32)
TOPICS = Topics(np.arange(N + 1), RNG.integers(1, 4, N))
QUERIES = RNG.standard_normal((4, D)).astype(np.float32)
TOPIC_Q = np.array([0, 1, 2, 3])  # four topics: four calls for one answer


def published(config: MilvusConfig, first_id: int) -> MilvusIndex:
    return publish_collection(first_id + np.arange(N), VECTORS, config, topics=TOPICS)


def collections(config: MilvusConfig) -> set[str]:
    names = Connection(config).call("list", lambda client: client.list_collections())
    return {str(name) for name in names if str(name).startswith(f"{config.alias}_")}


def both(config: MilvusConfig) -> tuple[MilvusIndex, MilvusIndex]:
    """Publish two releases whose ids tell them apart, at the same time: most of it is waiting."""
    with ThreadPoolExecutor(2) as pool:
        old, new = pool.map(lambda first_id: published(config, first_id), (1, 10_001))
    return old, new


class Pair:
    """Two releases, whose ids tell them apart; the alias points to the first."""

    def __init__(self, uri: str) -> None:
        self.config = MilvusConfig(uri=uri, alias="pair", timeout_s=60)
        self.old, self.new = both(self.config)
        self.old.activate("0001")


@pytest.fixture(scope="module")
def pair(uri: str) -> Pair:
    return Pair(uri)


def release_of(ids: np.ndarray) -> set[bool]:
    """Return from which releases the ids are: one element, or two where they are mixed."""
    return set((ids > 10_000).ravel().tolist())


def through_alias(pair: Pair, expression: str = "") -> set[bool]:
    """Ask once through the alias, as other programs do."""
    answers = pair.old.connection.call(
        "search the alias",
        lambda client: client.search(
            pair.config.alias,
            data=list(np.pad(QUERIES, ((0, 0), (0, 1)))),
            filter=expression,
            limit=20,
            anns_field="vector",
            search_params={"metric_type": "IP"},
        ),
    )
    return release_of(np.array([hit["id"] for answer in answers for hit in answer]))


def test_a_hundred_switches_under_load_mix_nothing_and_fail_nothing(pair: Pair):
    by_name = {pair.old.name: pair.old, pair.new.name: pair.new}
    over = threading.Event()
    mixed: list[set[bool]] = []
    seen: list[set[bool]] = []
    failed: list[UnavailableError] = []

    def read(once) -> None:
        while not over.is_set():
            try:
                found = once()
            except UnavailableError as error:
                failed.append(error)
                continue
            (mixed if len(found) > 1 else seen).append(found)

    def named() -> set[bool]:
        index = by_name[serving_collection(pair.old.connection) or ""]
        return release_of(index.search(QUERIES, 20, topic_Q=TOPIC_Q).id_QN)

    readers = [threading.Thread(target=read, args=(once,)) for once in (named, lambda: through_alias(pair))]
    for reader in readers:
        reader.start()
    for turn in range(SWITCHES):
        (pair.old if turn % 2 else pair.new).activate("0001")
    over.set()
    for reader in readers:
        reader.join()
    assert not mixed
    assert not failed
    assert {True} in seen
    assert {False} in seen, "both releases were read"


def test_two_questions_through_the_alias_can_mix_releases(pair: Pair):
    """The control: what binding to the collection's own name prevents."""
    pair.old.activate("0001")
    while through_alias(pair) != {False}:
        pass
    first = through_alias(pair, "array_contains(topics, 1)")
    pair.new.activate("0001")
    while through_alias(pair) != {True}:
        pass
    second = through_alias(pair, "array_contains(topics, 2)")
    assert first | second == {True, False}
    bound = pair.old.search(QUERIES, 20, topic_Q=TOPIC_Q)
    assert release_of(bound.id_QN) == {False}, "an open release is not moved by the alias"


def test_a_failed_publish_leaves_the_alias_and_no_collection(pair: Pair):
    pair.new.activate("0001")
    before = collections(pair.config)

    def stumbles(done: int, total: int, note: str = "") -> None:
        if note == "indexing":
            assert collections(pair.config) > before, "control: it had begun"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish_collection(np.arange(N), VECTORS, pair.config, progress=stumbles)
    assert collections(pair.config) == before
    assert serving_collection(pair.old.connection) == pair.new.name


KILLED = """
import os, signal, sys
import numpy as np
from multitudes_milvus.config import MilvusConfig
from multitudes_milvus.publishing import publish_collection

def dies(done, total, note=""):
    if note == "indexing":
        os.kill(os.getpid(), signal.SIGKILL)

config = MilvusConfig(uri=sys.argv[1], alias=sys.argv[2], timeout_s=60)
publish_collection(np.arange(300), np.eye(300), config, progress=dies)
"""


def test_the_leftovers_of_a_killed_publish_are_dropped_later_and_the_serving_collection_is_not(pair: Pair):
    pair.new.activate("0001")
    before = collections(pair.config)
    killed = subprocess.run([sys.executable, "-c", KILLED, pair.config.uri, pair.config.alias], check=False)
    assert killed.returncode == -9
    left = collections(pair.config) - before
    assert len(left) == 1
    assert serving_collection(pair.old.connection) == pair.new.name
    assert expire(pair.old.connection) == [], "young: somebody may be building it"
    impatient = pair.config.model_copy(update={"grace_s": 0.0, "kept": 2})
    assert expire(Connection(impatient)) == [], "two older ones are kept: that one, and the first release"
    impatient = pair.config.model_copy(update={"grace_s": 0.0, "kept": 0})
    expire(Connection(impatient))
    assert collections(pair.config) == {pair.new.name}
    pair.new.discard()
    assert through_alias(pair) == {True}, "a collection that serves is not dropped"


def test_a_server_without_anything_is_published_to_and_one_that_is_down_is_not(uri: str):
    config = MilvusConfig(uri=uri, alias="fresh", timeout_s=60)
    assert serving_collection(Connection(config)) is None
    made = published(config, 1)
    assert serving_collection(Connection(config)) is None, "nothing serves before it is activated"
    made.activate("0001")
    assert serving_collection(Connection(config)) == made.name
    with pytest.raises(UnavailableError, match="cannot be reached"):
        published(MilvusConfig(uri=f"http://127.0.0.1:{free_port()}", timeout_s=60), 1)


def test_a_build_that_takes_too_long_ends_in_time(uri: str):
    config = MilvusConfig(uri=uri, alias="hasty", timeout_s=60, publish_timeout_s=0.5)
    # The server knows the deadline: shortly before it, it may give up and say what it was waiting for.
    with pytest.raises(UnavailableError, match=r"no answer within 0\.5 s|see the log of the server"):
        published(config, 1)
    assert collections(config) == set()


def test_a_release_opens_its_own_collection_and_no_other(uri: str, tmp_path: Path):
    config = MilvusConfig(uri=uri, alias="own", timeout_s=60)
    made, other = both(config)
    made.save(tmp_path)
    assert load_index(tmp_path).ids()[0] == 1
    for old, new in ((made.name, "own_elsewhere"), (other.name, made.name)):
        made.connection.call("rename", partial(MilvusClient.rename_collection, old_name=old, new_name=new))
    with pytest.raises(ArtefactError, match=f"collection {made.name} is not the one"):
        load_index(tmp_path)


def test_more_topics_than_the_server_takes_are_rejected():
    crowded = Topics(np.array([0, 5_000]), np.arange(1, 5_001))
    with pytest.raises(DataError, match="an item has 5000 topics; Milvus accepts up to 4096"):
        publish_collection([1], np.ones((1, 2)), MilvusConfig(), topics=crowded)
