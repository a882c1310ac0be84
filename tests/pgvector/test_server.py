"""The server is down, hangs, restarts or rejects; a publish fails: one line, and the old table serves."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: pip install ./packages/pgvector")

from multitudes.errors import ArtefactError, UnavailableError, UsageError
from multitudes.index.factory import IndexConfig, load_index
from multitudes.index.files import DESCRIPTION
from multitudes.pinnersage.clustering import PinnerSageConfig
from multitudes.pinnersage.run import PinnerSageRun
from multitudes.publishing.publish import publish
from multitudes.release.release import Release
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.rollback import list_releases, rollback
from multitudes.training.runs import make_pinnersage_run
from multitudes_pgvector.config import PgvectorConfig
from multitudes_pgvector.index import Pgvector, PgvectorIndex, publish_table
from tests.pgvector.server import PASSWORD, Server
from tests.worlds import planted

pytestmark = pytest.mark.usefixtures("server")

VECTORS = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)  # each is its own best item


def published(name: str, first_id: int = 0, **settings: object) -> PgvectorIndex:
    config, ids = PgvectorConfig(name=name, **{"timeout_s": 60, **settings}), np.arange(200) + first_id
    names = pl.DataFrame({"item_id": ids, "title": [f"Film {i}" for i in ids]})
    return publish_table(ids, VECTORS, config, names=names)


def execute(statement: str) -> list[tuple[object, ...]]:
    """Execute a statement as another program does."""
    with psycopg.connect("", autocommit=True) as connection:
        cursor = connection.execute(statement)
        return list(cursor) if cursor.description else []


def tables(name: str) -> set[str]:
    return {
        str(row[0]) for row in execute(f"SELECT relname FROM pg_class WHERE relname ~ '^{name}_' AND relkind = 'r'")
    }


def best(index: PgvectorIndex) -> list[int]:
    return [int(i) for i in index.search(VECTORS[:3], 1).id_QN[:, 0]]


def refused(index: PgvectorIndex, message: str) -> str:
    """Search, expect one line, and return it."""
    with pytest.raises(UnavailableError, match=message) as caught:
        best(index)
    said = str(caught.value)
    assert said.startswith("PostgreSQL: search with 3 vectors: ")
    assert "\n" not in said
    assert PASSWORD not in said
    return said


def test_a_server_that_is_down_and_comes_back(server: Server):
    index = published("down")
    assert best(index) == [0, 1, 2]
    server.stop()
    try:
        refused(index, "start the server, or correct PGHOST")
        with pytest.raises(UnavailableError, match=r"make a table: failed: .*start the server"):
            published("down")
    finally:
        server.start()
    assert best(index) == [0, 1, 2], "the same object connects again"
    execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'multitudes'")
    assert best(index) == [0, 1, 2], "a connection that broke is opened once more"


def test_a_server_that_hangs():
    index = published("hangs")
    assert best(index) == [0, 1, 2]
    pid = index.connection.call("ask", lambda session: session.info.backend_pid)
    index.connection.timeout_s = 0.5
    os.kill(pid, signal.SIGSTOP)
    try:
        refused(index, r"no answer within 0\.5 s")
    finally:
        os.kill(pid, signal.SIGCONT)
    index.connection.timeout_s = 60
    assert best(index) == [0, 1, 2]
    with psycopg.connect("") as other:
        other.execute(f"LOCK TABLE {index.name}")
        index.connection.timeout_s = 0.5
        refused(index, r"no answer within 0\.5 s")


def test_a_wrong_password_is_reported_and_not_shown(monkeypatch: pytest.MonkeyPatch):
    index = PgvectorIndex(
        published("password").config, "any", published("password")._identity, published("password").tuning
    )
    monkeypatch.setenv("PGPASSWORD", f"{PASSWORD}!")
    refused(index, "password authentication failed")


def test_a_release_opens_its_own_table_and_no_other(tmp_path: Path):
    made = published("own")
    made.save(tmp_path)
    assert "127.0.0.1" not in (tmp_path / DESCRIPTION).read_text(), "a release names no server"
    opened = load_index(tmp_path)
    assert isinstance(opened, PgvectorIndex)
    assert best(opened) == [0, 1, 2]
    assert opened.info() == made.info()
    execute(f"COMMENT ON TABLE {made.name} IS 'another'")
    with pytest.raises(ArtefactError, match=f"table {made.name} is not the one"):
        load_index(tmp_path)
    execute(f"DROP TABLE {made.name}")
    with pytest.raises(ArtefactError, match=f"table {made.name} is gone"):
        load_index(tmp_path)
    refused(opened, "the table is gone; publish again")


def test_a_description_that_names_a_foreign_table_is_rejected(tmp_path: Path):
    made = published("strange")
    made.name = "pg_class; DROP TABLE users"
    with pytest.raises(UnavailableError):
        made.save(tmp_path)
    made.__class__ = type("Strange", (PgvectorIndex,), {"__len__": lambda _: 200})
    made.save(tmp_path)
    with pytest.raises(ArtefactError, match="damaged"):
        load_index(tmp_path)


KILLED = """
import os, signal
import numpy as np
from multitudes_pgvector.config import PgvectorConfig
from multitudes_pgvector.index import publish_table

