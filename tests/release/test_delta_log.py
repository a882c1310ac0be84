"""The file of changes: what was acknowledged is there, what a crash left is cut off, what is damaged is refused."""

import os
import random
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from multitudes.errors import ArtefactError
from multitudes.release import delta_log
from multitudes.release.delta_log import Delta
from multitudes.release.overlay import net_delta
from tests.release.killed import OWNER, write_until_killed

ITEMS = pl.DataFrame({"item_id": [7, 8], "title": ["A", None], "topics": [["x"], []], "price": [1.5, None]})
VECTORS = np.arange(4, dtype=np.float32).reshape(2, 2)
ADDED = Delta("add", 100, ITEMS, 3 * VECTORS, VECTORS)
REMOVED = Delta("remove", 200, pl.DataFrame({"item_id": [8]}))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give a file that holds an addition and, behind it, a removal."""
    place = tmp_path / "changes" / "0001.log"
    for change in (ADDED, REMOVED):
        assert delta_log.append_delta(place, "me", change) == 0
    return place


def end_of_first(file: Path) -> int:
    delta_log.append_delta(file.with_name("first"), "me", ADDED)
    return file.with_name("first").stat().st_size


def test_what_was_appended_is_read_from_where_the_last_reading_ended_and_no_file_means_no_changes(
    file: Path, tmp_path: Path
):
    added, removed = delta_log.read_deltas(file, "me").deltas
    assert (added.kind, added.at_s, removed.kind, removed.at_s) == ("add", 100, "remove", 200)
    assert added.items.equals(ITEMS)
    np.testing.assert_array_equal(added.input_ND, 3 * VECTORS)
    np.testing.assert_array_equal(added.vector_ND, VECTORS)
    assert removed.items["item_id"].to_list() == [8]
    assert removed.vector_ND is None
    end = delta_log.read_deltas(file, "me").end
    assert delta_log.read_deltas(file, "me", end) == ([], end, 0)
    delta_log.append_delta(file, "me", REMOVED)
    assert len(delta_log.read_deltas(file, "me", end).deltas) == 1
    assert len(delta_log.read_deltas(file, "me").deltas) == 3  # the control: from the beginning
    assert delta_log.read_deltas(tmp_path / "0001.log", "me") == ([], 0, 0)
    assert delta_log.delta_log_file(tmp_path / "release") is None, "a release outside of a folder of releases"


def test_wherever_a_crash_cuts_the_last_record_it_is_cut_off_and_nothing_else_is_lost(file: Path):
    whole, first = file.read_bytes(), end_of_first(file)
    for size in range(first + 1, len(whole)):
        file.write_bytes(whole[:size])
        found = delta_log.read_deltas(file, "me")
        assert (len(found.deltas), found.end, found.torn_bytes) == (1, first, size - first)
    assert delta_log.append_delta(file, "me", REMOVED) == len(whole) - 1 - first
    assert file.read_bytes() == whole


def test_of_a_record_that_does_not_fit_nothing_is_left(file: Path):
    """A limit on the size of files stands in for a full disk: the beginning of the record is written, and no more."""
    whole, (soft, hard) = file.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 100, hard))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            delta_log.append_delta(file, "me", ADDED)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(file)
    assert file.read_bytes() == whole
    assert delta_log.append_delta(file, "me", ADDED) == 0  # the control: there is room again


@pytest.mark.parametrize("arrived", [0, 16, 100])
def test_bytes_that_never_arrived_are_cut_off(file: Path, arrived: int):
    whole, first = file.read_bytes(), end_of_first(file)
    kept = whole[: first + arrived]
    file.write_bytes(kept + bytes(len(whole) - len(kept)))
    found = delta_log.read_deltas(file, "me")
    assert (len(found.deltas), found.torn_bytes) == (1, len(whole) - first)


def test_a_changed_byte_is_refused_with_the_name_of_the_file(file: Path):
    whole = file.read_bytes()
    for place in range(0, len(whole), 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ArtefactError, match=r"0001\.log: "):
            delta_log.read_deltas(file, "me")
        with pytest.raises(ArtefactError, match=r"0001\.log: "):
            delta_log.append_delta(file, "me", REMOVED)
    file.write_bytes(whole)
    assert len(delta_log.read_deltas(file, "me").deltas) == 2  # the control


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "swap"}, "'swap' is neither add nor remove"),
        ({"at_s": None}, "TypeError"),
        ({"items": ITEMS[[0, 0]]}, "an id is missing or occurs twice"),
        ({"items": ITEMS.with_columns(item_id=pl.lit(None, pl.Int64))}, "an id is missing or occurs twice"),
        ({"items": ITEMS.drop("topics")}, "column topics is None"),
        ({"items": ITEMS.with_columns(title=pl.lit(3))}, "column title is Int32; expected String"),
        ({"items": ITEMS.with_columns(topics=pl.lit([None], pl.List(pl.String)))}, "a topic is missing"),
        ({"vector_ND": VECTORS[:1]}, "vectors of shape .1, 2. and type float32 for 2 items"),
        ({"vector_ND": VECTORS.astype(np.float64)}, "type float64"),
        ({"input_ND": np.full_like(VECTORS, np.nan)}, "a vector is not finite"),
        ({"vector_ND": np.full_like(VECTORS, 1e30)}, "a vector is not finite or longer than 1e19"),
    ],
)
def test_wrong_content_behind_right_checksums_is_refused_in_one_line(tmp_path: Path, change, message: str):
    delta_log.append_delta(tmp_path / "0001.log", "me", ADDED._replace(**change))
    with pytest.raises(
        ArtefactError, match=rf"0001\.log: record 1 cannot be used \(.*{message}.*\); publish"
    ) as caught:
        delta_log.read_deltas(tmp_path / "0001.log", "me")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[" * 100_000 + b"\n",
        b"{}\n.",
        b"\xff\n.",
        b'{"kind": "add", "at_s": 1, "parts": 7}\n.',
        b'{"kind": "add", "at_s": 1, "parts": {"items": -5}}\n.',
        b'{"kind": "remove", "at_s": 1, "parts": {"items": 3}}\nabc.',
    ],
)
def test_a_record_that_says_nothing_is_refused_in_one_line(payload: bytes, file: Path):
    file.write_bytes(file.read_bytes() + delta_log._frame(payload))
    with pytest.raises(ArtefactError, match=r"0001\.log: record 3 cannot be used \(") as caught:
        delta_log.read_deltas(file, "me")
    assert "\n" not in str(caught.value)


def test_a_log_that_no_memory_holds_is_refused_unread(file: Path):
    with file.open("ab") as stream:
        stream.truncate(200 << 30)  # sparse
    with pytest.raises(ArtefactError, match=r"0001\.log: larger than 1 GiB"):
        delta_log.read_deltas(file, "me")


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda file: file.symlink_to(file.name)])
def test_what_is_no_file_is_not_waited_for(make: Callable[[Path], None], tmp_path: Path):
    make(tmp_path / "0001.log")
    with pytest.raises(ArtefactError, match=r"0001\.log: (not a plain file|cannot be read)"):
        delta_log.read_deltas(tmp_path / "0001.log", "me")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"multitudes-changes 1 other\n", "belongs to another release"),
        (b"multitudes-changes 9 me\n", "version 9; expected version 1"),
        (b"multitudes-release 1 me\n", "not a delta log"),
        (b"multitudes-changes 1 me", "damaged"),
        (b"", "damaged"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, head: bytes, message: str):
    (tmp_path / "0001.log").write_bytes(head)
    with pytest.raises(ArtefactError, match=message):
        delta_log.read_deltas(tmp_path / "0001.log", "me")


def test_the_last_word_on_an_item_counts():
    other = pl.DataFrame({"item_id": [8, 9], "title": ["B", "C"], "topics": [[], []]})
    net = net_delta([ADDED, REMOVED, Delta("add", 300, other, VECTORS, VECTORS), Delta("remove", 400, ITEMS)])
    assert list(net.last_row) == [7, 8, 9], "in the order in which they came"
    assert net.removed_s == {7: 400, 8: 400}
    assert net.added == [9]
    assert net.items()[net.rows([8, 9])]["title"].to_list() == ["B", "C"]
    assert net_delta([ADDED, REMOVED]).added == [7]


def is_lost(file: Path, acknowledged: int) -> bool:
    """Tell whether a reader misses or misreads something; what was not acknowledged may be there as a whole."""
    try:
        found = [change.at_s for change in delta_log.read_deltas(file, OWNER).deltas]
    except ArtefactError:
        return True
    return found[: acknowledged + 1] != list(range(acknowledged + 1)) or len(found) > acknowledged + 2


@pytest.mark.slow
@pytest.mark.parametrize(("writer", "kills"), [("add", 20), ("add_naively", 100)])
def test_kills_at_random_moments_lose_nothing_that_was_acknowledged_but_of_a_naive_writer(
    writer, kills, tmp_path: Path
):
    file, wait, lost = tmp_path / "0001.log", random.Random(0), False
    while kills and not lost:
        begun = len(delta_log.read_deltas(file, OWNER).deltas)
        lost, kills = is_lost(file, write_until_killed(writer, file, begun, wait.uniform(0, 0.1))), kills - 1
    assert lost == (writer == "add_naively")
