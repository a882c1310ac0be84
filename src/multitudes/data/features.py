"""Features of items and users from the columns of their tables: standardised numbers and one-hot categories."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

MAX_CATEGORIES = 32  # the most frequent values of a column; all others are zeros
MAX_DISTINCT = 1_000  # a text column with more values is a name or an id, not a category
_NAME_COLUMNS = {"title", "name", "description", "url", "image", "image_url"}


class Features(NamedTuple):
    """The features of a table."""

    matrix: NDArray[np.float32]  # (rows, F)
    names: list[str]  # of the columns of the matrix (F)
    skipped: dict[str, str]  # columns of the table that are no features, with the reason
    # How each other column became numbers, as JSON: {"column", "mean", "spread"} or {"column", "categories"}. Later
    # rows are encoded with it.
    encoding: list[dict[str, Any]]


def encode(frame: pl.DataFrame) -> Features:
    """Turn the columns of a table into features, and give the reason for each column that is skipped.

    Numbers are standardised over the rows (null becomes 0, the mean). A flag or a text becomes one column for each of
    its most frequent values (null becomes zeros).
    """
    skipped = {series.name: reason for series in frame.iter_columns() if (reason := _reason_to_skip(series))}
    encoding = [_column_encoding(series) for series in frame.iter_columns() if series.name not in skipped]
    return Features(apply_encoding(frame, encoding), _names(encoding), skipped, encoding)


def apply_encoding(frame: pl.DataFrame, encoding: Sequence[dict[str, Any]]) -> NDArray[np.float32]:
    """Return the features of rows with the encoding of other rows (rows, F).

    A column that ``frame`` lacks or that cannot be a feature, and a text in place of a number, count as null.
    """
    columns = [column for entry in encoding for column in _columns(frame, entry)]
    return np.stack(columns, axis=1) if columns else np.zeros((frame.height, 0), dtype=np.float32)


def unreadable_columns(frame: pl.DataFrame, encoding: Sequence[dict[str, Any]]) -> list[str]:
    """Return the columns of an encoding that ``frame`` lacks or that have no usable value in any row."""

    def is_readable(entry: dict[str, Any]) -> bool:
        series = _series(frame, entry["column"])
        return bool(series.is_not_null().any() if "categories" in entry else np.isfinite(_numbers(series)).any())

    return [entry["column"] for entry in encoding if not is_readable(entry)]


def can_be_feature(dtype: pl.DataType) -> bool:
    """Return whether a column of this type holds numbers, flags or categories."""
    return dtype.is_numeric() or dtype in {pl.Boolean, pl.String, pl.Categorical}


def _column_encoding(series: pl.Series) -> dict[str, Any]:
    if series.dtype.is_numeric():
        numbers = _numbers(series)
        finite = numbers[np.isfinite(numbers)]
        mean, spread = (float(finite.mean()), float(finite.std())) if len(finite) else (0.0, 0.0)
        return {"column": series.name, "mean": mean, "spread": spread}
    # The most frequent values; those of equal count in the order of their names.
    text = series.cast(pl.String).alias("category")
    counts = text.drop_nulls().value_counts(name="rows").sort(["rows", "category"], descending=[True, False])
    return {"column": series.name, "categories": counts["category"].head(MAX_CATEGORIES).to_list()}


def _names(encoding: Sequence[dict[str, Any]]) -> list[str]:
    names: list[str] = []
    for entry in encoding:
        name = entry["column"]
        names += [f"{name}={category}" for category in entry["categories"]] if "categories" in entry else [name]
    return names


def _columns(frame: pl.DataFrame, entry: dict[str, Any]) -> list[NDArray[np.float32]]:
    """Return the features of one column of the table."""
    series = _series(frame, entry["column"])
    if "categories" not in entry:
        numbers, mean, spread = _numbers(series), entry["mean"], entry["spread"]
        centred = np.where(np.isfinite(numbers), numbers, mean) - mean
        with np.errstate(over="ignore"):  # an infinite value is found in the vector that is computed from it
            return [(centred / (spread if spread > 0 else 1.0)).astype(np.float32)]
    text = series.cast(pl.String)
    return [(text == category).fill_null(False).to_numpy().astype(np.float32) for category in entry["categories"]]


def _series(frame: pl.DataFrame, name: str) -> pl.Series:
    """Return a column; nulls if it is missing or cannot be a feature."""
    if name in frame.columns and can_be_feature(frame[name].dtype):
        return frame[name]
    return pl.Series(name, [None] * frame.height, dtype=pl.String)


def _reason_to_skip(series: pl.Series) -> str | None:
    if series.name in _NAME_COLUMNS:
        return "a name, not a feature"
    if not can_be_feature(series.dtype):
        return f"a column of type {series.dtype} is neither a number, a flag nor a category"
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        return None
    distinct = series.n_unique()
    return f"{distinct:,} distinct values, more than {MAX_DISTINCT:,}" if distinct > MAX_DISTINCT else None


def _numbers(series: pl.Series) -> NDArray[np.float64]:
    return series.cast(pl.Float64, strict=False).to_numpy().astype(np.float64)
