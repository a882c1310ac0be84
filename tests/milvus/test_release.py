"""A release whose index is on a server is published, served and discarded like an embedded one."""

from pathlib import Path

import pytest

pytest.importorskip("pymilvus", reason="pymilvus is not installed; run make test-milvus")
pytest.importorskip("milvus", reason="the package of the server is not installed; run make test-milvus")

from multitudes.cli import publish as rollback
from multitudes.errors import ArtefactError, UnavailableError
from multitudes.index.factory import IndexConfig
from multitudes.pinnersage.clustering import PinnerSageConfig
from multitudes.pinnersage.run import PinnerSageRun
from multitudes.publishing.publish import publish
from multitudes.release.release import Release
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.rollback import list_releases
from multitudes.training.runs import make_pinnersage_run
from multitudes_milvus.collection import serving_collection
from multitudes_milvus.config import MilvusConfig
from multitudes_milvus.connection import Connection
from multitudes_milvus.index import MilvusIndex
from tests.ports import free_port
from tests.worlds import planted


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> PinnerSageRun:
    settings = PinnerSageConfig(history=12, interests=3)
    return make_pinnersage_run(planted(embedding_width=8)[1], tmp_path_factory.mktemp("run") / "run", settings)


@pytest.fixture(scope="module")
def config(uri: str) -> IndexConfig:
    return IndexConfig(kind="milvus", options={"uri": uri, "alias": "release", "timeout_s": 60})


@pytest.fixture(scope="module")
def releases(run: PinnerSageRun, config: IndexConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("remote")
    publish(run.path, root, index=config)
    return root


def held(connection: Connection) -> set[str]:
    return set(connection.call("list", lambda client: client.list_collections()))


def test_it_recommends_what_an_embedded_index_does(run: PinnerSageRun, releases: Path, tmp_path: Path):
    publish(run.path, tmp_path, index=IndexConfig(kind="exact"))
    remote, embedded = (list(Retriever.open(root).recommend_all(n=8)) for root in (releases, tmp_path))
    items = [[candidate.item_id for candidate in answer.candidates] for answer in remote]
    assert items == [[candidate.item_id for candidate in answer.candidates] for answer in embedded]
    assert len({tuple(row) for row in items}) > len(items) / 2, "control: users get lists of their own"


def test_the_alias_follows_the_release_and_a_failed_one_leaves_nothing(run, releases, config, monkeypatch):
    serving = Release.open(releases).index
    assert isinstance(serving, MilvusIndex)
    connection = Connection(MilvusConfig(**config.options))
    assert serving_collection(connection) == serving.name
    before = held(connection)

    def full(store: ReleaseStore, stage: Path) -> str:
        assert len(held(connection)) == len(before) + 1, "control: its collection was there"
        raise OSError("no space left")

    monkeypatch.setattr(ReleaseStore, "commit", full)
    with pytest.raises(OSError, match="no space left"):
        publish(run.path, releases, index=config)
    assert held(connection) == before
    assert serving_collection(connection) == serving.name
    down = config.model_copy(update={"options": config.options | {"uri": f"http://127.0.0.1:{free_port()}"}})
    monkeypatch.setattr(PinnerSageRun, "user_vectors", None)  # nothing is computed before
    with pytest.raises(UnavailableError, match="look for the alias: cannot be reached; start the server"):
        publish(run.path, releases, index=down)
    monkeypatch.undo()
    monkeypatch.setenv("MILVUS_TOKEN", "root:Milvus")
    publish(run.path, releases, index=config)
    new = Release.open(releases).index
    assert isinstance(new, MilvusIndex)
    assert serving_collection(connection) == new.name != serving.name
    rollback.rollback_command(releases)
    assert serving_collection(connection) == serving.name
    connection.call("drop", lambda client: client.drop_collection(new.name))
    assert ["problem" in row for row in list_releases(releases)[2]] == [False, True]
    with pytest.raises(ArtefactError, match=rf"collection {new.name} is gone; .*\. Version 0001 still serves"):
        rollback.rollback_command(releases, "0002")
