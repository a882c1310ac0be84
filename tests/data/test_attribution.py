"""The topic that sourced an engagement is the one that brought the item before: never a later one, never a guess."""

import json

import polars as pl
import pytest

from multitudes.cli.main import run as command
from multitudes.data.clean.attribution import FeedbackLogs
from multitudes.data.clean.events import EventRules
from multitudes.data.clean.tables import clean_tables
from multitudes.data.duck import open_engine
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.errors import DataError, UsageError
from tests.data.tables import NOW, events, items, write

T = 1_000_000


def served(*rows):
    """Return a served log: (request, user, item, time, condition[, rank])."""
    columns = ("request_id", "user_id", "item_id", "timestamp", "condition", "rank")
    schema = dict(zip(columns, (pl.String, pl.Int64, pl.Int64, pl.Int64, pl.String, pl.Int32), strict=True))
    return pl.DataFrame([(*row, 1)[:6] for row in rows], schema=schema, orient="row")


def engaged(*rows):
    """Return an events log: (event, user, item, time, request)."""
    schema = {"event_id": pl.String, "user_id": pl.Int64, "item_id": pl.Int64, "timestamp": pl.Int64}
    return pl.DataFrame(list(rows), schema={**schema, "request_id": pl.String}, orient="row").with_columns(
        action=pl.lit("save")
    )


def put(folder, *parts):
    """Write the parts of a table as a folder and return it."""
    folder.mkdir(parents=True)
    for number, part in enumerate(parts):
        part.write_parquet(folder / f"part-{number}.parquet")
    return folder


def explained(tmp_path, serves, *events_of_log):
    """Return the source of each logged event, by user and item, and the counts."""
    data = write(tmp_path / "data")
    log, serves = put(tmp_path / "log", engaged(*events_of_log)), put(tmp_path / "served", served(*serves))
    logs = FeedbackLogs(log, serves)
    with open_engine(tmp_path, "500MB", 1) as connection:
        found = clean_tables(connection, data, EventRules(("hide",), 0.0, NOW), logs=logs)
        rows = connection.frame(f"SELECT user_id, item_id, source FROM event WHERE time >= {T}")
    return {(user, item): source for user, item, source in rows.rows()}, found.attribution


def prepared(data, out, logs):
    return prepare(data, out, PrepareConfig(split="user"), logs=logs, now=NOW)


# Each: what was served, one event of user 1 with item 10 at T (its request, or None), and what sourced it.
CASES = {
    "the answer that the event names": ([("a", 1, 10, T - 9, "art"), ("b", 1, 10, T - 5, "sea")], "a", "art"),
    "the newest before, where it names none": ([("a", 1, 10, T - 9, "art"), ("b", 1, 10, T - 5, "sea")], None, "sea"),
    "the newest before, whatever the order": ([("b", 1, 10, T - 5, "sea"), ("a", 1, 10, T - 9, "art")], None, "sea"),
    "never a later one": ([("a", 1, 10, T - 9, "art"), ("b", 1, 10, T + 1, "sea")], None, "art"),
    "never a later one, though there is no other": ([("b", 1, 10, T + 1, "sea")], None, None),
    "at the same second it can have been before": ([("a", 1, 10, T, "art")], None, "art"),
    "never one of somebody else": ([("a", 2, 10, T - 5, "art")], None, None),
    "never one of another item": ([("a", 1, 20, T - 5, "art")], None, None),
    "a name that somebody else used as well": ([("a", 2, 10, T - 5, "art"), ("a", 1, 10, T - 9, "sea")], "a", "sea"),
    "an answer of that name without the item": ([("a", 1, 20, T - 5, "art"), ("b", 1, 10, T - 9, "sea")], "a", "sea"),
    "somebody described in the request": ([("a", None, 10, T - 5, "art")], "a", "art"),
    "somebody described, but not named": ([("a", None, 10, T - 5, "art")], None, None),
    "a clock that is a minute behind": ([("a", 1, 10, T + 60, "art")], "a", "art"),
    "a clock cannot be an hour behind": ([("a", 1, 10, T + 3_600, "art")], "a", None),
    "of two of its name the one before": ([("a", 1, 10, T + 60, "art"), ("a", 1, 10, T - 60, "sea")], "a", "sea"),
    "an implicit interest is no topic": ([("a", 1, 10, T - 9, "art"), ("b", 1, 10, T - 5, None)], None, None),
    "too long ago": ([("a", 1, 10, T - 86_401, "art")], None, None),
    "just not too long ago": ([("a", 1, 10, T - 86_400, "art")], None, "art"),
    "by name it may be long ago": ([("a", 1, 10, T - 900_000, "art")], "a", "art"),
    "of one second the higher rank": ([("b", 1, 10, T - 5, "sea", 3), ("a", 1, 10, T - 5, "art", 2)], None, "art"),
}


