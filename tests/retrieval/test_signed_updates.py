"""Item updates where keys are trusted: what a trusted key signed is served; nothing else is taken over or signed."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from multitudes.cli.main import run
from multitudes.errors import ArtefactError, UsageError
from multitudes.release import delta_log
from multitudes.release.delta_log import Delta
from multitudes.release.release import Release
from multitudes.release.signature import make_key_pair, read_private_key, sign_release
from multitudes.release.store import ReleaseStore
from multitudes.retrieval import retriever as retrieving
from multitudes.retrieval.inspection import inspect_release
from multitudes.retrieval.item_updates import add_items, remove_items
from multitudes.retrieval.release_watcher import ReleaseWatcher
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.rollback import rollback
from tests.release.small_release import publish_small


@pytest.fixture(autouse=True)
def refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Running retrievers look for changes at every request."""
    monkeypatch.setattr(retrieving, "_REFRESH_INTERVAL_S", 0.0)
    monkeypatch.setattr(retrieving, "_RETRY_AFTER_ERROR_S", 0.0)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_key_pair(tmp_path / "key")
    return tmp_path / "key"


@pytest.fixture
def trust(key: Path) -> Path:
    return key.with_name("key.pub")


@pytest.fixture
def signed(tmp_path: Path, key: Path) -> Path:
    """Publish two signed releases."""
    for day in ("2026-01-01", "2026-01-02"):
        version = publish_small(tmp_path / "releases", created_at=f"{day}T00:00:00Z")
        sign_release(tmp_path / "releases" / "versions" / version, read_private_key(key))
    return tmp_path / "releases"


def new_item(folder: Path, item_id: int) -> Path:
    """Write an items table with one item, a better Drama than all others."""
    frame = pl.DataFrame({"item_id": [item_id], "topics": [["Drama"]], "title": ["New"], "embedding": [[0.5, 0.0]]})
    frame.write_parquet(folder / "new.parquet")
    return folder / "new.parquet"


def items(retriever: Retriever) -> set[object]:
    return {candidate.item_id for candidate in retriever.recommend(history=[103], n=100).candidates}


def test_an_update_is_served_if_a_trusted_key_signed_it_and_else_set_aside_and_named(signed, key, trust, tmp_path):
    watcher = ReleaseWatcher(signed, trust=trust)
    add_items(signed, new_item(tmp_path, 201), sign=key)
    assert 201 in items(watcher())
    assert watcher.state().problem == ""
    add_items(signed, new_item(tmp_path, 202))
    unsigned = f"{signed}/changes/0002.log: no trusted key signed the record at byte"
    assert items(watcher()) & {201, 202} == {201}
    assert watcher.state().problem.startswith(unsigned)
    again = Retriever.open(signed, trust=trust)
    assert items(again) & {201, 202} == set(), "the whole log is set aside"
    assert again.problem.startswith(unsigned)
    assert again.problem.endswith("; publish again, or delete the file and add its items again with --sign")
    assert items(Retriever.open(signed)) >= {201, 202}, "the control: without a trusted key"
    found = [each for each in inspect_release(ReleaseStore(signed), trust=trust) if each.subject == "items"]
    assert [(each.level, each.text) for each in found] == [("damaged", again.problem)]


def append_by_other_key(log: Path, owner: str) -> None:
    make_key_pair(log.parent / "other")
    delta = Delta("remove", 1, pl.DataFrame({"item_id": [101]}))
    delta_log.append_delta(log, owner, delta, read_private_key(log.parent / "other"))


def take_log_of_other_release(log: Path, owner: str) -> None:
    """Put the records of the other release's log, which the same key signed, behind the first line of this one."""
    other = log.with_name("0001.log").read_bytes()
    log.write_bytes(log.read_bytes()[: len(other.splitlines()[0]) + 1] + other[len(other.splitlines()[0]) + 1 :])


def swap_records(log: Path, owner: str) -> None:
    content = log.read_bytes()
    start = len(content.splitlines()[0]) + 1
    half = start + (len(content) - start) // 2
    log.write_bytes(content[:start] + content[half:] + content[start:half])


@pytest.mark.parametrize("change", [append_by_other_key, take_log_of_other_release, swap_records])
def test_a_signed_update_counts_in_its_place_in_the_log_of_its_release_alone(change, signed, key, trust, tmp_path):
    for version in ("0001", "0002"):
        ReleaseStore(signed).rollback(version)
        for item_id in (201, 202):
            add_items(signed, new_item(tmp_path, item_id), sign=key)
    assert items(Retriever.open(signed, trust=trust)) >= {201, 202}, "the control: before"
    change(signed / "changes" / "0002.log", Release.open(signed).identity)
    assert items(Retriever.open(signed)) >= {201, 202}, "the control: it is right but for its signature"
    with pytest.raises(ArtefactError, match="no trusted key signed the record at byte"):
        Release.open(signed, trust=trust)


def test_trusted_keys_that_are_gone_leave_the_updates_out_and_end_no_request(signed, key, trust, tmp_path):
    retriever = Retriever.open(signed, trust=trust)
    trust.unlink()
    add_items(signed, new_item(tmp_path, 201), sign=key)
    assert 201 not in items(retriever)
    assert "key.pub: no such key" in retriever.problem


def test_nobody_signs_an_update_with_the_tower_of_a_release_that_the_key_did_not_sign(signed, trust, tmp_path):
    make_key_pair(tmp_path / "other")
    for change in (lambda: add_items(signed, new_item(tmp_path, 201), sign=tmp_path / "other"),
                   lambda: remove_items(signed, new_item(tmp_path, 101), sign=tmp_path / "other")):  # fmt: skip
        with pytest.raises(ArtefactError, match=r"signature.json: signed by ed25519:\w+, not by a key of --sign"):
            change()
    assert not (signed / "changes").exists()


def test_a_rollback_takes_over_what_is_signed_and_signs_it(signed, key, trust, tmp_path):
    new_item(tmp_path, 201)
    options = ["--sign", str(key), "--json"]
    assert run(["items", "add", str(signed), str(tmp_path / "new.parquet"), *options]) == 0
    assert run(["items", "remove", str(signed), str(new_item(tmp_path, 101)), *options]) == 0
    with pytest.raises(UsageError, match=r"/0001[.]log: item updates of a trusted release are signed"):
        rollback(signed, trust=trust)
    assert ReleaseStore(signed).current() == "0002"
    assert run(["rollback", str(signed), "--trust", str(trust), *options]) == 0
    assert items(Retriever.open(signed, trust=trust)) & {101, 201} == {201}
    shutil.rmtree(signed / "changes")
    ReleaseStore(signed).rollback("0002")
    add_items(signed, new_item(tmp_path, 202))
    with pytest.raises(ArtefactError, match=r"/0002[.]log: no trusted key signed the record at byte"):
        rollback(signed, "0001", sign=key)
