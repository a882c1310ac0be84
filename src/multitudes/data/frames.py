"""Tables in memory, of pandas, Polars or Arrow, as a folder of Parquet files."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from multitudes.errors import MultitudesError, UsageError


class ArrowTable(Protocol):
    """A table that offers its rows in Arrow's C stream: a DataFrame of pandas or Polars, a Table of Arrow."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any: ...  # noqa: ANN401


Frame = ArrowTable | pl.LazyFrame


@contextmanager
def folder_of_frames(frames: Mapping[str, Frame], beside: Path) -> Iterator[Path]:
    """Yield a folder in ``beside`` with each frame as the table of its name; it is deleted at the end.

    Errors name the frame, not its file.

    Raises:
        UsageError: one is no table.
    """
    with tempfile.TemporaryDirectory(prefix="multitudes-frames-", dir=beside) as folder:
        for name, frame in frames.items():
            _collect(frame, name).write_parquet(Path(folder) / f"{name}.parquet")
        try:
            yield Path(folder)
        except MultitudesError as error:
            message = str(error)
            for name in frames:
                message = message.replace(f"{folder}/{name}.parquet", name)
            raise type(error)(message) from None


def _collect(frame: Frame, name: str) -> pl.DataFrame:
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if not hasattr(frame, "__arrow_c_stream__"):
        raise UsageError(f"{name}: expected a table of pandas, Polars or Arrow, got {type(frame).__name__}")
    table = pl.DataFrame(frame)
    return table.drop(column for column in table.columns if column.startswith("__index_level_"))  # the index of pandas
