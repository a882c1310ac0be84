"""Columns are written and read chunk by chunk, and missing rows are an error."""

import numpy as np
import polars as pl
import pytest

from multitudes.data.arrays import write_columns, write_table
from multitudes.errors import ArtefactError

PARTS = [{"a": np.arange(3), "b": np.ones(3, dtype=bool)}, {"a": np.arange(2), "b": np.zeros(2, dtype=bool)}]


def test_equal_tables_give_equal_bytes_for_any_chunks_and_missing_rows_are_an_error(tmp_path):
    whole = pl.DataFrame({"id": np.arange(20_000)})
    write_table(tmp_path / "whole.parquet", whole)
    write_table(tmp_path / "pieces.parquet", pl.concat([whole[:1000], whole[1000:]], rechunk=False))
    assert (tmp_path / "pieces.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    with pytest.raises(ArtefactError, match=r"5 of 6 rows came back.*run the command again"):
        write_columns(tmp_path, {"a": np.int32}, 6, PARTS)
