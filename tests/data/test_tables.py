"""Tables in three formats are converted to the canonical types, or rejected in one line."""

import polars as pl
import pytest

from multitudes.data import tables
from multitudes.data.tables import table_sha256
from multitudes.errors import DataError, UsageError
from tests.data.tables import cleaned, events, items, users, write


def refusal(folder):
    with pytest.raises(DataError) as caught:
        cleaned(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_csv_json_lines_and_parquet_give_the_same(tmp_path):
    extra = {"action": ["save", "hide", None, "save", "save", "save"], "rating": [1.0, None, 3.5, 4, 5, 2]}
    parquet = write(tmp_path / "parquet", events=events(**extra))
    csv, lines = tmp_path / "csv", tmp_path / "lines"
    csv.mkdir()
    lines.mkdir()
    events(**extra).write_csv(csv / "events.csv")
    (csv / "items.csv").write_text('item_id,topics\n10,art\n20,"[""art"", ""food""]"\n30,sea\n')
    (csv / "users.csv").write_text("user_id,followed_topics\n1,food | art\n2,sea\n")
    events(**extra).write_ndjson(lines / "events.jsonl")
    items().write_ndjson(lines / "items.ndjson")
    users().write_ndjson(lines / "users.jsonl")
    queries = (
        "SELECT * FROM event ORDER BY file_row",
        "SELECT * FROM item_topic ORDER BY item_id, place",
        "SELECT * FROM follow ORDER BY user_id, place",
    )
    reference = cleaned(parquet, *queries)[1]
    assert reference[1]["topic"].to_list() == ["art", "art", "food", "sea"]
    for folder in (csv, lines):
        for expected, found in zip(reference, cleaned(folder, *queries)[1], strict=True):
            assert found.equals(expected)


def test_vectors_in_csv_are_written_as_other_lists_are(tmp_path):
    csv = write(tmp_path, items=None)
    (csv / "items.csv").write_text('item_id,topics,embedding\n10,art,0.5|-2\n20,sea,"[1, 1e3]"\n30,sea,\n')
    query = "SELECT embedding FROM item ORDER BY item_id"
    assert cleaned(csv, query)[1][0]["embedding"].to_list() == [[0.5, -2], [1, 1000], None]


@pytest.mark.parametrize("ids", [("007", "7"), ("1e2", "100"), ("2020-01-01", "2020-1-1"), ("true", "TRUE")])
def test_ids_in_csv_are_kept_as_they_are_written(tmp_path, ids):
    (tmp_path / "events.csv").write_text(f"user_id,item_id,timestamp\n{ids[0]},1,5\n{ids[1]},2,6\n")
    found, (rows,) = cleaned(tmp_path, "SELECT user_id, item_id FROM event ORDER BY file_row")
    assert rows.rows() == [(ids[0], 1), (ids[1], 2)]
    assert found.id_types == {"user_id": "string", "item_id": "int64"}


def test_ids_beyond_a_float_stay_apart_and_unlike_ones_or_an_empty_table_are_rejected(tmp_path):
    write(tmp_path, events=events(user_id=[2**53, 2**53 + 1, 2**62, 2**62 + 1, 1, 2]), users=None)
    _, (rows,) = cleaned(tmp_path, "SELECT count(DISTINCT user_id) AS n, max(user_id) AS largest FROM event")
    assert rows.rows() == [(6, 2**62 + 1)]
    message = refusal(write(tmp_path, events=events(user_id=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])))
    assert "'user_id' is DOUBLE; expected int64 or string" in message
    message = refusal(write(tmp_path, users=users(user_id=["1", "2"])))
    assert "int64 in events.parquet" in message
    assert "string in users.parquet" in message
    assert "no rows" in refusal(write(tmp_path, events=events().clear()))


@pytest.mark.parametrize("column", ["user_id", "item_id", "timestamp"])
def test_a_missing_column_is_named_with_those_that_are_there(tmp_path, column):
    message = refusal(write(tmp_path, events=events(rating=1.0).drop(column)))
    assert f"column '{column}' is missing" in message
    assert "rating" in message


@pytest.mark.parametrize(
    ("table", "column", "values", "expected"),
    [
        ("events", "timestamp", ["a", "b", "c", "d", "e", "f"], "int64 seconds or a timestamp type"),
        ("events", "timestamp", [1.5, 2, 3, 4, 5, 6], "int64 seconds or a timestamp type"),
        ("events", "rating", ["a", "b", "c", "d", "e", "f"], "a number"),
        ("events", "action", [1, 2, 3, 4, 5, 6], "text"),
        ("events", "valid", ["y", "n", "y", "n", "y", "n"], "true or false"),
        ("items", "topics", ["art|food", "art", "sea"], "string_split"),
        ("items", "topics", [[1], [2], [3]], "a list of texts"),
        ("items", "embedding", ["a", "b", "c"], "a list of numbers"),
        ("items", "embedding", [[[1.0]], [[2.0]], [[3.0]]], "a list of numbers"),
        ("users", "followed_topics", ["art", "sea"], "string_split"),
    ],
)
def test_a_wrong_type_is_named_with_the_expected_one(tmp_path, table, column, values, expected):
    worlds = {"events": events, "items": items, "users": users}
    message = refusal(write(tmp_path, **{table: worlds[table](**{column: values})}))
    assert f"{table}.parquet: column '{column}' is" in message
    assert expected in message


