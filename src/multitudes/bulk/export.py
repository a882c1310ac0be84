"""Everybody's answers for the next system: JSON lines, one user a line, or flat Parquet, one candidate a row."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from multitudes.bulk.columns import NAMES
from multitudes.bulk.folder import part_files
from multitudes.disk import replacing
from multitudes.errors import UsageError

_USERS_AT_ONCE = 512


def export_results(results: Path, file: Path) -> int:
    """Write a folder of results as JSON lines or as flat Parquet; return the rows.

    Raises:
        UsageError: another ending than .jsonl or .parquet.
        ArtefactError: ``results`` is missing, not finished, or damaged.
    """
    if file.suffix not in {".jsonl", ".parquet"}:
        raise UsageError(f"{file}: results are exported to a file that ends in .jsonl or .parquet")
    batches = _batches(part_files(results))
    return _to_jsonl(batches, file) if file.suffix == ".jsonl" else _to_flat_parquet(batches, file)


def _batches(parts: list[Path]) -> Iterator[Any]:
    """Yield some users at a time, of all shards in order; without the vectors, which no line of text should hold."""
    for part in parts:
        yield from pq.ParquetFile(part).iter_batches(_USERS_AT_ONCE, columns=list(NAMES))


@contextmanager
def _complete(file: Path) -> Iterator[Path]:
    """Give the name of a hidden file beside ``file`` that takes its place at the end, or vanishes with an error.

    Raises:
        UsageError: the folder of ``file`` does not exist.
    """
    if not file.parent.is_dir():
        raise UsageError(f"{file}: the folder {file.parent} does not exist; make it first")
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    os.close(descriptor)
    draft = Path(name)
    with replacing(file, draft):
        yield draft
        draft.chmod(0o644)  # mkstemp's files are for their owner alone


def _to_jsonl(batches: Iterator[Any], file: Path) -> int:
    rows = 0
    with _complete(file) as draft, draft.open("w", encoding="utf-8") as stream:
        for batch in batches:
            for record in batch.to_pylist():
                stream.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
                rows += 1
    return rows


def _to_flat_parquet(batches: Iterator[Any], file: Path) -> int:
    rows, writer = 0, None
    with _complete(file) as draft:
        try:
            for batch in batches:
                flat = _flat(batch)
                writer = writer or pq.ParquetWriter(draft, flat.schema, compression="zstd")
                writer.write_table(flat)
                rows += flat.num_rows
        finally:
            if writer is not None:
                writer.close()
    return rows


def _flat(nested: Any) -> Any:  # noqa: ANN401 (pyarrow has no types)
    rows = pl.DataFrame(pl.from_arrow(nested)).filter(pl.col("candidates").list.len() > 0)
    return rows.explode("candidates").unnest("candidates").to_arrow()
