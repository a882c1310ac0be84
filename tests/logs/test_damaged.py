"""One segment that cannot be read is set aside and named; erasure, rotation and retention go on with all others."""

import errno

import polars as pl
import pytest

from multitudes.logs import folder as places
from multitudes.logs.rotation import apply_retention
from tests.logs.worlds import NOW, erasure_requests, event, logs, rows, segments


def write_segment(folder, *users):
    written = logs(folder)
    written.log_events([event(number, user) for number, user in enumerate(users)])
    written.close()
    return places.list_segments(folder / "events")[-1]


def damage(segment):
    """Overwrite the first column chunks; return what the segment was."""
    content = segment.read_bytes()
    segment.write_bytes(content[:4] + b"\xff" * (len(content) // 2) + content[4 + len(content) // 2 :])
    return content


def damaged(folder):
    return [file.name for file in places.list_damaged(folder / "events")]


def users(folder):
    return rows(folder / "events")["user_id"].to_list()


@pytest.mark.parametrize("harm", ["overwritten", "cut", "empty", "of another kind"])
def test_a_user_is_erased_from_all_other_segments(tmp_path, caplog, harm):
    bad = write_segment(tmp_path, "ann", "bob")
    content = bad.read_bytes()
    if harm == "of another kind":
        pl.DataFrame({"x": [1]}).write_parquet(bad)
    elif harm == "overwritten":
        damage(bad)
    else:
        bad.write_bytes(content[: len(content) // 2 if harm == "cut" else 0])
    write_segment(tmp_path, "ann", "carl")
    written = logs(tmp_path)
    assert written.erase_user("ann") == 1
    assert users(tmp_path) == ["carl"]
    assert damaged(tmp_path) == [f"{bad.name}.damaged"]
    assert str(bad) in caplog.text
    written.maintain(NOW)
    assert written.problem() == "1 damaged segments were set aside; the journal names them"
    assert written.counts()["events"]["failures"] == 0
    assert written.erase_user("bob") == 0
    written.close()


def test_control_a_full_disk_is_no_damage(tmp_path, monkeypatch):
    segment = write_segment(tmp_path, "ann", "bob")

    def full(*_):
        raise pl.exceptions.ComputeError("underlying IO error: No space left on device (os error 28)")

    monkeypatch.setattr("polars.LazyFrame.sink_parquet", full)
    with pytest.raises(OSError, match="No space left"):
        logs(tmp_path).erase_user("ann")
    assert (segments(tmp_path / "events"), damaged(tmp_path)) == ([segment.name], [])


def test_a_repaired_segment_that_is_moved_back_holds_nobody_who_was_erased_in_between(tmp_path):
    bad = write_segment(tmp_path, "ann", "bob", "carl", "dora")
    content = damage(bad)
    written = logs(tmp_path)
    written.erase_user("ann")
    written.erase_user("bob")
    written.maintain(NOW)
    assert len(erasure_requests(tmp_path / "events")) == 2, "they wait for it"
    places.damaged_path(bad).unlink()
    bad.write_bytes(content)
    written.maintain(NOW)
    assert users(tmp_path) == ["carl", "dora"]
    assert erasure_requests(tmp_path / "events") == []
    assert written.problem() == ""


def test_nothing_waits_for_a_damaged_segment_that_is_deleted_also_by_retention(tmp_path):
    bad = write_segment(tmp_path, "ann")
    damage(bad)
    written = logs(tmp_path)
    written.erase_user("ann")
    places.damaged_path(bad).unlink()
    written.maintain(NOW)
    assert erasure_requests(tmp_path / "events") == []
    bad = write_segment(tmp_path, "ann")
    damage(bad)
    logs(tmp_path).erase_user("ann")
    now_s = places.start_time_s(bad)
    apply_retention(tmp_path / "events", now_s + 29 * 86_400, keep_days=30, max_bytes=0)
    assert damaged(tmp_path) == [f"{bad.name}.damaged"]
    apply_retention(tmp_path / "events", now_s + 31 * 86_400, keep_days=30, max_bytes=0)
    assert damaged(tmp_path) == []


def test_a_log_that_cannot_be_written_does_not_fail_the_end_of_a_service(tmp_path, monkeypatch, caplog):
    written = logs(tmp_path)
    written.log_events([event(1, "ann")])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("multitudes.logs.rotation.move_into_place", full)
        written.close()
    assert "the next process does it" in caplog.text
    logs(tmp_path).close()
    assert users(tmp_path) == ["ann"]
