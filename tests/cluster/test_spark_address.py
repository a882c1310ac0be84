"""Tables in a store: executors read them where they lie if their Hadoop knows the store, or find them fetched."""

import pytest

pytest.importorskip("pyspark", reason="needs pyspark: make test-cluster")

from pyarrow import fs
from pyspark.sql import SparkSession

from multitudes.data.fetch import fetch
from multitudes.data.location import RemotePath
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.errors import UnavailableError
from tests.cluster.engines import by
from tests.cluster.hostile import differing, write_hostile
from tests.data.tables import NOW


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Return a folder that the driver sees as s3://shop, and its address."""
    folder = write_hostile(tmp_path / "shop")
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr("multitudes.data.tables.parse_location", lambda _: RemotePath("s3://shop", store, "shop"))
    return folder


@pytest.fixture
def s3a(spark):
    """Return what lets the Hadoop of a session see a folder as s3a://shop: this machine has no S3A."""
    hadoop = SparkSession.getActiveSession().sparkContext._jsc.hadoopConfiguration()
    link = "fs.viewfs.mounttable.shop.linkFallback"
    hadoop.set("fs.s3a.impl", "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme")
    hadoop.set("fs.viewfs.overload.scheme.target.file.impl", "org.apache.hadoop.fs.LocalFileSystem")
    hadoop.set("fs.s3a.impl.disable.cache", "true")
    yield lambda folder: hadoop.set(link, folder.as_uri())
    for name in ("fs.s3a.impl", link, "fs.viewfs.overload.scheme.target.file.impl"):
        hadoop.unset(name)


def fetched(monkeypatch):
    """Return the list in which the names of tables stand that were fetched."""
    names: list[str] = []

    def noting(table, *others):
        names.append(table.name)
        return fetch(table, *others)

    monkeypatch.setattr("multitudes.data.duck.fetch", noting)
    return names


def both(folder, spark):
    config = PrepareConfig(split="user", threads=1)
    prepare(folder / "shop", folder / "duckdb", config, now=NOW)
    prepare(folder / "shop", folder / "spark", config, now=NOW, engine=by(spark))
    return differing(folder / "duckdb", folder / "spark")


def test_without_hadoops_word_for_a_store_tables_are_fetched(tmp_path, shop, spark, monkeypatch):
    names = fetched(monkeypatch)
    assert both(tmp_path, spark) == []
    assert sorted(names[: len(names) // 2]) == sorted(names[len(names) // 2 :])


def test_executors_read_where_the_tables_lie(tmp_path, shop, spark, s3a, monkeypatch):
    s3a(shop)
    names = fetched(monkeypatch)
    config = PrepareConfig(split="user", threads=1)
    prepare(shop, tmp_path / "spark", config, now=NOW, engine=by(spark))
    assert names == []
    prepare(shop, tmp_path / "duckdb", config, now=NOW)
    assert differing(tmp_path / "duckdb", tmp_path / "spark") == []


def test_a_store_in_which_hadoop_sees_something_else_is_refused(tmp_path, shop, spark, s3a):
    s3a(write_hostile(tmp_path / "other"))
    with (tmp_path / "other" / "items.parquet").open("ab") as other:
        other.write(b"more")
    with pytest.raises(UnavailableError, match=r"s3://shop/\w+.*: Hadoop sees"):
        prepare(shop, tmp_path / "out", now=NOW, engine=by(spark))
