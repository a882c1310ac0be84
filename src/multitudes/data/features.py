"""Feature columns of items and users as numbers: standardised numbers, and one-hot categories."""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

MAX_CATEGORIES = 32  # the most frequent values of a column; others are all zeros
MAX_DISTINCT = 1_000  # a text column with more is a name or an id, not a category
_NAMES = {"title", "name", "description", "url", "image", "image_url"}


class Features(NamedTuple):
    """A matrix (rows, F), the name of each of its columns, and the columns of the table that were left out."""

    matrix: NDArray[np.float32]
    names: list[str]
    skipped: dict[str, str]


def encode(frame: pl.DataFrame) -> Features:
    """Turn every column of ``frame`` into features, or say why not.

    A number is standardised over the rows (null becomes 0, the mean); a flag or a text becomes one column for each of
    its most frequent values (null is all zeros).
    """
    columns: list[NDArray[np.float32]] = []
    names: list[str] = []
    skipped: dict[str, str] = {}
    for series in frame.iter_columns():
        reason = _reason_to_skip(series)
        if reason:
            skipped[series.name] = reason
        elif series.dtype.is_numeric():
            columns.append(_standardised(series))
            names.append(series.name)
        else:
            for category, column in _one_hot(series):
                columns.append(column)
                names.append(f"{series.name}={category}")
    matrix = np.stack(columns, axis=1) if columns else np.zeros((frame.height, 0), dtype=np.float32)
    return Features(matrix, names, skipped)


def _reason_to_skip(series: pl.Series) -> str | None:
    if series.name in _NAMES:
        return "a name, not a feature"
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        return None
    if series.dtype not in {pl.String, pl.Categorical}:
        return f"a column of type {series.dtype} is neither a number, a flag nor a category"
    distinct = series.n_unique()
    return f"{distinct:,} distinct values, more than {MAX_DISTINCT:,}" if distinct > MAX_DISTINCT else None


def _standardised(series: pl.Series) -> NDArray[np.float32]:
    numbers = series.cast(pl.Float64).to_numpy().astype(np.float64)
    known = np.isfinite(numbers)
    if not known.any():
        return np.zeros(len(numbers), dtype=np.float32)
    spread = numbers[known].std()
    centred = np.where(known, numbers, numbers[known].mean()) - numbers[known].mean()
    standardised: NDArray[np.float32] = (centred / (spread if spread > 0 else 1.0)).astype(np.float32)
    return standardised


def _one_hot(series: pl.Series) -> list[tuple[str, NDArray[np.float32]]]:
    """Return (category, column) for the most frequent values; equal counts go by name."""
    text = series.cast(pl.String).alias("category")
    counts = text.drop_nulls().value_counts(name="rows").sort(["rows", "category"], descending=[True, False])
    kept = counts["category"].head(MAX_CATEGORIES).to_list()
    return [(category, (text == category).fill_null(False).to_numpy().astype(np.float32)) for category in kept]
