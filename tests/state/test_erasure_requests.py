"""Who asked to be forgotten is known to every process that looks into the file, and to nobody who only reads it."""

import os
import stat
from pathlib import Path

from multitudes.state.erasure_requests import ErasureRequests


def test_a_mark_is_seen_by_all_who_share_the_file_and_by_those_who_come_later(tmp_path: Path):
    one, other = ErasureRequests(tmp_path / "forgotten"), ErasureRequests(tmp_path / "forgotten")
    assert "ann" not in other
    one.add("ann")
    other.add(7)
    for marks in (one, other, ErasureRequests(tmp_path / "forgotten")):
        assert [user in marks for user in ("ann", 7, "bob", "7")] == [True, True, False, False]
    assert [file.name for file in tmp_path.iterdir()] == ["forgotten"]


def test_no_id_stands_in_the_file_and_its_names_differ_from_those_of_another(tmp_path: Path):
    words = []
    for name in ("a", "b"):
        ErasureRequests(tmp_path / name).add("ann")
        ErasureRequests(tmp_path / name).add("ann")
        words.append((tmp_path / name).read_text().split())
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
    assert [len(each) for each in words] == [2, 2], "marked once"
    assert not set(words[0]) & set(words[1])
    assert "ann" not in str(words)


def test_a_mark_is_on_the_disk_and_so_is_the_name_of_its_file(tmp_path: Path, monkeypatch):
    asked, fsync = [], os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        state = os.fstat(descriptor)
        asked.append((state.st_ino, state.st_size if stat.S_ISREG(state.st_mode) else None))

    monkeypatch.setattr(os, "fsync", noted)
    for user in ("ann", "bob"):
        ErasureRequests(tmp_path / "forgotten").add(user)
        written = (tmp_path / "forgotten").stat()
        assert asked[-1] == (written.st_ino, written.st_size)
    assert (tmp_path.stat().st_ino, None) in asked


def test_a_mark_that_was_cut_off_harms_no_other(tmp_path: Path):
    marks = ErasureRequests(tmp_path / "forgotten")
    marks.add("ann")
    with (tmp_path / "forgotten").open("a") as stream:
        stream.write("\n0f0f")
    marks.add("bob")
    assert "ann" in marks
    assert "bob" in marks