def test_timestamp_types_become_seconds(tmp_path):
    seconds = pl.Series([100, 200, 300, 400, 150, 450])
    for dtype, factor in ((pl.Datetime("ms"), 1_000), (pl.Datetime("us"), 1_000_000), (pl.Datetime("ns"), 10**9)):
        moments = (seconds * factor + factor // 2).cast(dtype)
        folder = write(tmp_path / str(factor), events=events(timestamp=moments))
        _, (rows,) = cleaned(folder, "SELECT time FROM event ORDER BY file_row")
        assert rows["time"].to_list() == seconds.to_list()
    zoned = (seconds * 1_000_000).cast(pl.Datetime("us", "UTC"))
    _, (rows,) = cleaned(write(tmp_path / "zone", events=events(timestamp=zoned)), "SELECT time FROM event ORDER BY 1")
    assert rows["time"].to_list() == sorted(seconds)


@pytest.mark.parametrize(("unit", "factor"), [("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9)])
def test_times_in_a_smaller_unit_are_recognised(tmp_path, unit, factor):
    times = [(1_700_000_000 + second) * factor for second in range(6)]
    message = refusal(write(tmp_path, events=events(timestamp=times)))
    assert f"looks like {unit}" in message
    assert f"// {factor}" in message


def test_a_column_without_values_has_no_wrong_type(tmp_path):
    blank = {"action": None, "rating": None, "source_interest": None, "valid": None}
    parquet = write(tmp_path / "parquet", events=events(**blank), users=users(followed_topics=[[], []]))
    csv = write(tmp_path / "csv", events=None)
    events(**blank).write_csv(csv / "events.csv")
    for folder in (parquet, csv):
        found, (rows,) = cleaned(folder, "SELECT DISTINCT action, rating, source, valid FROM event")
        assert rows.rows() == [("unknown", None, None, True)]
        assert found.repairs["events_without_action"] == 6


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_file_without_bytes_is_called_empty(suffix, tmp_path):
    folder = write(tmp_path)
    (folder / "items.parquet").unlink()
    (folder / f"items{suffix}").touch()
    assert f"items{suffix}: the file is empty" in refusal(folder)


def test_a_folder_without_tables_or_with_one_twice_is_rejected(tmp_path):
    (write(tmp_path / "one") / "items.parquet").write_bytes(b"not a table at all")
    assert "items.parquet: cannot be read" in refusal(tmp_path / "one")
    events().write_csv(write(tmp_path / "two") / "events.csv")
    assert "events.parquet and events.csv" in refusal(tmp_path / "two")
    assert "at least the events table" in refusal(write(tmp_path / "none", events=None))
    with pytest.raises(UsageError, match="no such folder"):
        cleaned(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"events\.csv: expected the folder of the tables, got a file"):
        tables.find_tables(tmp_path / "two" / "events.csv")


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("u1,사과,5\n".encode("cp949"), "is not UTF-8; save it as UTF-8, or read it with `multitudes import`"),
        (b"u1,i1,5\nu2,i2,5,6\n", "a line has not as many columns as the first; `multitudes import` says which"),
    ],
)
def test_a_csv_file_that_import_reads_names_import(tmp_path, rows, problem):
    (tmp_path / "events.csv").write_bytes(b"user_id,item_id,timestamp\n" + rows)
    assert f"events.csv: {problem}" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["timestamp", "Timestamp"])
def test_two_columns_of_one_name_in_csv_are_rejected(tmp_path, name):
    (tmp_path / "events.csv").write_text(f"user_id,,item_id,timestamp,{name}\nu1,,i1,5,7\n")
    assert "events.csv: columns 4 and 5 are both called 'timestamp'; rename one of them" in refusal(tmp_path)


@pytest.mark.parametrize("parts", [0, 2])
def test_columns_named_as_the_reader_names_its_own_are_only_columns(tmp_path, parts):
    table = events(file_row_number=[0] * 6, file_index=[7] * 6)
    write(tmp_path, events=None if parts else table)
    if parts:
        (tmp_path / "events").mkdir()
        for part in range(parts):
            table[part * 3 : part * 3 + 3].write_parquet(tmp_path / "events" / f"{part}.parquet")
    _, (rows,) = cleaned(tmp_path, "SELECT file_row, time FROM event ORDER BY file_row")
    assert rows.rows() == list(enumerate(table["timestamp"], start=1))


@pytest.mark.parametrize("look", [tables.find_tables, lambda folder: tables.resolve_table(folder / "events")])
def test_a_shard_of_another_format_is_rejected_and_not_ignored(tmp_path, look):
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "part-0.parquet").touch()
    (tmp_path / "events" / "part-1.csv").touch()
    with pytest.raises(DataError, match=r"events: part-1\.csv is not Parquet"):
        look(tmp_path)


def test_the_digest_of_a_folder_depends_on_each_shard_and_on_their_order(tmp_path):
    digests = []
    for number, contents in enumerate((("a", "b"), ("a", "b"), ("b", "a"), ("a", "c"), ("a",))):
        folder = tmp_path / str(number)
        folder.mkdir()
        for place, content in enumerate(contents):
            (folder / f"{place}.parquet").write_text(content)
        (folder / "notes.txt").write_text(str(number))  # no part of the table
        digests.append(table_sha256(folder))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4
    assert table_sha256(tmp_path / "0" / "0.parquet") not in digests
