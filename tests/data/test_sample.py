"""The data set in the package is complete and has its licence."""

import polars as pl

from multitudes.data.sample import sample_path


def test_movielens_small_has_its_licence():
    folder = sample_path("movielens-small")
    rows = {table: len(pl.read_parquet(folder / f"{table}.parquet")) for table in ("events", "items", "users")}
    assert rows == {"events": 100_004, "items": 9_066, "users": 671}
    conditions = " ".join((folder / "LICENSE.txt").read_text().split())
    assert "commercial or revenue-bearing purposes" in conditions
    assert "Harper and Joseph A. Konstan. 2015" in conditions
