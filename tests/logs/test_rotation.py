"""Retention: segments are removed by age and by the size of the log, oldest first."""

from pathlib import Path

from multitudes.logs import folder as places
from multitudes.logs.rotation import RemovedSegments, apply_retention

DAY_S = 86_400


def write_segments(folder: Path, *ages_days: float) -> list[str]:
    """Write segments of 100 bytes started so many days before day 100; return their names, oldest first."""
    spools = [places.new_spool_path(folder, (100 - age) * DAY_S) for age in ages_days]
    files = [places.segment_path(folder, spool) for spool in spools]
    for file in files:
        file.write_bytes(b"x" * 100)
    return sorted(file.name for file in files)


def remaining(folder: Path) -> list[str]:
    return [file.name for file in places.list_segments(folder)]


def test_old_segments_are_removed(tmp_path):
    names = write_segments(tmp_path, 40, 31, 29, 0)
    assert apply_retention(tmp_path, 100 * DAY_S, keep_days=30, max_bytes=0) == RemovedSegments(2, 0)
    assert remaining(tmp_path) == names[2:]


def test_the_oldest_segments_are_removed_until_the_log_fits_with_one_warning(tmp_path, caplog):
    names = write_segments(tmp_path, 3, 2, 1, 0)
    places.working_folder(tmp_path).mkdir()
    (places.working_folder(tmp_path) / "x.spool").write_bytes(b"x" * 50)  # spools count too
    assert apply_retention(tmp_path, 100 * DAY_S, keep_days=0, max_bytes=240) == RemovedSegments(0, 3)
    assert remaining(tmp_path) == names[3:]
    assert len(caplog.records) == 1
    assert "3 oldest segments" in caplog.text


def test_expired_segments_count_towards_the_size_limit(tmp_path):
    names = write_segments(tmp_path, 40, 2, 1)
    assert apply_retention(tmp_path, 100 * DAY_S, keep_days=30, max_bytes=200) == RemovedSegments(1, 0)
    assert remaining(tmp_path) == names[1:]


def test_control_without_bounds_every_segment_stays(tmp_path):
    names = write_segments(tmp_path, 10_000, 5, 0)
    assert apply_retention(tmp_path, 100 * DAY_S, keep_days=0, max_bytes=0) == RemovedSegments(0, 0)
    assert remaining(tmp_path) == names


def test_unnamed_spools_of_killed_writers_are_removed(tmp_path):
    places.working_folder(tmp_path).mkdir()
    made = [places.new_spool_path(tmp_path, moment) for moment in (0, 100)]
    unnamed = [file.with_name(f".{file.name}") for file in made]
    for file in unnamed:
        file.touch()
    apply_retention(tmp_path, 101, keep_days=0, max_bytes=0)
    assert list(places.working_folder(tmp_path).iterdir()) == unnamed[1:]
