"""From query results to files, batch by batch: memory stays flat however many events there are.

The files are written as streams, not as memory maps: a full disk is then an error, not a crash of the process.

Lists of numbers, one a row, as offsets and values.
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

BATCH_ROWS = 262_144  # per batch


def write_columns(
    folder: Path, dtypes: Mapping[str, type[np.generic]], rows: int, chunks: Iterable[Mapping[str, NDArray[Any]]]
) -> None:
    """Write columns, which come part by part, as ``<column>.npy`` of their dtypes, ``rows`` rows in all.

    Raises:
        ArtefactError: rows got lost on the way.
    """
    written = 0
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.npy").open("wb")) for name in dtypes}
        for name, dtype in dtypes.items():
            _write_header(files[name], dtype, (rows,))
        for part in chunks:
            for name, dtype in dtypes.items():
                files[name].write(part[name].astype(dtype, copy=False).tobytes())
            written += len(part[next(iter(dtypes))])
    if written != rows:  # shards that vanished between their writing and their reading
        raise ArtefactError(f"{folder}: {written:,} of {rows:,} rows came back from the engine; run the command again")


def read_columns(folder: Path, names: Iterable[str], counts: Iterable[int]) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield columns that were written, so many rows at a time, from the first on.

    They are read, not mapped: of a map the system counts as ours whatever it keeps in memory.
    """
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.npy").open("rb")) for name in names}
        dtypes = {name: read_header(file) for name, file in files.items()}
        for count in counts:
            yield {name: np.fromfile(file, dtypes[name], count) for name, file in files.items()}


def write_vectors(engine: Engine, sql: str, file: Path, rows: int, width: int) -> None:
    """Write the one column of ``sql``, lists of ``width`` numbers, as a matrix (rows + 1, width).

    Row 0 is zero, and so is that of a null.
    """
    with file.open("wb") as out:
        _write_header(out, np.float32, (rows + 1, width))
        out.write(np.zeros(width, dtype=np.float32).tobytes())
        for batch in engine.batches(sql, BATCH_ROWS // max(1, width // 8)):
            vectors = batch.column(0)
            matrix = np.zeros((len(vectors), width), dtype=np.float32)
            known = vectors.is_valid().to_numpy(zero_copy_only=False)
            matrix[known] = vectors.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
            out.write(matrix.tobytes())


def write_ragged(
    engine: Engine, sql: str, offset_file: Path, value_file: Path, rows: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Write what ``sql`` selects, (row, value) ordered by row, as offsets and values of ``rows`` rows; return both."""
    pairs = engine.frame(sql)
    offset, values = row_offsets(pairs["row"].to_numpy(), rows), pairs["value"].to_numpy().astype(np.int32)
    write_array(offset_file, offset)
    write_array(value_file, values)
    return offset, values


def row_offsets(row: NDArray[Any], rows: int) -> NDArray[np.int64]:
    """Return where each of ``rows`` rows begins, given the row of each value in ascending order (rows + 1)."""
    count = np.bincount(row.astype(np.int64), minlength=rows)
    return np.concatenate([[0], np.cumsum(count)]).astype(np.int64)


def write_array(file: Path, array: NDArray[Any]) -> None:
    """Write an array that is in memory."""
    with file.open("wb") as out:
        _write_header(out, array.dtype, array.shape)
        out.write(np.ascontiguousarray(array).tobytes())  # NumPy's own writer does not say that a disk is full


def write_table(file: Path, table: pl.DataFrame) -> None:
    """Write a table as Parquet, through memory: a full disk is then told as one.

    Equal tables become equal bytes, however many pieces the engine gave them in: a row group follows the pieces.
    """
    content = io.BytesIO()
    table.rechunk().write_parquet(content)
    file.write_bytes(content.getbuffer())


def _write_header(out: BinaryIO, dtype: np.dtype[Any] | type[np.generic], shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(
        out, {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    )


def read_header(file: BinaryIO) -> np.dtype[Any]:
    """Read up to where the values of an array begin, and return their type."""
    np.lib.format.read_magic(file)
    dtype: np.dtype[Any] = np.lib.format.read_array_header_1_0(file)[2]
    return dtype


@dataclass(frozen=True)
class RaggedArray:
    """Row ``r`` has ``value[offset[r] : offset[r + 1]]``; values are from 0, below ``width``."""

    offset: NDArray[np.int64]
    value: NDArray[np.int32]
    width: int

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offset) - 1

    @cached_property
    def count(self) -> NDArray[np.int64]:
        """How many values each row has."""
        return np.diff(self.offset)

    def gather(self, row_N: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return the values of some rows, one row after the other, each with its position in ``row_N``."""
        place_V, value_V = expand_ranges(self.offset[row_N], self.offset[row_N + 1])
        return place_V, self.value[value_V]


def expand_ranges(low_B: NDArray[np.int64], high_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row and the value of every whole number in the half-open ranges [low, high), range by range."""
    count_B = high_B - low_B
    row_T = np.repeat(np.arange(len(low_B)), count_B)
    begins_B = np.cumsum(count_B) - count_B
    return row_T, np.arange(len(row_T)) - begins_B[row_T] + low_B[row_T]
