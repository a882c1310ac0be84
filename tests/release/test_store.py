"""A reader finds the old release or the new one, whatever happens to whoever publishes."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from multitudes.errors import ArtefactError, UsageError
from multitudes.release.store import ReleaseStore
from tests.flushing import Flushing
from tests.release.killed import torn_releases
from tests.release.small_release import publish_small


def publish(store: ReleaseStore, text: str) -> str:
    with store.stage() as stage:
        (stage / "inner").mkdir()
        (stage / "inner" / "file").write_text(text)
        return store.commit(stage)


def write_half_and_fail(stage: Path) -> None:
    (stage / "half").write_text("x")
    raise OSError("disk full")


def read(store: ReleaseStore) -> str:
    return (store.folder() / "inner" / "file").read_text()


def test_versions_count_up_and_each_is_on_the_disk_before_it_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = ReleaseStore(tmp_path / "new" / "releases")
    assert [publish(store, text) for text in "abc"] == ["0001", "0002", "0003"]
    assert store.versions() == ["0001", "0002", "0003"]
    assert store.current() == "0003"
    assert read(store) == "c"
    flushing, store = Flushing(monkeypatch), ReleaseStore(tmp_path)
    publish(store, "a")
    assert flushing.missing(tmp_path / "versions" / "0001") == flushing.missing(tmp_path / "CURRENT") == []


def test_rollback_goes_one_back_or_to_the_named_version_and_the_next_publish_goes_on(tmp_path: Path):
    store = ReleaseStore(tmp_path)
    for text in "abc":
        publish(store, text)
    assert store.rollback() == "0002"
    assert read(store) == "b"
    assert store.rollback(to="0003") == "0003"
    assert store.rollback(to="0001") == "0001"
    with pytest.raises(UsageError, match="0001 is the oldest"):
        store.rollback()
    with pytest.raises(UsageError, match="no version '7'; known: 0001, 0002, 0003"):
        store.rollback(to="7")
    assert publish(store, "d") == "0004"
    assert read(store) == "d"


def test_a_publish_that_fails_or_dies_changes_nothing_and_what_it_left_is_removed(tmp_path: Path):
    store = ReleaseStore(tmp_path)
    publish(store, "a")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(OSError, match="disk full"), store.stage() as stage:
        write_half_and_fail(stage)
    with pytest.raises(OSError, match="disk full"), ReleaseStore(tmp_path / "new" / "releases").stage() as stage:
        write_half_and_fail(stage)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert read(store) == "a"
    (tmp_path / ".stage-dead").mkdir()
    (tmp_path / ".stage-dead" / "half").write_text("x")
    publish(store, "b")
    assert not list(tmp_path.glob(".stage-*"))


def test_a_second_publisher_is_refused_while_the_first_is_at_work(tmp_path: Path):
    store = ReleaseStore(tmp_path)
    with store.stage():
        for attempt in (lambda: publish(store, "b"), store.rollback):
            with pytest.raises((UsageError, ArtefactError), match="another process publishes here"):
                attempt()
    publish(store, "c")  # the control: once the first is done the lock is free
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


@pytest.mark.parametrize("damage", [b"", b"0009", b"\xff\xfe", b"../versions/0001"])
def test_a_damaged_switch_is_refused_and_a_rollback_mends_it(damage: bytes, tmp_path: Path):
    store = ReleaseStore(tmp_path)
    publish(store, "a")
    (tmp_path / "CURRENT").write_bytes(damage)
    with pytest.raises(ArtefactError, match=r"CURRENT: names .* write the name of a version"):
        store.folder()
    store.rollback(to="0001")
    assert read(store) == "a"


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda file: file.symlink_to("/dev/null")])
def test_what_is_no_file_in_place_of_the_switch_is_not_waited_for(make: Callable[[Path], None], tmp_path: Path):
    store = ReleaseStore(tmp_path)
    publish(store, "a")
    (tmp_path / "CURRENT").unlink()
    make(tmp_path / "CURRENT")
    with pytest.raises(ArtefactError, match="CURRENT: not a plain file"):
        store.folder()


def test_a_folder_without_releases_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(ArtefactError, match="no releases here; write one with: multitudes publish"):
        ReleaseStore(tmp_path / "nowhere").current()
    version = ReleaseStore(tmp_path / "releases").folder(publish_small(tmp_path / "releases"))
    with pytest.raises(ArtefactError, match=r"no releases here; did you mean .*/releases\?"):
        ReleaseStore(tmp_path).current()
    with pytest.raises(ArtefactError, match="0001: is the folder of one version; give the folder of releases"):
        ReleaseStore(version).current()
    with pytest.raises(UsageError, match=r"if it is a service: multitudes doctor --url http://localhost:8417$"):
        ReleaseStore("http://localhost:8417").current()
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"), ReleaseStore(tmp_path / "file").stage():
        pass


@pytest.mark.parametrize(("writer", "kills"), [("publish", 20), ("publish_naively", 10)])
def test_kills_at_random_moments_never_show_a_torn_release_but_of_a_naive_writer(writer, kills, tmp_path: Path):
    torn = torn_releases(tmp_path / "releases", writer, kills)
    assert (torn > 0) == (writer == "publish_naively")
