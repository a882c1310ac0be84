"""Retention: segments are removed by age and by the size of the log; a clock that jumps ahead or back removes none."""

from pathlib import Path

import pytest

from multitudes.logs import folder as places
from multitudes.logs.rotation import RetentionClock, apply_retention
from tests.clock import Clock
from tests.logs.worlds import event, logs, rows, segments, spools

DAY_S, START_S = 86_400, 1_700_000_000.0


def write_segments(folder: Path, *ages_days: float) -> list[str]:
    """Write segments of 100 bytes started so many days before day 100; return their names, oldest first."""
    spools = [places.new_spool_path(folder, (100 - age) * DAY_S) for age in ages_days]
    files = [places.segment_path(folder, spool) for spool in spools]
    for file in files:
        file.write_bytes(b"x" * 100)
    return sorted(file.name for file in files)


@pytest.mark.parametrize(
    ("ages_days", "keep_days", "max_bytes", "removed"),
    [
        ((40, 31, 29, 0), 30, 0, (2, 0)),
        ((40, 2, 1), 30, 200, (1, 0)),  # what is expired no longer counts towards the size
        ((3, 2, 1, 0), 0, 240, (0, 3)),  # a spool counts too
        ((10_000, 5, 0), 0, 0, (0, 0)),  # the control: no bound
    ],
)
def test_segments_are_removed_by_age_and_then_by_the_size_of_the_log(
    tmp_path, ages_days, keep_days, max_bytes, removed
):
    names = write_segments(tmp_path, *ages_days)
    if max_bytes == 240:
        places.working_folder(tmp_path).mkdir()
        (places.working_folder(tmp_path) / "x.spool").write_bytes(b"x" * 50)
    assert apply_retention(tmp_path, 100 * DAY_S, keep_days, max_bytes) == removed
    assert [file.name for file in places.list_segments(tmp_path)] == names[sum(removed) :]


def test_a_segment_of_a_clock_that_was_not_set_is_as_old_as_its_discovery(tmp_path):
    write_segments(tmp_path, 40, 0)
    assert apply_retention(tmp_path, START_S, 30, 0) == (0, 0)
    assert {places.start_time_s(file) for file in places.list_segments(tmp_path)} == {START_S}
    assert apply_retention(tmp_path, START_S + 31 * DAY_S, 30, 0) == (1, 0), "the newest stays"


def test_segments_beyond_the_bound_are_one_warning_and_unnamed_spools_of_killed_writers_go(tmp_path, caplog):
    write_segments(tmp_path, 3, 2, 1, 0)
    apply_retention(tmp_path, 100 * DAY_S, 0, 190)
    assert len(caplog.records) == 1
    assert "3 oldest segments" in caplog.text
    places.working_folder(tmp_path).mkdir()
    made = [places.new_spool_path(tmp_path, moment) for moment in (0, 100)]
    unnamed = [file.with_name(f".{file.name}") for file in made]
    for file in unnamed:
        file.touch()
    apply_retention(tmp_path, 101, keep_days=0, max_bytes=0)
    assert list(places.working_folder(tmp_path).iterdir()) == unnamed[1:]


def log_segments(folder: Path, monkeypatch, *days: float) -> None:
    """Write a segment at each of the days after ``START_S``."""
    for number, day in enumerate(days):
        with monkeypatch.context() as moved:
            moved.setattr("multitudes.logs.logs.time", lambda day=day: START_S + day * DAY_S)
            written = logs(folder, keep_days=0)
            written.log_events([event(number)])
            written.close()


def test_a_clock_that_jumps_ahead_removes_no_segment_and_says_what_it_would_remove(tmp_path, monkeypatch, caplog):
    log_segments(tmp_path, monkeypatch, 0, 1, 2)
    before = segments(tmp_path / "events")
    running = logs(tmp_path, keep_days=90)
    for jump_days in (100, 0, 101, 102, 0, 1000):
        running.maintain(START_S + (2 + jump_days) * DAY_S)
        assert segments(tmp_path / "events") == before
    assert caplog.text.count("2 segments would be removed") == 3, "once for each jump"


def test_a_service_that_starts_with_a_clock_ahead_removes_nothing_for_a_day_nor_ever_the_newest_segment(
    tmp_path, monkeypatch
):
    log_segments(tmp_path, monkeypatch, 0, 1)
    moment = Clock()
    monkeypatch.setattr("multitudes.logs.logs.RetentionClock", lambda newest_s: RetentionClock(newest_s, moment))
    started = logs(tmp_path, keep_days=90)
    for hours, left in ((0, 2), (23, 2), (25, 1)):  # a clock that keeps its time for a day is right
        moment.now_s = hours * 3_600.0
        started.maintain(START_S + 200 * DAY_S + moment.now_s)
        assert len(segments(tmp_path / "events")) == left
    folder = tmp_path / "other"
    log_segments(folder, monkeypatch, 0, 1)
    newest = segments(folder / "events")[1:]
    assert apply_retention(folder / "events", START_S + 999 * DAY_S, 1, 1) == (1, 0)
    assert apply_retention(folder / "events", START_S, 0, 1) == (0, 0)
    assert segments(folder / "events") == newest


def test_a_spool_opened_while_the_clock_was_ahead_becomes_a_segment(tmp_path, monkeypatch):
    moment = Clock()
    monkeypatch.setattr("multitudes.logs.logs.monotonic", moment)
    written = logs(tmp_path, segment_s=600)
    with monkeypatch.context() as jumped:
        jumped.setattr("multitudes.logs.logs.time", lambda: START_S + 100 * DAY_S)
        written.log_events([event(1)])
    moment.now_s = 599.0
    written.maintain(START_S)
    assert segments(tmp_path / "events") == [], "control: it is not due"
    moment.now_s = 600.0
    written.maintain(START_S)
    assert spools(tmp_path / "events") == []
    assert rows(tmp_path / "events")["event_id"].to_list() == ["e1"]


def test_a_clock_that_is_set_by_minutes_or_back_is_believed():
    moment = Clock()
    clock = RetentionClock(None, moment)
    assert clock.believed_s(START_S) == START_S
    moment.now_s = 60.0
    assert clock.believed_s(START_S + 360) == START_S + 360
    assert clock.believed_s(START_S - 7_200) == START_S - 7_200
