"""Every process that shares the file sees a request; the file itself reveals no user."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from multitudes.state.erasure_requests import DamagedRequestsError, ErasureRequests


def test_every_object_on_the_file_sees_a_request(tmp_path: Path):
    one, other = ErasureRequests(tmp_path / "forgotten"), ErasureRequests(tmp_path / "forgotten")
    assert "ann" not in other
    one.add("ann", 7)
    other.add(7, 7)
    for marks in (one, other, ErasureRequests(tmp_path / "forgotten")):
        assert [user in marks for user in ("ann", 7, "bob", "7")] == [True, True, False, False]
    assert ErasureRequests(tmp_path / "forgotten").digest("ann") == one.digest("ann") is not None
    assert [file.name for file in tmp_path.iterdir()] == ["forgotten"]


def test_the_file_has_no_id_and_its_digests_differ_from_those_of_another_file(tmp_path: Path):
    words = []
    for name in ("a", "b"):
        ErasureRequests(tmp_path / name).add("ann", 7)
        ErasureRequests(tmp_path / name).add("ann", 7)
        words.append((tmp_path / name).read_text().split())
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
    assert [len(each) for each in words] == [3, 3], "marked once: a secret, a digest and a time"
    assert set(words[0]) & set(words[1]) == {"7"}
    assert "ann" not in str(words)


def test_a_request_and_the_name_of_its_file_are_durable(tmp_path: Path, monkeypatch):
    asked, fsync = [], os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        state = os.fstat(descriptor)
        asked.append((state.st_ino, state.st_size if stat.S_ISREG(state.st_mode) else None))

    monkeypatch.setattr(os, "fsync", noted)
    for user in ("ann", "bob"):
        ErasureRequests(tmp_path / "forgotten").add(user, 7)
        written = (tmp_path / "forgotten").stat()
        assert asked[-1] == (written.st_ino, written.st_size)
    assert (tmp_path.stat().st_ino, None) in asked


def test_a_truncated_request_does_not_harm_the_others(tmp_path: Path):
    marks = ErasureRequests(tmp_path / "forgotten")
    marks.add("ann", 7)
    with (tmp_path / "forgotten").open("a") as stream:
        stream.write("\n0f0f")
    marks.add("bob", 7)
    assert "ann" in marks
    assert "bob" in marks


def test_the_last_time_of_a_user_counts_and_a_line_without_time_was_cut_off(tmp_path: Path):
    marks = ErasureRequests(tmp_path / "forgotten")
    for at_s in (7, 9, 8):
        marks.add("ann", at_s)
    marks.add("bob", 1)
    lines = (tmp_path / "forgotten").read_text().splitlines()
    (tmp_path / "forgotten").write_text("\n".join([*lines[:-1], lines[-1].split()[0]]))
    assert marks.erased_at_s(["ann", "bob", "eve"]) == {"ann": 9}


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"abc", b"0f0f\nabc", b"not a secret"])
def test_a_damaged_file_is_an_error_of_one_line_and_is_read_again_when_it_is_restored(tmp_path: Path, content: bytes):
    file = tmp_path / "forgotten"
    ErasureRequests(file).add("ann", 7)
    good = file.read_bytes()
    file.write_bytes(content)
    marks = ErasureRequests(file)
    calls: list[Callable[[], object]] = [lambda: "ann" in marks, lambda: marks.add("bob", 7), marks.check]
    for call in calls:
        with pytest.raises(
            DamagedRequestsError, match=r"^the file of users who asked to be erased is damaged; [^\n]+$"
        ):
            call()
    assert file.read_bytes() == content
    file.write_bytes(good)
    assert "ann" in marks
