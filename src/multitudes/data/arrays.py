"""Array files: query results written batch by batch, and lists of different lengths as offsets and values.

Memory does not grow with the number of rows. The files are written as streams and not as memory maps, so that a full
disk is an error and not a crash of the process.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.data.engine import Engine
from multitudes.errors import ArtefactError

BATCH_ROWS = 262_144  # or events that are in memory at once


def write_columns(
    folder: Path, dtypes: Mapping[str, type[np.generic]], rows: int, chunks: Iterable[Mapping[str, NDArray[Any]]]
) -> None:
    """Write columns of ``rows`` rows, chunk by chunk, as ``<column>.npy`` of the given type into a folder.

    Raises:
        ArtefactError: the chunks have another number of rows.
    """
    written = 0
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.npy").open("wb")) for name in dtypes}
        for name, dtype in dtypes.items():
            _write_header(files[name], dtype, (rows,))
        for chunk in chunks:
            for name, dtype in dtypes.items():
                files[name].write(chunk[name].astype(dtype, copy=False).tobytes())
            written += len(chunk[next(iter(dtypes))])
    if written != rows:  # such as shards that were deleted before they were read
        raise ArtefactError(f"{folder}: {written:,} of {rows:,} rows came back from the engine; run the command again")


def write_vectors(engine: Engine, sql: str, file: Path, rows: int, width: int) -> None:
    """Write the single column of ``sql``, lists of ``width`` numbers, as a matrix (rows + 1, width).

    Row 0 is zero, and so is the row of a null.
    """
    with file.open("wb") as out:
        _write_header(out, np.float32, (rows + 1, width))
        out.write(np.zeros(width, dtype=np.float32).tobytes())
        for batch in engine.batches(sql, BATCH_ROWS // max(1, width // 8)):
            vectors = batch.column(0)
            matrix = np.zeros((len(vectors), width), dtype=np.float32)
            is_known = vectors.is_valid().to_numpy(zero_copy_only=False)
            matrix[is_known] = vectors.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
            out.write(matrix.tobytes())


def write_ragged(engine: Engine, sql: str, offset_file: Path, value_file: Path, rows: int, width: int) -> "RaggedArray":
    """Write the pairs (row, value) of ``sql``, ordered by row, as offsets (rows + 1) and values below ``width``."""
    pairs = engine.frame(sql)
    count = np.bincount(pairs["row"].to_numpy().astype(np.int64), minlength=rows)
    offset, values = np.append(0, np.cumsum(count)).astype(np.int64), pairs["value"].to_numpy().astype(np.int32)
    write_array(offset_file, offset)
    write_array(value_file, values)
    return RaggedArray(offset, values, width)


def write_array(file: Path, array: NDArray[Any]) -> None:
    """Write an array."""
    with file.open("wb") as out:
        _write_header(out, array.dtype, array.shape)
        out.write(np.ascontiguousarray(array).tobytes())  # NumPy's own writer does not report a full disk


def write_table(file: Path, table: pl.DataFrame) -> None:
    """Write a table as Parquet, encoded in memory first, so that a full disk is reported as such.

    Equal tables give equal bytes: the table is made one chunk, since chunks decide the row groups.
    """
    content = io.BytesIO()
    table.rechunk().write_parquet(content)
    file.write_bytes(content.getbuffer())


def _write_header(out: BinaryIO, dtype: np.dtype[Any] | type[np.generic], shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(
        out, {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    )


def skip_header(file: BinaryIO) -> None:
    """Read the header of an array file, after which its values begin."""
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)


@dataclass(frozen=True)
class RaggedArray:
    """Lists of different lengths: row ``r`` is ``value[offset[r] : offset[r + 1]]``."""

    offset: NDArray[np.int64]  # the index of each row's first value, and the number of values (rows + 1)
    value: NDArray[np.int32]  # the values of all rows, from 0 to ``width`` - 1
    width: int

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offset) - 1

    @cached_property
    def count(self) -> NDArray[np.int64]:
        """The number of values of each row (rows)."""
        return np.diff(self.offset)

    def gather(self, row_N: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return the values of the rows ``row_N``: for each value the index of its row in ``row_N``, and the value."""
        index_V, position_V = expand_ranges(self.offset[row_N], self.offset[row_N + 1])
        return index_V, self.value[position_V]


def user_chunks(offset_U: NDArray[np.int64]) -> Iterator[slice]:
    """Yield all users in slices of about ``BATCH_ROWS`` events; those of each user begin at ``offset_U`` (U + 1)."""
    first = 0
    while first < len(offset_U) - 1:
        stop = int(np.searchsorted(offset_U, offset_U[first] + BATCH_ROWS, side="right")) - 1
        yield slice(first, stop := max(stop, first + 1))
        first = stop


def distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distinct values, in order; by sorting, since the hashes of ``np.unique`` take 50 times as long."""
    values = np.sort(values)
    return np.asarray(values[np.diff(values, prepend=values[:1] - 1) != 0])


def expand_ranges(low_B: NDArray[np.int64], high_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the integers in half-open ranges [low, high): for each the index of its range, and the integer."""
    count_B = high_B - low_B
    row_T = np.repeat(np.arange(len(low_B)), count_B)
    start_B = np.cumsum(count_B) - count_B
    return row_T, np.arange(len(row_T)) - start_B[row_T] + low_B[row_T]
