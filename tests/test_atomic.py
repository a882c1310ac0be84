"""A file or a folder appears complete or not at all, and is on the disk before it has its name."""

import pytest

from multitudes.atomic import (
    create_folder,
    create_text,
    fsync_tree,
    move_folder_into_place,
    move_into_place,
    partial_path,
    replace_file,
    replace_folder,
    write_json,
)
from multitudes.errors import UsageError
from tests.flushing import Flushing


def write_folder(out, text, overwrite=False, fails=False):
    with create_folder(out, "marker", overwrite) as folder:
        (folder / "marker").write_text(text)
        if fails:
            raise ValueError("half-way")


def fail_after_writing(file):
    file.write_text("half")
    raise ValueError("half-way")


def test_a_file_is_flushed_before_it_is_renamed_and_its_folder_afterwards(tmp_path, monkeypatch):
    flushing, file = Flushing(monkeypatch), tmp_path / "file.json"
    write_json(file, {"a": 1})
    assert flushing.missing(file) == []
    partial = tmp_path / "partial"
    partial.write_text("more")
    move_into_place(partial, file)
    assert (flushing.missing(file), file.read_text()) == ([], "more")
    partial.write_text("careless")
    partial.replace(file)
    assert flushing.missing(file) == ["partial", f"{tmp_path.name}/ afterwards"], "the control"


@pytest.mark.parametrize("shared", [False, True])
def test_a_file_that_is_replaced_keeps_its_content_until_the_end_and_after_a_failure(tmp_path, shared):
    file = tmp_path / "file"
    file.write_text("old")
    with pytest.raises(ValueError, match="half-way"), replace_file(file, shared=shared) as partial:
        fail_after_writing(partial)
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "the space is given back"
    with replace_file(file, shared=shared) as partial:
        partial.write_text("new")
        assert (file.read_text(), partial.parent, partial.name[0]) == ("old", tmp_path, ".")
    assert file.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_writers_of_one_file_have_temporary_names_of_their_own_if_they_say_so(tmp_path):
    file = tmp_path / "file"
    assert partial_path(file) == partial_path(file)
    assert partial_path(file, shared=True) != partial_path(file, shared=True)
    assert partial_path(file, folder=tmp_path / "open").parent == tmp_path / "open"


def test_a_file_is_created_once_with_its_permissions(tmp_path):
    file = tmp_path / "secret"
    assert create_text(file, "first", mode=0o600)
    assert not create_text(file, "second", mode=0o600)
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("first", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_a_folder_is_flushed_with_all_that_is_in_it(tmp_path, monkeypatch):
    flushing, folder = Flushing(monkeypatch), tmp_path / "draft"
    (folder / "deep").mkdir(parents=True)
    for name in ("a", "deep/b"):
        (folder / name).write_text(name)
    fsync_tree(folder)
    folder.rename(tmp_path / "place")
    assert flushing.missing(tmp_path / "place") == [f"{tmp_path.name}/ afterwards"], "its name is in its parent"


def test_a_folder_appears_complete_and_flushed(tmp_path, monkeypatch):
    out = tmp_path / "deep" / "out"
    with create_folder(out, "marker", False) as folder:
        (folder / "marker").write_text("one")
        assert not out.exists()
    assert (out / "marker").read_text() == "one"
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    flushing = Flushing(monkeypatch)
    for text in ("one", "another"):
        write_folder(tmp_path / "out", text, overwrite=True)
        assert flushing.missing(tmp_path / "out") == []


def test_a_failure_leaves_the_old_folder_or_nothing(tmp_path):
    with pytest.raises(ValueError, match="half-way"):
        write_folder(tmp_path / "out", "one", fails=True)
    with pytest.raises(ValueError, match="half-way"):
        write_folder(tmp_path / "deep" / "er" / "out", "one", fails=True)
    assert list(tmp_path.iterdir()) == []
    write_folder(tmp_path / "out", "old")
    with pytest.raises(ValueError, match="half-way"):
        write_folder(tmp_path / "out", "new", overwrite=True, fails=True)
    assert (tmp_path / "out" / "marker").read_text() == "old"
    write_folder(tmp_path / "out", "new", overwrite=True)
    assert (tmp_path / "out" / "marker").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_another_kind_is_never_replaced_and_an_empty_one_is_used(tmp_path):
    (tmp_path / "empty").mkdir()
    write_folder(tmp_path / "empty", "one")
    assert (tmp_path / "empty" / "marker").read_text() == "one"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="exists"):
            write_folder(tmp_path / "out", "new", overwrite)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"


def test_a_second_writer_of_a_folder_is_rejected(tmp_path):
    out = tmp_path / "out"
    with create_folder(out, "marker", False) as folder:
        (folder / "marker").write_text("first")
        with pytest.raises(UsageError, match="another process is writing it"):
            write_folder(out, "second", overwrite=True)
        with pytest.raises(UsageError, match="another process is writing it"), replace_folder(out):
            pass
        write_folder(tmp_path / "other", "another folder")
    assert (out / "marker").read_text() == "first"


def test_what_a_killed_process_left_is_neither_an_obstacle_nor_part_of_the_next_folder(tmp_path):
    leftover = tmp_path / ".out.partial"
    (leftover / "deep").mkdir(parents=True)
    (leftover / "deep" / "file").write_text("leftover")
    (leftover / "file").write_text("leftover")
    write_folder(tmp_path / "out", "new")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["marker"]
    assert not leftover.exists()


def test_any_folder_can_be_replaced_and_stays_after_a_failure(tmp_path, monkeypatch):
    flushing, out = Flushing(monkeypatch), tmp_path / "deep" / "out"
    for text in ("old", "new"):
        with replace_folder(out) as folder:
            (folder / "file").write_text(text)
        assert flushing.missing(out) == []
    with pytest.raises(ValueError, match="half-way"), replace_folder(out) as folder:
        fail_after_writing(folder / "file")
    assert (out / "file").read_text() == "new"
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("backup", [None, "backup"])
def test_the_old_folder_comes_back_if_the_new_one_cannot_be_renamed(tmp_path, monkeypatch, backup):
    out, partial = tmp_path / "out", tmp_path / "partial"
    for folder in (out, partial):
        folder.mkdir()
        (folder / "file").write_text(folder.name)
    rename = type(out).rename

    def refuse(self, target):
        if self == partial:
            raise OSError("no rename")
        return rename(self, target)

    monkeypatch.setattr(type(out), "rename", refuse)
    with pytest.raises(OSError, match="no rename"):
        move_folder_into_place(partial, out, backup=backup and tmp_path / backup)
    assert (out / "file").read_text() == "out"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "partial"]
