"""A new day is appended to the earlier ones, and the result is that of one run over all of them."""

import json

import polars as pl
import pytest

from multitudes.data.clean.attribution import FeedbackLogs
from multitudes.data.duck import open_engine
from multitudes.data.incremental import EVENT_COLUMNS, EVENTS_FILE, write_events
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.tables import Table
from multitudes.data.timestamps import DAY_S
from multitudes.errors import ArtefactError, DataError, UsageError
from tests.cluster.hostile import differing, write_hostile
from tests.data.tables import NOW, events, write

CUT = 1_000_020  # between two days of the hostile tables


def run(data, out, *, append=None, **settings):
    config = PrepareConfig.model_validate({"split": "user", "threads": 1, **settings})
    return prepare(data, out, config, append=append, appendable=True, now=NOW)


def days(folder, *cuts, **tables):
    """Write the hostile tables whole, and once more with the events between each two of the cuts."""
    whole = write_hostile(folder / "hostile")
    table = pl.concat([pl.read_parquet(part) for part in sorted((whole / "events").iterdir())])
    table = table.filter(pl.col("timestamp").is_null() | (pl.col("timestamp") < 2_000_000))
    others = {name: pl.read_parquet(whole / f"{name}.parquet") for name in ("items", "users")}
    parts = [table.filter(pl.col("timestamp") < cuts[0])]
    parts += [
        table.filter(pl.col("timestamp").is_between(a, b - 1)) for a, b in zip(cuts, [*cuts[1:], NOW], strict=True)
    ]
    every = write(folder / "all", events=pl.concat(parts), **others)
    return every, [write(folder / f"day {day}", events=part, **others) for day, part in enumerate(parts)]


@pytest.mark.parametrize(
    "settings",
    [{"split": "time", "ties": "shuffle", "min_item_count": 2}, {"split": "user", "min_rating": 3.0}],
    ids=["time", "user"],
)
def test_appended_days_equal_one_run_over_all(tmp_path, settings):
    every, (first, second, third) = days(tmp_path, CUT, CUT + 10)
    whole = run(every, tmp_path / "whole", **settings)
    one = run(first, tmp_path / "one", **settings)
    two = run(second, tmp_path / "two", append=one.path, **settings)
    three = run(third, tmp_path / "three", append=two.path, **settings)
    assert differing(whole.path, three.path) == ["manifest.json"]
    manifests = [dict(found.manifest, inputs=None) for found in (whole, three)]
    assert manifests[0] == manifests[1]
    assert "repeated_events" in manifests[0]["repairs"]
    assert three.manifest["inputs"]["earlier"]["earlier"] == one.manifest["inputs"]
    assert "event_split.npy" in differing(whole.path, two.path)  # the control: a day is missing


def test_an_event_sent_on_an_earlier_day_and_twice_today_is_repeated_twice(tmp_path):
    first, second = events(event_id=list("abcdef")), events(event_id=[*"aaghij"], item_id=[10, 10, 20, 30, 20, 30])
    second = second.with_columns(pl.col("timestamp") + 1_000)
    one = run(write(tmp_path / "first", events=first), tmp_path / "one")
    two = run(write(tmp_path / "second", events=second), tmp_path / "two", append=one.path)
    every = run(write(tmp_path / "all", events=pl.concat([first, second])), tmp_path / "every")
    assert [found.manifest["repairs"].get("repeated_events", 0) for found in (one, two, every)] == [0, 2, 2]


def test_without_appendable_no_events_are_kept_and_all_else_is_the_same(tmp_path):
    data = write(tmp_path / "data")
    config = PrepareConfig(split="user")
    kept = prepare(data, tmp_path / "kept", config, appendable=True, now=NOW)
    plain = prepare(data, tmp_path / "plain", config, now=NOW)
    assert differing(kept.path, plain.path) == ["manifest.json", "sound.parquet"]
    with pytest.raises(UsageError, match="--appendable"):
        prepare(data, tmp_path / "out", config, append=plain.path, now=NOW)


def later(days, **changed):
    return events(timestamp=[1_000 + day * DAY_S for day in range(days, days + 6)], **changed)


