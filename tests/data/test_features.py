"""Columns become numbers for a tower, or are skipped with a reason."""

import numpy as np
import polars as pl

from multitudes.data.features import MAX_CATEGORIES, apply_encoding, encode, unreadable_columns


def test_numbers_are_standardised_and_null_constant_empty_or_too_large_ones_are_known():
    matrix, names, *_ = encode(pl.DataFrame({"price": [1.0, 3.0, None, float("nan")]}))
    assert names == ["price"]
    np.testing.assert_allclose(matrix[:, 0], [-1, 1, 0, 0])
    frame = pl.DataFrame({"one": [7, 7], "none": pl.Series([None, None], dtype=pl.Float64)})
    assert not encode(frame).matrix.any()
    frame, encoding = pl.DataFrame({"price": [1e308]}), [{"column": "price", "mean": 0.0, "spread": 1.0}]
    assert np.isinf(apply_encoding(frame, encoding)).all(), "so that whoever makes a vector of it sees it"


def test_categories_are_one_hot_and_only_the_most_frequent_get_a_column():
    frame = pl.DataFrame({"kind": ["b", "a", "b", None], "new": [True, False, None, True]})
    matrix, names, *_ = encode(frame)
    assert names == ["kind=b", "kind=a", "new=true", "new=false"]
    assert matrix.tolist() == [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0]]
    frame = pl.DataFrame({"kind": [f"{i:02d}" for i in range(40)] + ["39"]})
    matrix, names, *_ = encode(frame)
    assert len(names) == MAX_CATEGORIES
    assert names[:2] == ["kind=39", "kind=00"]
    assert not matrix[38].any()


def test_a_skipped_column_has_a_reason():
    frame = pl.DataFrame({"title": ["x"] * 1_001, "id": [str(i) for i in range(1_001)], "parts": [[1]] * 1_001})
    matrix, names, skipped, _ = encode(frame)
    assert matrix.shape == (1_001, 0)
    assert names == []
    assert skipped == {
        "title": "a name, not a feature",
        "id": "1,001 distinct values, more than 1,000",
        "parts": "a column of type List(Int64) is neither a number, a flag nor a category",
    }


def test_later_rows_use_the_encoding_of_the_first_and_unreadable_columns_are_named():
    first = encode(pl.DataFrame({"price": [1.0, 3.0], "kind": ["b", "a"], "new": [True, False]}))
    later = pl.DataFrame({"kind": ["a", "z"], "price": ["5", "free"], "colour": ["red", "blue"]})
    assert apply_encoding(later, first.encoding).tolist() == [[3, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert apply_encoding(pl.DataFrame({"price": [[1.0]]}), first.encoding).tolist() == [[0, 0, 0, 0, 0]]
    assert encode(later).matrix.tolist() != [[3, 1, 0, 0, 0], [0, 0, 0, 0, 0]]  # the control: by their own encoding
    columns = {"price": [1.0, 3.0], "kind": ["b", "a"], "new": [True, False], "year": [1990, 2000]}
    encoding = encode(pl.DataFrame(columns)).encoding
    later = pl.DataFrame({"price": ["free", "5"], "year": ["old", None], "new": [[1], [2]]})
    assert unreadable_columns(later, encoding) == ["kind", "new", "year"]
    assert unreadable_columns(pl.DataFrame(columns), encoding) == []  # the control
