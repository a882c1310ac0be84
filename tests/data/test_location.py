"""URLs and paths as people or pathlib write them; secrets are never shown; errors of a store become one line."""

from pathlib import Path

import polars as pl
import pytest
from pyarrow import fs

from multitudes.data.fetch import fetch
from multitudes.data.location import RemotePath, display_location, parse_location, reject_url
from multitudes.data.tables import find_tables, resolve_table, table_sha256
from multitudes.errors import DataError, UnavailableError, UsageError
from tests.data.tables import cleaned, write


def remote(folder):
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
def test_a_location_is_displayed_without_secrets(given, expected):
    assert display_location(given) == expected


@pytest.mark.parametrize("given", ["file:///tmp/a%20day", Path("file:///tmp/a%20day"), "file:/tmp/a%20day"])
def test_a_file_url_is_the_path(given):
    assert parse_location(given) == Path("/tmp/a day")


@pytest.mark.parametrize("given", ["day", "C:/day", "/tmp/s3:/day"])
def test_a_path_stays_a_path(given):
    assert parse_location(given) == Path(given)
    reject_url(given)


def test_remote_tables_are_found_and_digested_like_local_ones(tmp_path):
    folder = write(tmp_path / "shop", events=None)
    (folder / "events").mkdir()
    for part in ("1", "0"):
        pl.DataFrame({"user_id": [1], "item_id": [1], "timestamp": [int(part)]}).write_parquet(
            folder / "events" / f"{part}.parquet"
        )
    there = remote(tmp_path)
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


def test_a_table_that_is_shorter_than_listed_is_rejected(tmp_path):
    write(tmp_path / "shop")
    items = remote(tmp_path) / "items.parquet"
    (tmp_path / "shop" / "items.parquet").write_bytes(b"short")
    with pytest.raises(DataError, match=r"mock://shop/items.parquet: was changed or cut .* expected the [\d,]+ bytes"):
        fetch(items, tmp_path)


def test_the_engine_reads_a_copy_and_names_the_url(tmp_path, monkeypatch):
    write(tmp_path / "shop")
    monkeypatch.setattr("multitudes.data.tables.parse_location", lambda _: remote(tmp_path))
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
def test_a_url_that_would_be_read_as_another_is_rejected(given, said):
    with pytest.raises(UsageError, match=said):
        parse_location(given)


class BrokenStore(fs.FileSystemHandler):  # type: ignore[misc]
    """A store that answers every call with the same error."""

    def __init__(self, said):
        self._said = said

    def _say(self, *_):
        raise OSError(self._said)

    get_type_name = get_file_info = get_file_info_selector = open_input_file = open_input_stream = _say
    copy_file = create_dir = delete_dir = delete_dir_contents = delete_file = delete_root_dir_contents = _say
    move = normalize_path = open_append_stream = open_output_stream = _say


@pytest.mark.parametrize(
    ("said", "error", "expected"),
    [
        (
            "When getting information for key 'bucket-401' in bucket 'CREDENTIAL': AWS Error NETWORK_CONNECTION during"
            " HeadObject operation: curlCode: 7, Could not connect to server\nmore",
            UnavailableError,
            r"does not answer \(curlCode: 7, Could not connect to server\)",
        ),
        (
            "When listing objects under key 'curl' in bucket 'b': AWS Error INVALID_ACCESS_KEY_ID during ListObjectsV2"
            " operation: The key does not exist. (Request ID: x)",
            UnavailableError,
            r"rejects the credentials \(The key does not exist\)",
        ),
        ("google::cloud::Status(PERMISSION_DENIED: no)", UnavailableError, "rejects the credentials"),
        ("google::cloud::Status(UNAVAILABLE: Retry policy exhausted)", UnavailableError, "does not answer"),
        ("AWS Error NO_SUCH_BUCKET during ListObjectsV2 operation: x", UsageError, "no such bucket"),
        ("something else", UnavailableError, "cannot be read: something else"),
    ],
)
def test_an_error_of_a_store_becomes_one_line(said, error, expected):
    broken = RemotePath("mock://shop", fs.PyFileSystem(BrokenStore(said)), "shop")
    with pytest.raises(error, match=expected) as caught:
        broken.is_dir()
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("mock://shop: ")
