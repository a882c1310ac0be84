"""A table is fetched completely or not at all, whatever its store does during that."""

import os
from types import SimpleNamespace

import pytest

from multitudes.data import fetch as fetching
from multitudes.data.fetch import fetch
from multitudes.errors import DataError, MissingError, UnavailableError
from tests.objects.store import Store, address

SIZE = 40_000


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr(fetching, "_RANGE_BYTES", 1_000)


def test_byte_ranges_and_names_are_taken_as_they_are(tmp_path, store):
    content = os.urandom(SIZE + 7)
    store.put("table.parquet", content)
    assert fetch(address("s3://shop/table.parquet"), tmp_path).read_bytes() == content
    store.put("a b%25ü&?/0 %.parquet", b"1")
    copy = fetch(address("s3://shop/a%20b%2525%C3%BC&%3F"), tmp_path)
    assert {part.name: part.read_bytes() for part in copy.iterdir()} == {"0 %.parquet": b"1"}


@pytest.mark.parametrize(
    ("later", "after"), [(b"x" * 10, 4), (b"y" * SIZE, 4), (b"z" * 2 * SIZE, 4), (b"y" * SIZE, SIZE // 1_000)]
)
def test_an_object_that_is_overwritten_during_the_fetch_is_rejected(tmp_path, store, later, after):
    store.put("table.parquet", b"x" * SIZE)

    calls = []

    def replace(done, total, note=""):
        calls.append(done)
        if len(calls) == 1 + after:  # pieces; the first call is before any
            store.put("table.parquet", later)

    with pytest.raises(DataError, match=r"s3://shop/table.parquet: was changed or cut while it was fetched"):
        fetch(address("s3://shop/table.parquet"), tmp_path, replace)


def test_a_server_that_dies_midway_is_named(tmp_path, monkeypatch):
    mortal = Store()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{mortal.host}")
    mortal.put("table.parquet", b"x" * SIZE)
    stopped: list[bool] = []

    def stop(done, total, note=""):
        if not stopped:
            stopped.append(True)
            mortal.stop()

    with pytest.raises(UnavailableError, match=r"s3://shop/table.parquet: the store does not answer"):
        fetch(address("s3://shop/table.parquet"), tmp_path, stop)


def test_an_object_that_is_deleted_during_the_fetch_is_rejected(tmp_path, store):
    store.put("table.parquet", b"x" * SIZE)
    with pytest.raises(DataError, match=r"s3://shop/table.parquet: was deleted while it was read"):
        fetch(address("s3://shop/table.parquet"), tmp_path, lambda *_: store.files.delete_file("shop/table.parquet"))


def test_a_table_larger_than_the_free_space_is_not_fetched(tmp_path, store, monkeypatch):
    store.put("table.parquet", b"x" * SIZE)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=SIZE - 1))
    with pytest.raises(MissingError, match="has room for"):
        fetch(address("s3://shop/table.parquet"), tmp_path)
    assert not list(tmp_path.iterdir())