def dies(done, total, note=""):
    if note == "indexing":
        os.kill(os.getpid(), signal.SIGKILL)

publish_table(np.arange(300), np.eye(300), PgvectorConfig(name="killed"), progress=dies)
"""


def test_a_publish_that_fails_or_is_killed_leaves_nothing():
    def stumbles(done: int, total: int, note: str = "") -> None:
        if note == "indexing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish_table(np.arange(200), VECTORS, PgvectorConfig(name="stumbles"), progress=stumbles)
    assert subprocess.run([sys.executable, "-c", KILLED], check=False).returncode == -9
    assert tables("stumbles") == tables("killed") == set()
    assert len(tables(published("stumbles").config.name)) == 1, "control: one that ends leaves its table"


def test_the_view_shows_the_last_table_and_older_ones_go():
    first, second = published("view", kept=1, grace_s=0), published("view", 1_000, kept=1, grace_s=0)
    first.activate("0001")
    assert execute("SELECT min(item_id) FROM view") == [(0,)]
    second.activate("0001")
    assert execute("SELECT min(item_id) FROM view") == [(1_000,)]
    assert tables("view") == {first.name, second.name}, "one older table stays"
    published("view", 2_000, kept=1, grace_s=3600).activate("0001")
    assert len(tables("view")) == 3, "young ones stay"
    third = published("view", 3_000, kept=0, grace_s=0)
    third.activate("0001")
    assert tables("view") == {third.name}
    third.discard()
    assert execute("SELECT min(item_id) FROM view") == [(3_000,)], "what the view shows is not dropped"


def test_what_others_have_on_the_view_stays_and_their_own_view_is_not_replaced():
    config, ids = PgvectorConfig(name="shop", timeout_s=60, kept=0, grace_s=0), np.arange(200)
    publish_table(ids, VECTORS, config).activate("0001")
    execute("CREATE ROLE analyst")
    execute("GRANT SELECT ON shop TO analyst")
    execute("CREATE VIEW in_stock AS SELECT item_id FROM shop")
    (old,) = tables("shop")
    execute(f"CREATE VIEW by_hand AS SELECT id FROM {old}")
    publish_table(ids, VECTORS[:, :4], config).activate("0002")
    assert execute("SELECT vector_dims(vector) FROM shop LIMIT 1") == [(5,)], "the new table, of another width"
    assert execute("SELECT has_table_privilege('analyst', 'shop', 'SELECT')") == [(True,)]
    assert len(execute("SELECT * FROM in_stock")) == len(execute("SELECT * FROM by_hand")) == 200
    execute("CREATE VIEW theirs AS SELECT 1 AS one")
    with pytest.raises(UsageError, match=r"theirs is there, and no publish made it; give another name"):
        Pgvector.check(PgvectorConfig(name="theirs"))
    with pytest.raises(UsageError, match=r"theirs is there, and no publish made it; give another name"):
        published("theirs")
    assert tables("theirs") == set()
    Pgvector.check(config)


def test_a_search_through_the_view_uses_the_graph(monkeypatch):
    published("graph", graph_above=100).activate("0001")
    monkeypatch.setenv("PGOPTIONS", "-c enable_seqscan=off")  # as where there are many items
    query = f"SELECT item_id FROM graph ORDER BY vector <#> '{[*VECTORS[3].tolist(), 0]}' LIMIT 1"
    plan = execute(f"EXPLAIN {query}")
    assert any("vector_idx" in str(row) for row in plan), plan


def test_the_view_has_the_ids_and_titles_of_the_release_also_of_later_items():
    config, ids = PgvectorConfig(name="names", timeout_s=60), np.arange(200)[::-1]
    names = pl.DataFrame({"item_id": [f"i{n}" for n in ids], "title": [f"Film\0 {n}" if n else None for n in ids]})
    index = publish_table(ids, VECTORS[ids], config, names=names)
    index.activate("0007")
    assert execute("SELECT obj_description('names'::regclass)") == [("multitudes, release 0007",)]
    query = f"SELECT item_id, title FROM names ORDER BY vector <#> '{[*VECTORS[3].tolist(), 0]}' LIMIT 1"
    assert execute(query) == [("i3", "Film 3")]
    index.add([200, 3], VECTORS[[7, 3]], names=pl.DataFrame({"item_id": ["new", "i3"], "title": [None, "Third"]}))
    rows = execute("SELECT item_id, title FROM names WHERE item_id IN ('i0', 'i3', 'new') ORDER BY item_id")
    assert rows == [("i0", None), ("i3", "Third"), ("new", None)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> PinnerSageRun:
    settings = PinnerSageConfig(history=12, interests=3)
    return make_pinnersage_run(planted(embedding_width=8)[1], tmp_path_factory.mktemp("run") / "run", settings)


def items(root: Path) -> list[list[object]]:
    return [[one.item_id for one in answer.candidates] for answer in Retriever.open(root).recommend_all(n=8)]


def test_a_release_recommends_what_an_embedded_index_does_and_a_failed_one_leaves_it(run, tmp_path, monkeypatch):
    config = IndexConfig(kind="pgvector", options={"name": "release", "timeout_s": 60})
    root = tmp_path / "remote"
    publish(run.path, root, index=config)
    publish(run.path, tmp_path / "embedded", index=IndexConfig(kind="exact"))
    served = items(root)
    assert served == items(tmp_path / "embedded")
    assert len({tuple(row) for row in served}) > len(served) / 2, "control: users get lists of their own"
    before = tables("release")

    def full(store: ReleaseStore, stage: Path) -> str:
        assert len(tables("release")) == 2, "control: its table was there"
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(ReleaseStore, "commit", full)
        with pytest.raises(OSError, match="no space left"):
            publish(run.path, root, index=config)
    with monkeypatch.context() as patch:
        patch.setenv("PGPORT", "1")
        patch.setattr(PinnerSageRun, "user_vectors", None)  # nothing is computed before
        with pytest.raises(UnavailableError, match=r"look for the view: failed: .*start the server, or correct PGHOST"):
            publish(run.path, root, index=config)
    assert tables("release") == before
    assert items(root) == served
    publish(run.path, root, index=config)
    new = Release.open(root).index
    assert isinstance(new, PgvectorIndex)
    assert {new.name} | before == tables("release")
    assert execute("SELECT count(item_id) FROM release") == [(len(new),)]
    rollback(root)
    assert execute("SELECT obj_description('release'::regclass)") == [("multitudes, release 0001",)]
    execute(f"DROP TABLE {new.name}")
    assert [("problem" in row, "not_asked" in row) for row in list_releases(root)[2]] == [(False, False), (True, False)]
    with pytest.raises(ArtefactError, match=rf"table {new.name} is gone; .*\. Version 0001 still serves"):
        rollback(root, "0002")
    assert items(root) == served
    monkeypatch.setenv("PGPORT", "1")
    assert [("problem" in row, "not_asked" in row) for row in list_releases(root)[2]] == [(False, True), (False, True)]
    with pytest.raises(UnavailableError, match="Version 0001 still serves"):
        rollback(root, "0002")
