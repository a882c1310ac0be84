"""Every process that shares the file sees a request; the file itself reveals no user."""

import os
import stat
from pathlib import Path

from multitudes.state.erasure_requests import ErasureRequests


def test_every_object_on_the_file_sees_a_request(tmp_path: Path):
    one, other = ErasureRequests(tmp_path / "forgotten"), ErasureRequests(tmp_path / "forgotten")
    assert "ann" not in other
    one.add("ann")
    other.add(7)
    for marks in (one, other, ErasureRequests(tmp_path / "forgotten")):
        assert [user in marks for user in ("ann", 7, "bob", "7")] == [True, True, False, False]
    assert [file.name for file in tmp_path.iterdir()] == ["forgotten"]


def test_the_file_has_no_id_and_its_digests_differ_from_those_of_another_file(tmp_path: Path):
    words = []
    for name in ("a", "b"):
        ErasureRequests(tmp_path / name).add("ann")
        ErasureRequests(tmp_path / name).add("ann")
        words.append((tmp_path / name).read_text().split())
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
    assert [len(each) for each in words] == [2, 2], "marked once"
    assert not set(words[0]) & set(words[1])
    assert "ann" not in str(words)


def test_a_request_and_the_name_of_its_file_are_durable(tmp_path: Path, monkeypatch):
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


def test_a_truncated_request_does_not_harm_the_others(tmp_path: Path):
    marks = ErasureRequests(tmp_path / "forgotten")
    marks.add("ann")
    with (tmp_path / "forgotten").open("a") as stream:
        stream.write("\n0f0f")
    marks.add("bob")
    assert "ann" in marks
    assert "bob" in marks
