"""From logs to outcomes: a small log, and every row that it must produce."""

from pathlib import Path

import polars as pl
import pytest

from multitudes.errors import DataError, UsageError
from multitudes_lab.experiments.log_outcomes import OutcomesConfig, write_log_outcomes

DAY = 86_400
START = 1_700_006_400  # a midnight


def served(*rows: tuple[str, int, int, int, str]) -> pl.DataFrame:
    table = pl.DataFrame(rows, schema=["request_id", "user_id", "timestamp", "item_id", "source"], orient="row")
    return table.with_columns(condition=pl.lit(None, dtype=pl.String), rank=pl.lit(1))


def events(*rows: tuple[int, int, int, str, str | None]) -> pl.DataFrame:
    numbers = dict.fromkeys(("user_id", "item_id", "timestamp"), pl.Int64)
    return pl.DataFrame(rows, schema=numbers | {"action": pl.String, "request_id": pl.String}, orient="row")


ITEMS = pl.DataFrame({"item_id": [1, 2, 3, 4], "topics": [["a"], ["a", "b"], ["a"], ["b"]]})
SERVED = served(
    ("r1", 7, START, 1, "explicit"),
    ("r1", 7, START, 2, "implicit"),
    ("r2", 7, START + 60, 3, "implicit"),
    ("r3", 8, START + DAY, 4, "explicit"),
)
EVENTS = events(
    (7, 1, START + 10, "save", "r1"),
    (7, 3, START + 70, "save", "r2"),
    (7, 2, START + 20, "click", "r1"),
    (7, 2, START + DAY, "save", None),  # found by itself, though it was shown
    (8, 4, START + DAY + 5, "hide", "r3"),
)