REFUSED = {
    "of the last moment": (events(timestamp=[450, 451, 452, 453, 454, 455]), {}, DataError, "first event is at 450"),
    "other settings": (later(1), {"min_item_count": 2}, UsageError, "min_item_count = 1, not 2"),
    "other columns": (later(1, action=["save"] * 6), {}, DataError, "has the columns action"),
    "other ids": (later(1).cast({"item_id": pl.String}), {}, DataError, "'item_id' is"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_tables_that_do_not_fit_the_earlier_ones_are_rejected(tmp_path, case):
    table, settings, error, message = REFUSED[case]
    one = run(write(tmp_path / "first"), tmp_path / "one")
    with pytest.raises(error, match=message):
        run(write(tmp_path / "second", events=table), tmp_path / "two", append=one.path, **settings)
    assert not (tmp_path / "two").exists()


BEFORE = {
    "follows that were derived": (events(), {"follows_from_share": 0.2}, "first share"),
    "an order": (events(timestamp=[0, 1, 2, 3, 0, 1]), {}, "no later day"),
    "the future": (events(timestamp=[1, 2, 3, 4, 5, NOW * 2]), {}, "in the future"),
}


@pytest.mark.parametrize("case", BEFORE)
def test_a_run_that_would_need_the_earlier_tables_is_rejected(tmp_path, case):
    table, settings, message = BEFORE[case]
    one = run(write(tmp_path / "first", events=table), tmp_path / "one", **settings)
    with pytest.raises(UsageError, match=message):
        run(write(tmp_path / "second", events=later(1)), tmp_path / "two", append=one.path, **settings)


def test_served_logs_cannot_be_appended(tmp_path):
    data = write(tmp_path / "first")
    one = run(data, tmp_path / "one")
    for logs in (FeedbackLogs(served=data), FeedbackLogs(events=data / "events.parquet")):
        with pytest.raises(UsageError, match="cannot be appended"):
            prepare(data, tmp_path / "two", PrepareConfig(split="user"), logs=logs, append=one.path, now=NOW)


def test_a_missing_or_damaged_file_of_events_is_named(tmp_path):
    one = run(write(tmp_path / "first"), tmp_path / "one")
    second, file = write(tmp_path / "second", events=later(1)), one.path / "sound.parquet"
    content, place = file.read_bytes(), 60  # within the first page
    for harm, message in (
        (lambda: pl.read_parquet(file)[1:].write_parquet(file), "5 events; expected 6"),
        (lambda: pl.read_parquet(file).drop("rating").write_parquet(file), "has the columns row, user_id"),
        (lambda: file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]), "damaged"),
        (lambda: file.write_bytes(content[:-20]), "damaged"),
        (file.unlink, "missing"),
    ):
        harm()
        with pytest.raises(ArtefactError, match=rf"sound\.parquet: {message}"):
            run(second, tmp_path / "two", append=one.path)
        file.write_bytes(content)
    manifest = one.path / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(json.dumps(json.loads(text) | {"appendable": {"rows": 6}}))
    with pytest.raises(ArtefactError, match=r"manifest\.json: damaged"):
        run(second, tmp_path / "two", append=one.path)
    manifest.write_text(text)
    assert run(second, tmp_path / "two", append=one.path).manifest["counts"]["events"] == 12, "the control"


def test_kept_events_are_in_the_order_of_the_rows_for_any_engine(tmp_path):
    columns = ", ".join(f"0 AS {name}" for name in EVENT_COLUMNS.split(", ")[1:])
    with open_engine(tmp_path, "200MB", 1) as engine:
        engine.create_table("clean_event", f"SELECT (range * 7919) % 10007 AS row, {columns} FROM range(10007)")
        write_events(engine, tmp_path, Table("events", tmp_path, 10007, ()), None)
        disordered = engine.rows("SELECT row FROM clean_event LIMIT 3")
    assert [row for (row,) in disordered] == [0, 7919, 5831], "the control"
    assert pl.read_parquet(tmp_path / EVENTS_FILE)["row"].to_list() == list(range(10007))
