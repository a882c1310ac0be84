"""Recommendations for everybody as a file: one row per user, with the list of candidates as JSON has it."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from multitudes.errors import ArtefactError, UsageError
from multitudes.retrieve.recommendation import Recommendation

_USERS_AT_ONCE = 512


class Written(NamedTuple):
    """What a file of results holds."""

    users: int
    candidates: int
    degraded: int  # users whom less than the full method served


def write_results(answers: Iterable[Recommendation], file: Path, user_type: Any, item_type: Any) -> Written:  # noqa: ANN401
    """Write recommendations to a Parquet file, which appears when it is complete.

    Args:
        answers: consumed in batches, so that memory does not grow with the users.
        file: to be written.
        user_type: Arrow type of the user ids.
        item_type: Arrow type of the item ids.
    """
    schema = _schema(user_type, item_type)
    users = candidates = degraded = 0
    with complete(file) as draft, pq.ParquetWriter(draft, schema, compression="zstd") as writer:
        for some in _batched(answers, _USERS_AT_ONCE):
            writer.write_table(pa.Table.from_pylist([answer.to_dict() for answer in some], schema=schema))
            users += len(some)
            candidates += sum(len(answer.candidates) for answer in some)
            degraded += sum(answer.degraded for answer in some)
    return Written(users, candidates, degraded)


def export_results(results: Path, file: Path) -> int:
    """Write results as JSON lines (one user a line) or as flat Parquet (one candidate a row); return the rows.

    Raises:
        UsageError: another ending than .jsonl or .parquet.
        ArtefactError: ``results`` is missing or was not written by ``write_results``.
    """
    if file.suffix not in {".jsonl", ".parquet"}:
        raise UsageError(f"{file}: results are exported to a file that ends in .jsonl or .parquet")
    source = _open(results)
    return _to_jsonl(source, file) if file.suffix == ".jsonl" else _to_flat_parquet(source, file)


@contextmanager
def complete(file: Path) -> Iterator[Path]:
    """Give the name of a hidden file beside ``file`` that takes its place at the end, or vanishes with an error.

    Raises:
        UsageError: the folder of ``file`` does not exist.
    """
    if not file.parent.is_dir():
        raise UsageError(f"{file}: the folder {file.parent} does not exist; make it first")
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    os.close(descriptor)
    draft = Path(name)
    try:
        yield draft
        draft.chmod(0o644)  # mkstemp's files are for their owner alone
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def _schema(user_type: Any, item_type: Any) -> Any:  # noqa: ANN401 (pyarrow has no types)
    candidate = pa.struct(
        [
            ("item_id", item_type),
            ("score", pa.float32()),
            ("rank", pa.int32()),
            ("source", pa.string()),
            ("interest", pa.int32()),
            ("interest_name", pa.string()),
            ("found_by", pa.list_(pa.int32())),
        ]
    )
    columns = [("user_id", user_type), ("release", pa.string()), ("degraded", pa.bool_())]
    return pa.schema([*columns, ("candidates", pa.list_(candidate))])


def _open(results: Path) -> Any:  # noqa: ANN401 (pyarrow has no types)
    try:
        source = pq.ParquetFile(results)
    except FileNotFoundError:
        raise ArtefactError(f"{results}: missing; write it with: multitudes recommend RELEASES --all --out") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtefactError(f"{results}: not a Parquet file ({error})") from None
    if source.schema_arrow.names != ["user_id", "release", "degraded", "candidates"]:
        raise ArtefactError(
            f"{results}: not written by multitudes recommend --all; columns {source.schema_arrow.names}"
        )
    return source


def _to_jsonl(source: Any, file: Path) -> int:  # noqa: ANN401 (pyarrow has no types)
    rows = 0
    with complete(file) as draft, draft.open("w", encoding="utf-8") as stream:
        for batch in source.iter_batches(_USERS_AT_ONCE):
            for record in batch.to_pylist():
                stream.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
                rows += 1
    return rows


def _to_flat_parquet(source: Any, file: Path) -> int:  # noqa: ANN401 (pyarrow has no types)
    rows, schema = 0, _flat(source.schema_arrow.empty_table()).schema
    with complete(file) as draft, pq.ParquetWriter(draft, schema, compression="zstd") as writer:
        for batch in source.iter_batches(_USERS_AT_ONCE):
            flat = _flat(batch)
            writer.write_table(flat)
            rows += flat.num_rows
    return rows


def _flat(nested: Any) -> Any:  # noqa: ANN401 (pyarrow has no types)
    rows = pl.DataFrame(pl.from_arrow(nested)).filter(pl.col("candidates").list.len() > 0)
    return rows.explode("candidates").unnest("candidates").to_arrow()


def _batched(answers: Iterable[Recommendation], size: int) -> Iterator[list[Recommendation]]:
    rows: list[Recommendation] = []
    for answer in answers:
        rows.append(answer)
        if len(rows) == size:
            yield rows
            rows = []
    if rows:
        yield rows
