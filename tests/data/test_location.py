"""What is an address and what is a path, as a person or pathlib writes them; nothing secret is shown."""

from pathlib import Path

import polars as pl
import pytest
from pyarrow import fs

from multitudes.data.fetch import fetch
from multitudes.data.location import RemotePath, display_location, parse_location, reject_url
from multitudes.data.table_files import table_sha256
from multitudes.data.tables import find_tables, resolve_table
from multitudes.errors import DataError, UsageError
from tests.data.tables import cleaned, write


def address(folder):
    """An address of which the store is a folder of this machine."""
    return RemotePath("mock://shop", fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem()), "shop")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("s3://shop/day", "s3://shop/day"),
        (Path("s3://shop/day"), "s3://shop/day"),
        ("s3://KEY:SECRET@shop/day/?region=eu-west-1", "s3://shop/day"),
        ("abfs://container:SECRET@account/day", "abfs://container@account/day"),
        ("hdfs://ann:SECRET@host:8020/day?replication=2", "hdfs://ann@host:8020/day"),
        ("gs://shop/a%20day", "gs://shop/a day"),
        ("file:///tmp/day", "file:///tmp/day"),
        ("day/one", "day/one"),
        ("C:/day", "C:/day"),
        ("a:b/c", "a:b/c"),
    ],
)
def test_what_is_shown_of_a_place(given, expected):
    assert display_location(given) == expected


@pytest.mark.parametrize("given", ["file:///tmp/a%20day", Path("file:///tmp/a%20day"), "file:/tmp/a%20day"])
def test_an_address_of_this_machine_is_the_path(given):
    assert parse_location(given) == Path("/tmp/a day")


@pytest.mark.parametrize("given", ["day", "C:/day", "/tmp/s3:/day"])
def test_a_path_stays_one(given):
    assert parse_location(given) == Path(given)
    reject_url(given)


def test_an_address_that_arrow_cannot_read_is_refused_without_its_key():
    with pytest.raises(UsageError, match=r"^s3://shop/a day: a URL that cannot be read") as refused:
        parse_location("s3://KEY:SECRET@shop/a day")
    assert "SECRET" not in str(refused.value)


def test_tables_are_found_and_digested_as_on_the_disk(tmp_path):
    folder = write(tmp_path / "shop", events=None)
    (folder / "events").mkdir()
    for part in ("1", "0"):
        pl.DataFrame({"user_id": [1], "item_id": [1], "timestamp": [int(part)]}).write_parquet(
            folder / "events" / f"{part}.parquet"
        )
    there = address(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("multitudes.data.tables.parse_location", lambda given: given)
        here, found = find_tables(folder), find_tables(there)
        assert resolve_table(there / "events").is_dir()
        with pytest.raises(UsageError, match="no such table"):
            resolve_table(there / "nothing.parquet")
    assert {name: one.name for name, one in found.items()} == {name: one.name for name, one in here.items()}
    assert [table_sha256(one) for one in found.values()] == [table_sha256(one) for one in here.values()]
    (tmp_path / "copy").mkdir()
    assert isinstance(found["events"], RemotePath)
    assert table_sha256(fetch(found["events"], tmp_path / "copy")) == table_sha256(here["events"])
    with pytest.raises(FileNotFoundError):
        table_sha256(there / "nothing.parquet")


def test_a_table_that_is_shorter_than_was_listed_is_refused(tmp_path):
    write(tmp_path / "shop")
    items = address(tmp_path) / "items.parquet"
    (tmp_path / "shop" / "items.parquet").write_bytes(b"short")
    with pytest.raises(DataError, match=r"mock://shop/items.parquet: was changed or cut .* expected the [\d,]+ bytes"):
        fetch(items, tmp_path)


def test_the_engine_reads_a_copy_and_names_the_address(tmp_path, monkeypatch):
    write(tmp_path / "shop")
    monkeypatch.setattr("multitudes.data.tables.parse_location", lambda _: address(tmp_path))
    (tmp_path / "engine").mkdir()
    found, _ = cleaned(tmp_path / "engine")
    assert str(found.tables["events"].file) == "mock://shop/events.parquet"
    (tmp_path / "shop" / "items.parquet").write_bytes(b"no table")
    with pytest.raises(DataError, match=r"^mock://shop/items.parquet: cannot be read") as refused:
        cleaned(tmp_path / "engine")
    assert str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("s3://", r"^s3://: has no bucket"),
        ("s3://KEY:SECRET@/day", r"^s3://: has no bucket"),
        ("s3://shop/a day", r"' ' in a name is written %20"),
        ("s3://shop/day#1", r"^s3://shop/day: a URL that cannot be read: '#' in a name is written %23"),
    ],
)
def test_an_address_that_would_be_read_as_another_is_refused(given, said):
    with pytest.raises(UsageError, match=said):
        parse_location(given)