@pytest.mark.parametrize("case", CASES)
def test_an_engagement_is_attributed(tmp_path, case):
    serves, request, expected = CASES[case]
    found, _ = explained(tmp_path, serves, ("e1", 1, 10, T, request))
    assert found == {(1, 10): expected}


def test_each_kind_of_attribution_is_counted(tmp_path):
    serves = [("a", 1, 10, T - 9, "art"), ("b", 1, 20, T - 9, None), ("c", 2, 30, T - 9, "sea")]
    log = [("e1", 1, 10, T, "a"), ("e2", 1, 20, T, "b"), ("e3", 2, 30, T, None), ("e4", 2, 10, T, None)]
    found, counts = explained(tmp_path, serves, *log)
    assert found == {(1, 10): "art", (1, 20): None, (2, 30): "sea", (2, 10): None}
    before = len(events())  # the old events were not served at all
    assert counts == {"within_s": 86_400, "by_request": 2, "by_newest": 1, "not_served": 1 + before, "with_topic": 2}


def test_a_source_that_the_table_gives_is_kept_and_an_event_that_was_sent_twice_is_one(tmp_path):
    data = write(tmp_path / "data", events=events(timestamp=[T] * 6, source_interest=["food", "", None, "sea", "", ""]))
    log = put(tmp_path / "log", served(*[("a", u, i, T, "art") for u in (1, 2) for i in (10, 20, 30)]))
    with open_engine(tmp_path, "500MB", 1) as connection:
        clean_tables(connection, data, EventRules(("hide",), 0.0, NOW), logs=FeedbackLogs(served=log))
        rows = connection.frame("SELECT source FROM event ORDER BY file_row")
    assert rows["source"].to_list() == ["food", "art", "art", "sea", "art", "art"]
    data = write(tmp_path / "other")
    log = engaged(("e1", 1, 10, T, "a"), ("e1", 1, 10, T + 5, "a"), ("e2", 1, 10, T + 5, "a"), ("e1", 2, 10, T, "a"))
    found = prepared(data, tmp_path / "out", FeedbackLogs(put(tmp_path / "other-log", log)))
    assert found.manifest["repairs"]["repeated_events"] == 1
    assert found.manifest["counts"]["events"] == len(events()) + 3
    assert found.event_time[found.event_time >= T].tolist() == [T, T + 5, T]


def test_the_log_alone_can_be_the_events_or_is_appended_to_those_of_the_data(tmp_path):
    data = write(tmp_path / "data", events=None)
    log = put(tmp_path / "log", engaged(*[(f"e{i}", 1, 10 * (1 + i % 3), T + i, None) for i in range(9)]))
    found = prepared(data, tmp_path / "out", FeedbackLogs(events=log))
    assert found.event_time.tolist() == list(range(T, T + 9))
    with pytest.raises(DataError, match="at least the events table"):
        prepare(data, tmp_path / "other", now=NOW)
    data = write(tmp_path / "both", events=events(session=["s"] * 6))
    log = put(tmp_path / "both-log", engaged(("e1", 1, 10, T, None)), engaged(("e2", 3, 99, T + 1, None)))
    found = prepared(data, tmp_path / "both-out", FeedbackLogs(events=log))
    assert found.manifest["counts"]["events"] == 8
    assert found.user_ids.to_list() == [1, 2, 3]
    assert found.manifest["repairs"]["events_of_unknown_items"] == 1
    assert found.manifest["inputs"]["logged events"]["rows"] == 2
    assert "sources" not in found.manifest


