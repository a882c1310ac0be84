"""Tables in memory, of pandas, Polars or Arrow, as a folder of Parquet files."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from multitudes.errors import MultitudesError, UsageError

_PANDAS_INDEX = "__index_level_"


class ArrowTable(Protocol):
    """A table that offers its rows in Arrow's C stream: a DataFrame of pandas or Polars, a Table of Arrow."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any: ...  # noqa: ANN401


Frame = ArrowTable | pl.LazyFrame


@contextmanager
def folder_of_frames(frames: Mapping[str, Frame], beside: Path) -> Iterator[Path]:
    """Yield a folder with each frame as a table; it is deleted at the end. Errors name the frame, not its file.

    Args:
        frames: by the name of the table.
        beside: the folder in which it is made.

    Raises:
        UsageError: one is no table.
    """
    if not frames:
        yield beside
        return
    with tempfile.TemporaryDirectory(prefix="multitudes-frames-", dir=beside) as folder:
        for name, frame in frames.items():
            _write_frame(frame, name, Path(folder) / f"{name}.parquet")
        try:
            yield Path(folder)
        except MultitudesError as error:
            message = str(error)
            for name in frames:
                message = message.replace(f"{folder}/{name}.parquet", name)
            raise type(error)(message) from None


def _write_frame(frame: Frame, name: str, file: Path) -> None:
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, pl.DataFrame):
        frame.write_parquet(file)
        return
    if not hasattr(frame, "__arrow_c_stream__"):
        raise UsageError(f"{name}: expected a table of pandas, Polars or Arrow, got {type(frame).__name__}")
    table = pa.table(frame)
    table = table.drop_columns([column for column in table.column_names if column.startswith(_PANDAS_INDEX)])
    pq.write_table(table, file)
