"""Retention: segments are removed by age and by the size of the log, oldest first."""

from pathlib import Path

import pytest

from multitudes.logs import folder as places
from multitudes.logs.rotation import apply_retention

DAY_S = 86_400


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
