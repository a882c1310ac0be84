"""Parquet files one behind the other, read piece by piece where they lie: what the driver of a cluster reads itself."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from multitudes.data.address import Place, readable
from multitudes.disk import is_full
from multitudes.errors import ArtefactError

_ROWS = 262_144  # at a time, of one column


def row_counts(parts: Sequence[Place]) -> list[int]:
    """Return the rows of each file."""
    return [parquet.read_metadata(readable(part)).num_rows for part in parts]


def read(shard: Place, rows: int, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a shard, about ``rows`` at a time; of all columns, or of some.

    Raises:
        ArtefactError: it is missing, or is cut short.
    """
    try:
        with parquet.ParquetFile(readable(shard)) as opened:
            yield from opened.iter_batches(rows, columns=columns)
    except FileNotFoundError:
        raise ArtefactError(f"{shard}: missing; run the command again") from None
    except (pa.ArrowInvalid, OSError) as error:
        if is_full(error):
            raise
        raise ArtefactError(f"{shard}: damaged or cut short; run the command again") from None


def rises(parts: Sequence[Place], column: str) -> bool:
    """Return whether a column never falls in files one behind the other; False also where that cannot be told."""
    last = None
    try:
        kinds = {parquet.read_schema(readable(part)).field(column).type for part in parts}
        if len(kinds) > 1:  # such as seconds and milliseconds
            return False
        for piece in _pieces(parts, column):
            if (last is not None and piece[0] < last) or (piece[1:] < piece[:-1]).any():
                return False
            last = piece[-1]
    except (pa.ArrowException, OSError, KeyError, ArtefactError):  # who asks next says what is wrong with the file
        return False
    return True


def _pieces(parts: Sequence[Place], column: str) -> Iterator[NDArray[Any]]:
    """Yield the values of a column, piece by piece, without nulls."""
    for part in parts:
        for batch in read(part, _ROWS, [column]):
            known = batch.column(0).drop_null()
            if len(known):
                yield known.to_numpy(zero_copy_only=False)