def made(tmp_path: Path, log=SERVED, done=EVENTS, items=ITEMS, **settings) -> dict[tuple[int, int, str], float]:
    files = {}
    for name, table in (("served", log), ("events", done), ("items", items)):
        if table is not None:
            files[name] = tmp_path / f"{name}.parquet"
            table.write_parquet(files[name])
    out = tmp_path / "outcomes.parquet"
    write_log_outcomes(files["served"], files["events"], files.get("items"), out, OutcomesConfig(**settings))
    rows = pl.read_parquet(out)
    assert list(rows.columns) == ["user_id", "timestamp", "metric", "value"]
    return {(user, (at - START) // DAY, metric): value for user, at, metric, value in rows.iter_rows()}


def test_every_row_of_a_small_log(tmp_path):
    assert made(tmp_path) == {
        (7, 0, "active"): 1,
        (8, 1, "active"): 1,
        (7, 0, "session_s"): 30,  # 20 s of the first answer, 10 of the second
        (8, 1, "session_s"): 5,
        (7, 0, "visits"): 2,
        (8, 1, "visits"): 1,
        (7, 0, "saves"): 2,
        (7, 1, "saves"): 1,
        (7, 0, "click"): 1,
        (8, 1, "hide"): 1,
        (7, 0, "feed_saves"): 2,
        (7, 0, "feed_saves_explicit"): 1,
        (7, 0, "feed_saves_implicit"): 1,
        (7, 0, "topics_served"): 3,  # a and b in one answer, a in the other
        (8, 1, "topics_served"): 1,
        (7, 1, "adopted_topics"): 1,  # a, by its third save
    }


def test_without_request_ids_an_event_follows_from_the_newest_response_shortly_before(tmp_path):
    unnamed = EVENTS.with_columns(request_id=pl.lit(None, dtype=pl.String))
    assert made(tmp_path, done=unnamed)[7, 1, "feed_saves"] == 1  # a day after it was shown
    later = unnamed.with_columns(pl.col("timestamp") + DAY)
    assert not [user for user, _, metric in made(tmp_path, done=later) if (user, metric) == (7, "feed_saves")]
    twice = served(("r1", 7, START, 1, "explicit"), ("r2", 7, START + 60, 1, "implicit"))
    found = made(tmp_path, log=twice, done=events((7, 1, START + 90, "save", None)))
    assert found[7, 0, "feed_saves_implicit"] == 1
    assert (7, 0, "feed_saves_explicit") not in found


def test_of_two_responses_in_one_second_the_order_of_the_rows_chooses_none(tmp_path):
    log = served(("r1", 7, START, 1, "explicit"), ("r2", 7, START, 1, "implicit"))
    done = events((7, 1, START + 10, "save", None))
    found = [made(tmp_path, rows, done) for rows in (log, log.reverse())]
    assert found[0] == found[1]
    assert sum(value for (*_, metric), value in found[0].items() if metric.startswith("feed_saves_")) == 1


def test_a_topic_is_adopted_by_enough_saves_of_different_items_since_the_start(tmp_path):
    assert made(tmp_path, adopted=2)[7, 0, "adopted_topics"] == 1
    assert made(tmp_path, adopted=1)[7, 1, "adopted_topics"] == 1  # b; a was adopted on the first day
    assert not any(metric == "adopted_topics" for _, _, metric in made(tmp_path, since=START + 60))
    again = pl.concat([EVENTS, EVENTS.filter(pl.col("item_id") == 1)] * 3)
    assert made(tmp_path, done=again, since=START, adopted=4).get((7, 1, "adopted_topics")) is None
    again = events(*((7, 1, START + 10 * k, "save", "r1") for k in range(3)))
    assert (7, 0, "adopted_topics") not in made(tmp_path, done=again)
    three = events(*((7, item, START + 10 * item, "save", "r1") for item in (1, 2, 3)))
    assert made(tmp_path, done=three)[7, 0, "adopted_topics"] == 1


def test_days_begin_at_the_time_of_the_start_so_no_row_crosses_it(tmp_path):
    noon = START + DAY // 2
    done = events(*((7, 1, at, "save", None) for at in (noon - 9, noon, noon + 9, noon + DAY - 1, noon + DAY)))
    assert made(tmp_path, done=done)[7, 0, "saves"] == 3
    made(tmp_path, done=done, since=noon)
    saves = pl.read_parquet(tmp_path / "outcomes.parquet").filter(metric="saves")
    assert dict(saves.select("timestamp", "value").iter_rows()) == {noon - 9: 1, noon: 3, noon + DAY: 1}


def test_topics_are_those_of_the_items_table_and_of_shown_items_if_the_log_has_slots(tmp_path):
    found = made(tmp_path, log=SERVED.with_columns(slot=pl.Series([0, None, 0, None], dtype=pl.Int32)))
    assert found[7, 0, "topics_served"] == 2
    assert (8, 1, "topics_served") not in found
    whole, without = ({metric for _, _, metric in made(tmp_path, items=table)} for table in (ITEMS, None))
    assert whole - without == {"topics_served", "adopted_topics"}


def test_the_actions_that_count_as_saves_are_configurable(tmp_path):
    found = made(tmp_path, saves=("save", "click"))
    assert found[7, 0, "saves"] == 3
    assert not any(metric == "click" for _, _, metric in found)


def test_bad_tables_are_rejected_in_one_line_and_leave_no_files(tmp_path):
    with pytest.raises(DataError, match="user_id"):
        made(tmp_path, done=EVENTS.with_columns(pl.col("user_id").cast(pl.String)))
    with pytest.raises(DataError, match="timestamp"):
        made(tmp_path, log=SERVED.drop("timestamp"))
    with pytest.raises(DataError, match="'visits' is the name of a metric"):
        made(tmp_path, done=EVENTS.with_columns(action=pl.lit("visits")))
    log, done = tmp_path / "served.parquet", tmp_path / "events.parquet"
    for source, out, said in (("none.parquet", "o.parquet", "no such table"), (log, "new/o.csv", "ends in")):
        with pytest.raises(UsageError, match=said):
            write_log_outcomes(tmp_path / source, done, None, tmp_path / out, OutcomesConfig())
    assert not (tmp_path / "new").exists()
    assert not [file for file in tmp_path.iterdir() if "outcomes" in file.name or file.name == "o.parquet"]


def test_a_resent_event_counts_once_and_one_without_an_id_or_with_two_items_each_time(tmp_path):
    named = EVENTS.with_columns(event_id=pl.format("e{}", pl.int_range(pl.len())))
    copies = named.with_columns(pl.col("timestamp") + 2 * DAY)  # a service that is not told the time takes its own
    assert made(tmp_path, done=pl.concat([copies, named])) == made(tmp_path)
    log, done, items = (tmp_path / f"{name}.parquet" for name in ("served", "events", "items"))
    assert write_log_outcomes(log, done, items, tmp_path / "again.parquet", OutcomesConfig()).repeated == 0
    pl.concat([copies, named]).write_parquet(done)
    assert write_log_outcomes(log, done, items, tmp_path / "again.parquet", OutcomesConfig()).repeated == len(EVENTS)
    nameless = named.with_columns(event_id=pl.lit(None, dtype=pl.String))
    assert made(tmp_path, done=pl.concat([nameless, nameless]))[7, 0, "saves"] == 4
    both = events((7, 1, START + 10, "save", "r1"), (7, 2, START + 20, "save", "r1"))
    assert made(tmp_path, done=both.with_columns(event_id=pl.lit("e")))[7, 0, "saves"] == 2
