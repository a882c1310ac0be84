"""The report on a data set has figures that can be counted by hand."""

import polars as pl

from multitudes.data.prepare import PrepareConfig
from multitudes.data.validate import time_range_text, validate
from tests.data.tables import NOW, events, items, users, write

ONE_THREAD = PrepareConfig(threads=1)


def test_counts_spans_and_coverages_of_the_small_world(tmp_path):
    table = events(action=["hide", "save", "save", "save", "save", "save"], source_interest=["art"] + [None] * 5)
    report = validate(write(tmp_path, events=table, items=items(title=["a", None, "c"])), ONE_THREAD, now=NOW)
    assert report.rows == {"events": 6, "items": 3, "users": 2}
    assert report.id_kinds == {"user_id": "int64", "item_id": "int64"}
    assert (report.counts["users"], report.counts["items"], report.counts["topics"]) == (2, 3, 3)
    assert (report.counts["events"], report.counts["usable_events"], report.counts["negative_events"]) == (6, 5, 1)
    assert report.counts["sourced_events"] == 1
    assert (report.first, report.last) == (100, 450)
    assert report.events_per_user == {"minimum": 2, "median": 3, "p90": 4, "maximum": 4}
    assert report.actions == {"hide": 1, "save": 5}
    assert report.missing == {"events": {"source_interest": 5}, "items": {"title": 1}}
    # user 1 follows food and art: three of the four events; user 2 follows sea: one of the two
    assert report.shares["events_of_followed_topics"] == 4 / 6
    assert report.shares["users_with_follows"] == 1
    assert "1970-01-01 00:01 to 1970-01-01 00:07 UTC" in time_range_text(report)


def test_times_beyond_the_calendar_outliers_and_an_order_without_times_are_said(tmp_path):
    report = validate(write(tmp_path, events=events(timestamp=[-(10**18), 1, 2, 3, 4, 5])), ONE_THREAD, now=NOW)
    assert time_range_text(report).startswith("-31688736537-03-10 22:13 to 1970-01-01 00:00 UTC")
    rows = 300
    busy = pl.DataFrame({"user_id": [7] * rows, "item_id": [10] * rows, "timestamp": range(rows)})
    report = validate(write(tmp_path, events=pl.concat([events(), busy]), users=users()), ONE_THREAD, now=NOW)
    assert report.odd_users == [7]
    assert validate(write(tmp_path, events=events()), ONE_THREAD, now=NOW).odd_users == []
    report = validate(write(tmp_path, events=events(timestamp=[0, 1, 2, 3, 0, 1])), ONE_THREAD, now=NOW)
    assert report.ordered_only
    assert time_range_text(report) == "positions 0 to 3"
    assert any("leave_one_out" in warning for warning in report.warnings)
