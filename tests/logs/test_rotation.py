"""A log takes no more of the disk than it may, and keeps no part longer than it is told to; the oldest go first."""

from pathlib import Path

from multitudes.logs import folder as places
from multitudes.logs.rotation import RemovedSegments, apply_retention
from tests.logs.worlds import logs

DAY_S = 86_400


def parts(folder: Path, *ages_days: float) -> list[str]:
    """Write parts of 100 bytes that were begun so long before day 100; return their names, the oldest first."""
    spools = [places.new_spool_path(folder, (100 - age) * DAY_S) for age in ages_days]
    files = [places.segment_path(folder, spool) for spool in spools]
    for file in files:
        file.write_bytes(b"x" * 100)
    return sorted(file.name for file in files)


def left(folder: Path) -> list[str]:
    return [file.name for file in places.list_segments(folder)]


def test_what_is_too_old_goes(tmp_path):
    names = parts(tmp_path, 40, 31, 29, 0)
    assert apply_retention(tmp_path, 100 * DAY_S, keep_days=30, max_bytes=0) == RemovedSegments(2, 0)
    assert left(tmp_path) == names[2:]


def test_the_oldest_go_until_the_log_fits_and_it_is_said_once(tmp_path, caplog):
    names = parts(tmp_path, 3, 2, 1, 0)
    places.working_folder(tmp_path).mkdir()
    (places.working_folder(tmp_path) / "x.spool").write_bytes(b"x" * 50)  # what is being written takes room too
    assert apply_retention(tmp_path, 100 * DAY_S, keep_days=0, max_bytes=240) == RemovedSegments(0, 3)
    assert left(tmp_path) == names[3:]
    assert len(caplog.records) == 1
    assert "3 oldest segments" in caplog.text


def test_what_expired_makes_room_for_the_rest(tmp_path):
    names = parts(tmp_path, 40, 2, 1)
    assert apply_retention(tmp_path, 100 * DAY_S, keep_days=30, max_bytes=200) == RemovedSegments(1, 0)
    assert left(tmp_path) == names[1:]


def test_control_without_bounds_everything_stays(tmp_path):
    names = parts(tmp_path, 10_000, 5, 0)
    assert apply_retention(tmp_path, 100 * DAY_S, keep_days=0, max_bytes=0) == RemovedSegments(0, 0)
    assert left(tmp_path) == names


def test_what_a_writer_left_that_was_killed_while_it_made_a_spool_goes(tmp_path):
    places.working_folder(tmp_path).mkdir()
    made = [places.new_spool_path(tmp_path, moment) for moment in (0, 100)]
    unnamed = [file.with_name(f".{file.name}") for file in made]
    for file in unnamed:
        file.touch()
    apply_retention(tmp_path, 101, keep_days=0, max_bytes=0)
    assert list(places.working_folder(tmp_path).iterdir()) == unnamed[1:]


def test_a_log_retains_at_its_ticks(tmp_path):
    kept = logs(tmp_path, keep_days=30)
    parts(tmp_path / "events", 40, 1)
    kept.maintain(100 * DAY_S)
    assert kept.counts()["events"]["expired_segments"] == len(left(tmp_path / "events")) == 1