def test_equal_logs_give_equal_bytes_for_any_shards(tmp_path):
    data = write(tmp_path / "data")
    serves = [served(("a", 1, 10, T - 9, "art")), served(("b", 1, 20, T - 9, "food"))]
    log = [engaged(("e1", 1, 10, T, "a")), engaged(("e2", 1, 20, T, None))]
    one = FeedbackLogs(put(tmp_path / "e1", pl.concat(log)), put(tmp_path / "s1", pl.concat(serves)))
    two = FeedbackLogs(put(tmp_path / "e2", *log), put(tmp_path / "s2", *serves[::-1]))
    found = [prepared(data, tmp_path / name, logs) for name, logs in (("one", one), ("two", two))]
    for file in found[0].path.glob("*.npy"):
        assert file.read_bytes() == (found[1].path / file.name).read_bytes()
    assert found[0].event_source.max() > 0


def test_the_command_prints_how_events_were_attributed(tmp_path, capsys):
    data = write(tmp_path / "data")
    log = put(tmp_path / "e", engaged(("e1", 1, 10, T, "a"), ("e2", 1, 20, T, None), ("e3", 2, 10, T, None)))
    serves = put(tmp_path / "s", served(("a", 1, 10, T, "art"), ("b", 1, 20, T - 50, "food")))
    call = ["prepare", str(data), "--out", str(tmp_path / "out"), "--split", "user", "--json"]
    assert command([*call, "--events", str(log), "--served", str(serves), "--served-within-s", "49"]) == 0
    printed = capsys.readouterr().out.splitlines()
    (line,) = [line for line in printed if line.startswith("attribution of events: ")]
    assert line.endswith(
        "1 by request id, 0 by the newest response before them, 8 not served; 1 have a topic as source"
    )
    assert json.loads(printed[-1])["sources"]["by_request"] == 1


@pytest.mark.parametrize("what", ["events", "served"])
def test_a_log_that_is_missing_or_has_other_ids_is_rejected(tmp_path, what):
    data = write(tmp_path / "data")
    (tmp_path / "empty").mkdir()
    text = {"events": engaged(("e1", 1, 10, T, None)), "served": served(("a", 1, 10, T, "art"))}[what]
    strings = put(tmp_path / "text", text.with_columns(pl.col("user_id").cast(pl.String)))
    for path, error, message in (
        (tmp_path / "none", UsageError, "no such table"),
        (tmp_path / "empty", DataError, "no Parquet file"),
        (strings, DataError, "string in text"),
        (data / "items.parquet", DataError, "is missing"),
    ):
        with pytest.raises(error, match=message):
            prepared(data, tmp_path / "out", FeedbackLogs(served=path) if what == "served" else FeedbackLogs(path))
        assert not (tmp_path / "out").exists()


def test_any_table_may_be_a_folder_of_shards(tmp_path):
    whole = write(tmp_path / "whole")
    parted = tmp_path / "parted"
    put(parted / "events", events()[:2], events()[2:].with_columns(action=pl.lit("save")))
    put(parted / "items", items()[:1], items()[1:])
    write(parted, events=None, items=None)
    queries = "SELECT user_id, item_id, time FROM event ORDER BY file_row", "SELECT * FROM item_topic ORDER BY ALL"
    found = []
    for folder in (whole, parted):
        with open_engine(tmp_path, "500MB", 1) as connection:
            clean_tables(connection, folder, EventRules(("hide",), 0.0, NOW))
            found.append([connection.frame(query).rows() for query in queries])
    assert found[0] == found[1]
    events().write_parquet(parted / "events.parquet")
    with open_engine(tmp_path, "500MB", 1) as connection, pytest.raises(DataError, match="both exist"):
        clean_tables(connection, parted, EventRules(("hide",), 0.0, NOW))
