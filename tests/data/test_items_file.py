"""A file of later items is read like the items of a data set."""

from pathlib import Path

import polars as pl
import pytest

from multitudes.data.items_file import read_item_ids, read_items
from multitudes.errors import DataError, MissingError


def test_rows_are_sorted_by_id_with_topics_in_order_and_every_other_column(tmp_path: Path):
    frame = pl.DataFrame(
        {
            "item_id": [9, 7, 7, None],
            "topics": [["b", "a", "b", ""], None, None, ["a"]],
            "price": [1.5, 2.5, 2.5, 3.5],
            "embedding": [[1.0, 2.0], [float("nan"), 0.0], [float("nan"), 0.0], None],
        }
    )
    frame.write_parquet(tmp_path / "items.parquet")
    items, repairs = read_items(tmp_path / "items.parquet", pl.Int64())
    assert items.columns == ["item_id", "title", "topics", "embedding", "price"]
    assert items["item_id"].to_list() == [7, 9]
    assert items["topics"].to_list() == [[], ["b", "a"]]
    assert items["embedding"].to_list() == [None, [1.0, 2.0]]
    assert items["title"].to_list() == [None, None]
    names = "items_with_nulls duplicate_items items_without_topics items_without_features broken_embeddings"
    assert repairs == dict.fromkeys(names.split(), 1)


def test_ids_get_the_type_of_the_data_set_and_integers_are_not_taken_for_text(tmp_path: Path):
    (tmp_path / "items.csv").write_text("item_id,topics\n10,a|b\n9,a\n")
    assert read_items(tmp_path / "items.csv", pl.Int64()).items["item_id"].to_list() == [9, 10]
    assert read_items(tmp_path / "items.csv", pl.String()).items["item_id"].to_list() == ["10", "9"]
    assert read_item_ids(tmp_path / "items.csv", pl.String())["item_id"].to_list() == ["10", "9"]
    pl.DataFrame({"item_id": [7, 7, None]}).write_parquet(tmp_path / "ids.parquet")
    assert read_item_ids(tmp_path / "ids.parquet", pl.Int64())["item_id"].to_list() == [7]
    with pytest.raises(DataError, match="is integers; expected text, as in this release"):
        read_item_ids(tmp_path / "ids.parquet", pl.String())


def test_too_many_items_are_an_error_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "items.parquet"
    names = pl.Series([[f"topic {number}" for number in range(400_000)]], dtype=pl.List(pl.String))
    pl.DataFrame({"item_id": [1], "topics": names}).write_parquet(file)
    monkeypatch.setattr("multitudes.data.items_file._MEMORY", "12MB")
    with pytest.raises(MissingError, match="give fewer items in one file"):
        read_items(file, pl.Int64())
