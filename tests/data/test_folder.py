"""A folder appears whole or not at all."""

from pathlib import Path

import pytest

from multitudes.atomic import create_folder
from multitudes.errors import UsageError
from tests.flushing import Flushing


def fill(out, text, overwrite=False, fails=False):
    with create_folder(out, "marker", overwrite) as folder:
        (folder / "marker").write_text(text)
        if fails:
            raise ValueError("half-way")


def test_a_folder_is_there_only_when_it_is_complete(tmp_path):
    out = tmp_path / "deep" / "out"
    with create_folder(out, "marker", False) as folder:
        (folder / "marker").write_text("one")
        assert not out.exists()
    assert (out / "marker").read_text() == "one"
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_folder_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    flushing = Flushing(monkeypatch)
    for text in ("one", "another"):
        fill(tmp_path / "out", text, overwrite=True)
        assert flushing.missing(tmp_path / "out") == []


def test_a_failure_leaves_neither_the_folder_nor_a_trace(tmp_path):
    with pytest.raises(ValueError, match="half-way"):
        fill(tmp_path / "out", "one", fails=True)
    with pytest.raises(ValueError, match="half-way"):
        fill(tmp_path / "deep" / "er" / "out", "one", fails=True)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_while_replacing_keeps_the_old_folder(tmp_path):
    fill(tmp_path / "out", "old")
    with pytest.raises(ValueError, match="half-way"):
        fill(tmp_path / "out", "new", overwrite=True, fails=True)
    assert (tmp_path / "out" / "marker").read_text() == "old"
    fill(tmp_path / "out", "new", overwrite=True)
    assert (tmp_path / "out" / "marker").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_somebody_else_is_never_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="exists"):
            fill(tmp_path / "out", "new", overwrite)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "out").mkdir()
    fill(tmp_path / "out", "one")
    assert (tmp_path / "out" / "marker").read_text() == "one"


def test_two_runs_into_one_folder_are_one_too_many(tmp_path):
    out = tmp_path / "out"
    with create_folder(out, "marker", False) as folder:
        (folder / "marker").write_text("first")
        with pytest.raises(UsageError, match="being written by another run"):
            fill(out, "second", overwrite=True)
        fill(tmp_path / "other", "another folder")
    assert (out / "marker").read_text() == "first"


def test_what_a_dead_run_left_is_no_hindrance_and_no_part_of_the_next(tmp_path):
    ruin = tmp_path / ".out.partial"
    (ruin / "deep").mkdir(parents=True)
    (ruin / "deep" / "file").write_text("ruin")
    (ruin / "file").write_text("ruin")
    fill(tmp_path / "out", "new")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["marker"]
    assert not ruin.exists()


@pytest.mark.parametrize("address", ["s3://bucket/out", "s3a://bucket/out", "file:///tmp/out", "hdfs://host:9000/out"])
def test_an_address_is_refused_and_becomes_no_folder(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"an address, and expected is a path") as refused:
        fill(Path(address), "one")
    assert "://" in str(refused.value)
    assert list(tmp_path.iterdir()) == []
