"""The server is down, hangs, restarts or rejects: one error line within the timeout."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pymilvus", reason="pymilvus is not installed; run make test-milvus")
pytest.importorskip("milvus", reason="the package of the server is not installed; run make test-milvus")

from multitudes.errors import ArtefactError, UnavailableError
from multitudes.index.factory import load_index
from multitudes.index.protocol import Index
from multitudes_milvus.config import MilvusConfig
from multitudes_milvus.index import MilvusIndex
from multitudes_milvus.publishing import publish_collection
from tests.milvus.server import Server
from tests.ports import free_port

VECTORS = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)  # each is its own best item
QUERIES = VECTORS[:3]
PATIENCE_S = 240  # only so that a test that would hang fails


@pytest.fixture(scope="module")
def folder(uri: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where a released collection is described."""
    made = publish_collection(np.arange(200), VECTORS, MilvusConfig(uri=uri, alias="faults", timeout_s=60))
    folder = tmp_path_factory.mktemp("release")
    made.save(folder)
    return folder


def opened(folder: Path, **changes: object) -> MilvusIndex:
    """Open the collection, with other settings than it was published with."""
    index = load_index(folder)
    assert isinstance(index, MilvusIndex)
    config = index.connection.config.model_copy(update=changes)
    return MilvusIndex(type(index.connection)(config), index.name, index._identity, index._parameters)


def best(index: Index) -> list[int]:
    return [int(i) for i in index.search(QUERIES, 1).id_QN[:, 0]]


def refused(index: MilvusIndex, message: str) -> str:
    """Search, expect one line that names the server, and return it."""
    with ThreadPoolExecutor(1) as pool, pytest.raises(UnavailableError, match=message) as caught:
        pool.submit(best, index).result(PATIENCE_S)
    said = str(caught.value)
    assert said.startswith(f"{index.connection.config.uri}: search with 3 vectors: ")
    assert "\n" not in said
    assert caught.value.exit_code == 6
    return said


def test_a_server_that_is_down(folder: Path):
    assert best(opened(folder)) == [0, 1, 2], "control: with the right address it answers"
    refused(opened(folder, uri=f"http://127.0.0.1:{free_port()}"), "cannot be reached")


def test_a_server_that_hangs(folder: Path, server: Server):
    index = opened(folder)
    assert best(index) == [0, 1, 2]
    index.connection.timeout_s = 0.5  # only now, as a busy machine answers late
    server.pause()
    try:
        refused(index, r"search with 3 vectors: no answer within 0\.5 s")
    finally:
        server.resume()
    assert best(opened(folder)) == [0, 1, 2]


def test_a_wrong_password_is_reported_and_not_shown(folder: Path, monkeypatch: pytest.MonkeyPatch):
    index = opened(folder)
    monkeypatch.setenv("MILVUS_TOKEN", "root:sesame")
    assert "sesame" not in refused(index, r"the token in \$MILVUS_TOKEN is wrong")
    monkeypatch.delenv("MILVUS_TOKEN")
    refused(index, r"the token in \$MILVUS_TOKEN is wrong, missing")
    with pytest.raises(UnavailableError, match="MILVUS_TOKEN"):
        load_index(folder)


def test_a_collection_that_is_not_loaded(folder: Path):
    index = opened(folder)
    index.connection.call("release", lambda client: client.release_collection(index.name))
    refused(index, "the collection is not loaded")
    index.connection.call("load", lambda client: client.load_collection(index.name))
    assert best(index) == [0, 1, 2]


def test_a_collection_that_is_gone(uri: str, tmp_path: Path):
    made = publish_collection(np.arange(200), VECTORS, MilvusConfig(uri=uri, alias="gone", timeout_s=60))
    made.save(tmp_path)
    assert best(load_index(tmp_path)) == [0, 1, 2]
    made.connection.call("drop", lambda client: client.drop_collection(made.name))
    refused(made, "the collection is gone; publish again")
    with pytest.raises(ArtefactError, match="is gone; publish again"):
        load_index(tmp_path)


def test_a_server_that_restarts(folder: Path, server: Server):
    index = opened(folder)
    assert best(index) == [0, 1, 2]
    server.kill()
    refused(index, "cannot be reached")
    server.start()
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        try:
            assert best(index) == [0, 1, 2]
            return
        except UnavailableError:  # it loads its collections again
            time.sleep(0.2)
    pytest.fail("the connection did not come back")
