"""Columns of other names are known, suggested and mapped, in every format."""

import pytest

from multitudes.data.column_names import ColumnMap, guess_by_name, parse_map, suggest_map
from multitudes.data.validate import validate
from multitudes.errors import DataError, UsageError
from tests.data.tables import NOW, events, items, write


@pytest.mark.parametrize(
    ("columns", "canonical"),
    [
        ("reviewerID asin overall unixReviewTime reviewTime", "user_id item_id rating timestamp -"),
        ("Customer_ID StockCode InvoiceDate", "user_id item_id timestamp"),
        ("uid user_id item ts event", "- user_id item_id timestamp action"),
    ],
)
def test_the_columns_of_known_layouts_are_known(columns, canonical):
    expected = dict(zip(canonical.split(), columns.split(), strict=True))
    expected.pop("-", None)
    assert guess_by_name("events", columns.split()) == expected


def test_the_option_is_repeated_or_has_commas():
    assert parse_map(["a b=user_id,c=", "d=e=item_id"]).columns == {"a b": "user_id", "c": "", "d=e": "item_id"}
    for wrong in ("user_id", "=user_id", "a=b"):
        with pytest.raises(UsageError, match=f"--map {wrong}: "):
            parse_map([wrong])


WRITERS = {"parquet": "write_parquet", "csv": "write_csv", "jsonl": "write_ndjson"}


@pytest.mark.parametrize("suffix", WRITERS)
def test_tables_with_mapped_columns_are_the_canonical_ones(tmp_path, suffix):
    expected = validate(write(tmp_path / "ours"), now=NOW)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    tables = {
        "events": events(user_id=["007", "7", "7", "7", "8", "8"]).rename({"user_id": "uid", "timestamp": "when"}),
        "items": items().rename({"topics": "genres"}),
    }
    if suffix == "csv":
        tables["items"] = tables["items"].with_columns(genres=tables["items"]["genres"].list.join("|"))
    for name, table in tables.items():
        getattr(table, WRITERS[suffix])(theirs / f"{name}.{suffix}")
    with pytest.raises(DataError) as caught:
        validate(theirs, now=NOW)
    assert "--map uid=user_id --map when=timestamp" in str(caught.value)
    assert "--map genres=topics" in str(caught.value)  # all at once
    found = validate(theirs, columns={"uid": "user_id", "when": "timestamp", "genres": "topics"}, now=NOW)
    assert found.id_kinds == {"user_id": "string", "item_id": "int64"}
    assert found.counts["users"] == 3
    assert [found.counts[name] for name in ("items", "topics")] == [expected.counts["items"], expected.counts["topics"]]


def test_a_map_must_fit_the_tables(tmp_path):
    data = write(tmp_path, events=events(uid=[7] * 6))
    with pytest.raises(DataError, match="has a column 'user_id' already; leave that one out with --map user_id="):
        validate(data, columns={"uid": "user_id"}, now=NOW)
    assert validate(data, columns={"uid": "user_id", "user_id": ""}, now=NOW).counts["users"] == 3
    with pytest.raises(UsageError, match=r"no table for it has a column 'uidd'; did you mean 'uid'\?"):
        validate(data, columns={"uidd": ""}, now=NOW)
    assert not ColumnMap()


def test_a_column_that_has_our_name_is_not_proposed_for_itself():
    columns = ColumnMap({"user_id": "", "topics": "rating"})
    assert not columns.renames("events", ["user_id", "item_id", "timestamp"])
    assert not columns.renames("items", ["item_id", "topics"])
    assert columns.unused_columns() == [
        "--map user_id=: a table needs it; map another to it",
        "--map topics=rating: no table with that column takes 'rating'",
    ]
    assert suggest_map("items", ["item_id", "genres", "name", "x"]) == "--map genres=topics --map name=title"
    assert suggest_map("outcomes", ["user"]) == ""
