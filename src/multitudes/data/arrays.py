"""From query results to files, batch by batch: memory stays flat however many events there are.

The files are written as streams, not as memory maps: a full disk is then an error, not a crash of the process.
"""

import io
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.data.engine import Engine, value
from multitudes.errors import ArtefactError

_ROWS = 262_144  # per batch


def write_columns(
    engine: Engine,
    sql: str,
    folder: Path,
    dtypes: Mapping[str, type[np.generic]],
) -> None:
    """Write each column that ``sql`` selects as ``<column>.npy`` of its dtype, in the order of the rows.

    Raises:
        ArtefactError: rows got lost on the way.
    """
    rows = int(value(engine, f"SELECT count(*) FROM ({sql})"))
    written = 0
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.npy").open("wb")) for name in dtypes}
        for name, dtype in dtypes.items():
            _write_header(files[name], dtype, (rows,))
        for batch in engine.batches(sql, _ROWS):
            written += batch.num_rows
            for name, dtype in dtypes.items():
                column = batch.column(name).to_numpy(zero_copy_only=False)
                files[name].write(column.astype(dtype, copy=False).tobytes())
    if written != rows:  # shards that vanished between their writing and their reading
        raise ArtefactError(f"{folder}: {written:,} of {rows:,} rows came back from the engine; run the command again")


def write_vectors(engine: Engine, sql: str, file: Path, rows: int, width: int) -> None:
    """Write the one column of ``sql``, lists of ``width`` numbers, as a matrix (rows + 1, width).

    Row 0 is zero, and so is that of a null.
    """
    with file.open("wb") as out:
        _write_header(out, np.float32, (rows + 1, width))
        out.write(np.zeros(width, dtype=np.float32).tobytes())
        for batch in engine.batches(sql, _ROWS // max(1, width // 8)):
            vectors = batch.column(0)
            matrix = np.zeros((len(vectors), width), dtype=np.float32)
            known = vectors.is_valid().to_numpy(zero_copy_only=False)
            matrix[known] = vectors.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
            out.write(matrix.tobytes())


def write_ragged(engine: Engine, sql: str, offset_file: Path, value_file: Path, rows: int) -> None:
    """Write what ``sql`` selects, (row, value) ordered by row, as the offsets and the values of ``rows`` rows."""
    pairs = engine.frame(sql)
    write_array(offset_file, offsets(pairs["row"].to_numpy(), rows))
    write_array(value_file, pairs["value"].to_numpy().astype(np.int32))


def offsets(row: NDArray[Any], rows: int) -> NDArray[np.int64]:
    """Return where each of ``rows`` rows begins, given the row of each value in ascending order (rows + 1)."""
    count = np.bincount(row.astype(np.int64), minlength=rows)
    return np.concatenate([[0], np.cumsum(count)]).astype(np.int64)


def write_array(file: Path, array: NDArray[Any]) -> None:
    """Write an array that is in memory."""
    with file.open("wb") as out:
        _write_header(out, array.dtype, array.shape)
        out.write(np.ascontiguousarray(array).tobytes())  # NumPy's own writer does not say that a disk is full


def write_table(file: Path, table: pl.DataFrame) -> None:
    """Write a table as Parquet, through memory: a full disk is then told as one."""
    content = io.BytesIO()
    table.write_parquet(content)
    file.write_bytes(content.getbuffer())


def _write_header(out: BinaryIO, dtype: np.dtype[Any] | type[np.generic], shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(
        out, {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    )
