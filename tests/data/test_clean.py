"""Every repair is counted by its name; an error that would need a guess is rejected."""

import re
from pathlib import Path

import polars as pl
import pytest

from multitudes.data.clean.tables import REPAIRS, repair_text
from multitudes.errors import DataError
from tests.data.tables import NOW, cleaned, events, items, prepared, users, write

NAN, INF = float("nan"), float("inf")


REPAIRED = {
    "events_with_nulls": {"events": events(timestamp=[100, None, 300, 400, None, 450])},
    "duplicate_events": {"events": pl.concat([events(), events()[1:3]])},
    "repeated_events": {"events": events(item_id=[10, 20, 10, 10, 20, 20], event_id=["a", "b", "a", "a", "c", None])},
    "future_events": {"events": events(timestamp=[100, 200, NOW + 86_401, NOW + 86_400, 150, NOW * 2])},
    "unsorted_events": {"events": events(timestamp=[400, 300, 500, 450, 150, 450])},
    "events_without_action": {"events": events(action=["save", None, "save", None, "save", "save"])},
    "events_of_unknown_items": {"events": events(item_id=[10, 20, 99, 10, 98, 30])},
    "unknown_source_interests": {"events": events(source_interest=["art", "jazz", None, "golf", "sea", "sea"])},
    "items_with_nulls": {"items": pl.concat([items(), items(item_id=[None, None, 1])[:2].cast(items().schema)])},
    "duplicate_items": {"items": pl.concat([items(), items()[:2]])},
    "items_without_topics": {"items": items(topics=[[], None, ["sea"]])},
    "items_without_features": {"items": items(topics=[[], [""], ["sea"]])},
    "broken_embeddings": {"items": items(embedding=[[INF, NAN], [1e39, 0.0], [1.0, 2.0]])},
    "users_with_nulls": {"users": users(user_id=pl.Series([None, None], dtype=pl.Int64))},
    "duplicate_users": {"users": pl.concat([users(), users()])},
    "users_not_in_table": {"users": users(user_id=[8, 9])},
    "users_without_events": {"users": pl.concat([users(), users(user_id=[8, 9])])},
    "users_with_only_invalid_events": {"events": events(action=["hide"] * 6)},
    "follows_of_unknown_topics": {"users": users(followed_topics=[["art", "jazz"], ["golf"]])},
}


def test_every_repair_has_its_case_and_is_documented():
    assert set(REPAIRED) == set(REPAIRS)
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    assert [name for name in REPAIRS if f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", REPAIRED)
def test_a_repair_is_counted(tmp_path, name):
    found, _ = cleaned(write(tmp_path, **REPAIRED[name]))
    assert found.repairs[name] == 2
    one, two = repair_text(name, 1), repair_text(name, 2)
    assert (one.startswith("1 "), two) == (True, re.sub(r"^1 (\w+)", r"2 \1s", one))


def test_no_event_is_lost_without_being_counted(tmp_path):
    table = pl.concat([events(timestamp=[100, None, NOW * 2, 400, 150, 450]), events()])
    found, (kept,) = cleaned(write(tmp_path, events=table), "SELECT count(*) AS n FROM event")
    dropped = sum(found.repairs[name] for name in ("events_with_nulls", "duplicate_events", "future_events"))
    assert kept["n"][0] + dropped == len(table)


def test_an_event_is_usable_unless_its_action_its_flag_or_its_item_says_no(tmp_path):
    flagged = events(action=["hide"] + ["save"] * 5, valid=[True, False, None, True, True, True])
    bare = items(topics=[["art"], ["art"], []], embedding=[None] * 3).cast({"embedding": pl.List(pl.Float32)})
    write(tmp_path, events=flagged, items=bare)
    _, (rows,) = cleaned(tmp_path, "SELECT valid FROM event ORDER BY file_row")
    assert rows["valid"].to_list() == [False, False, False, True, True, False]


def test_actions_alone_decide_where_no_item_has_features_and_an_embedding_makes_one_usable(tmp_path):
    write(tmp_path, events=events(action=["hide"] + ["save"] * 5), items=None, users=None)
    found, (rows,) = cleaned(tmp_path, "SELECT valid FROM event ORDER BY file_row")
    assert rows["valid"].to_list() == [False] + [True] * 5
    assert len(found.warnings) == 2
    other = write(tmp_path / "other", items=items(topics=[[], [], ["sea"]], embedding=[[1.0, 2.0], [NAN, 1.0], None]))
    found, (rows,) = cleaned(other, "SELECT usable FROM item ORDER BY item_id")
    assert rows["usable"].to_list() == [True, False, True]
    assert found.embedding_width == 2


def test_embeddings_of_different_widths_and_a_future_of_events_are_rejected(tmp_path):
    write(tmp_path, items=items(embedding=[[1.0, 2.0], [1.0], None]))
    with pytest.raises(DataError, match="1 numbers at item 20 and 2 at item 10"):
        cleaned(tmp_path)
    with pytest.raises(DataError, match="past timestamp"):
        cleaned(write(tmp_path / "other", events=events(timestamp=[NOW + 10**6] * 6)))


@pytest.mark.parametrize("table", ["items", "users"])
def test_two_different_rows_of_one_id_are_rejected(tmp_path, table):
    one = {"items": items(), "users": users()}[table]
    other = one.with_columns(one.columns[1:2] and pl.Series(one.columns[1], [["sea"]] * len(one)))
    write(tmp_path, **{table: pl.concat([one, other])})
    with pytest.raises(DataError, match="several rows that differ"):
        cleaned(tmp_path)


def test_positions_are_distinguished_from_times(tmp_path):
    positions = write(tmp_path / "order", events=events(timestamp=[0, 1, 2, 3, 0, 1]))
    times = write(tmp_path / "times", events=events(timestamp=[0, 1, 2, 3, 0, 2]))
    tied = write(tmp_path / "tied", events=events(timestamp=[0, 1, 1, 3, 0, 1]))
    assert cleaned(positions)[0].ordered_only
    assert not cleaned(times)[0].ordered_only
    assert not cleaned(tied)[0].ordered_only


def test_follows_are_known_after_the_first_share_of_the_rows_in_the_file(tmp_path):
    copied = pl.concat([events(), events()[:1]])  # user 1 has 5 rows, 4 distinct; ceil(0.3 · 5) = 2
    query = "SELECT user_id, time FROM known_from ORDER BY user_id"
    _, (rows,) = cleaned(write(tmp_path, events=copied), query, share=0.3)
    assert rows.rows() == [(1, 100), (2, 150)]
    _, (rows,) = cleaned(tmp_path, query, share=0.0)
    assert rows.rows() == []


def test_topics_of_too_few_items_are_left_out(tmp_path):
    folder = write(tmp_path)
    assert prepared(folder, "all").topics == ["", "art", "food", "sea"]
    found = prepared(folder, "common", min_topic_items=2)
    assert found.topics == ["", "art"]
    assert found.manifest["repairs"]["items_without_topics"] == 1
    assert found.manifest["repairs"]["follows_of_unknown_topics"] == 2
