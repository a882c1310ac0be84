"""Where everybody's answers lie: a file for each shard of the users, and what makes them one result.

::

    OUT/
      batch.json            what was asked for; written first, and never changed
      part-00000.parquet …  one shard each; a file with this name is complete
      manifest.json         written last: without it the result is not finished
      .lock                 held by whoever writes

A shard that is done stays done, whatever happens to those that are written: the same command makes what is missing.

Everybody's answers for the next system: JSON lines, one user a line, or flat Parquet, one candidate a row.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from multitudes.atomic import replace_file, write_json
from multitudes.batch_inference.columns import COLUMN_NAMES
from multitudes.data.location import reject_url
from multitudes.errors import ArtefactError, UsageError
from multitudes.index import files
from multitudes.locks import lock

FORMAT: Final = "multitudes-batch"
FORMAT_VERSION: Final = 1
_HEADER: Final = {"format": FORMAT, "version": FORMAT_VERSION}  # of both JSON files
BEGUN, MANIFEST, LOCK = "batch.json", "manifest.json", ".lock"
_REPAIR = "delete it and run the same command again"
_COUNTS = ("users", "candidates", "degraded")
_SHARD = "shard"


class Counts(NamedTuple):
    """What a shard or a whole result holds."""

    users: int
    candidates: int
    degraded: int  # users whom less than the full method served


def shard_name(shard: int) -> str:
    """Return the name of a shard's file."""
    return f"part-{shard:05d}.parquet"


def write_shard(folder: Path, shard: int, tables: Iterator[Any], schema: Any) -> None:  # noqa: ANN401
    """Write a shard beside its place and rename it when it is on the disk; with its counts, for who goes on later."""
    with replace_file(folder / shard_name(shard)) as partial:
        _write_shard_file(partial, shard, tables, schema)


def _write_shard_file(draft: Path, shard: int, tables: Iterator[Any], schema: Any) -> None:  # noqa: ANN401
    users = candidates = degraded = 0
    with pq.ParquetWriter(draft, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
            users += len(table)
            candidates += sum(len(chunk.flatten()) for chunk in table["candidates"].chunks)
            degraded += table["degraded"].to_numpy().sum()
        written = map(str, map(int, (users, candidates, degraded)))
        writer.add_key_value_metadata({_SHARD: str(shard), **dict(zip(_COUNTS, written, strict=True))})


def shard_counts(folder: Path, shard: int, users: int) -> Counts:
    """Return what a finished shard holds, by its end alone.

    Raises:
        ArtefactError: it was cut, is another shard, or holds another number of users.
    """
    file = folder / shard_name(shard)
    try:
        metadata = pq.read_metadata(file)
        number, *held = (int(metadata.metadata[name.encode()]) for name in (_SHARD, *_COUNTS))
    except (pa.ArrowInvalid, OSError, KeyError, TypeError):
        raise ArtefactError(f"{file}: cut or damaged; {_REPAIR}") from None
    if (number, held[0], metadata.num_rows) != (shard, users, users):
        raise ArtefactError(
            f"{file}: shard {number} of {metadata.num_rows} users; expected shard {shard} of {users}; {_REPAIR}"
        )
    return Counts(*held)


@contextmanager
def lock_results(folder: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> Iterator[None]:
    """Hold a folder in which ``settings`` is made, or gone on with; leaves of a killed process are taken away.

    Raises:
        UsageError: another process writes there, something else was begun there, or it is a folder of something else,
            or an address.
        ArtefactError: what was begun there is damaged, or of another version of the format.
    """
    reject_url(folder)
    if folder.exists() and not (folder / BEGUN).exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: exists and has no {BEGUN}; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder / LOCK, wait=False) as mine:
        if not mine:
            raise UsageError(f"{folder}: another process is writing there; wait for it, or choose another folder")
        for left in folder.glob(".part-*"):
            left.unlink()
        if overwrite:
            _clear(folder)
        if (folder / BEGUN).exists():
            _check_same_settings(folder, _read_record(folder / BEGUN, "begin anew with --overwrite"), settings)
        else:
            write_json(folder / BEGUN, {**_HEADER, **settings})
        yield


def write_manifest(folder: Path, counts: Counts, shards: int) -> None:
    """Write the manifest: from now on the result is whole."""
    parts = {shard_name(shard): files.checksum(folder / shard_name(shard)) for shard in range(shards)}
    record = {**_HEADER, **counts._asdict(), "parts": parts}
    write_json(folder / MANIFEST, record | {"asked": _read_json(folder / BEGUN)})


def verify_results(folder: Path) -> dict[str, Any]:
    """Return the manifest of a finished result of which every file is what was written.

    Raises:
        ArtefactError: it is not finished, or a shard is missing, cut or changed; it is named.
    """
    if not (folder / MANIFEST).exists():
        if (folder / BEGUN).exists():
            raise ArtefactError(f"{folder}: not finished; run the command that began it again")
        raise ArtefactError(
            f"{folder}: no {MANIFEST}; expected a folder written by: multitudes recommend RELEASES --all --out"
        )
    record = _read_record(folder / MANIFEST, "write it again")
    for name, entry in record["parts"].items():
        files.verify(folder / name, entry["xxh3"], entry["bytes"], _repair_hint(folder))
    return record


def manifest_counts(manifest: Mapping[str, Any]) -> Counts:
    """Return what a finished result holds."""
    return Counts(*(int(manifest[name]) for name in _COUNTS))


def shard_files(folder: Path) -> list[Path]:
    """Return the shards of a finished result in order, none of them damaged.

    Raises:
        ArtefactError: as ``verify_results``; or they are of other columns.
    """
    parts = [folder / name for name in verify_results(folder)["parts"]]
    for part in parts:
        names = tuple(pq.read_schema(part).names[: len(COLUMN_NAMES)])
        if names != COLUMN_NAMES:
            raise ArtefactError(f"{part}: has the columns {', '.join(names)}; expected {', '.join(COLUMN_NAMES)}")
    return parts


def _repair_hint(folder: Path) -> str:
    return f"delete it and {folder / MANIFEST}, and run the command that wrote it again"


def _clear(folder: Path) -> None:
    for file in (folder / MANIFEST, *folder.glob("part-*.parquet"), folder / BEGUN):  # what makes it whole goes first
        file.unlink(missing_ok=True)


def _check_same_settings(folder: Path, found: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    for key, value in settings.items():
        if found.get(key) != value:
            raise UsageError(
                f"{folder}: was begun with {key} = {found.get(key)}, and this is {key} = {value}; choose another"
                " folder, or begin anew with --overwrite"
            )


def _read_record(file: Path, repair: str) -> dict[str, Any]:
    record = _read_json(file)
    if any(record.get(key) != value for key, value in _HEADER.items()):
        raise ArtefactError(
            f"{file}: {record.get('format')} version {record.get('version')}; expected {FORMAT} version"
            f" {FORMAT_VERSION}; {repair}"
        )
    return record


def _read_json(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        record = None
    if not isinstance(record, dict):
        raise ArtefactError(f"{file}: damaged; begin anew with --overwrite")
    return record


_USERS_PER_BATCH = 512


def export_results(results: Path, file: Path) -> int:
    """Write a folder of results as JSON lines or as flat Parquet; return the rows.

    Raises:
        UsageError: another ending than .jsonl or .parquet.
        ArtefactError: ``results`` is missing, not finished, or damaged.
    """
    if file.suffix not in {".jsonl", ".parquet"}:
        raise UsageError(f"{file}: results are exported to a file that ends in .jsonl or .parquet")
    batches = _batches(shard_files(results))
    return _write_jsonl(batches, file) if file.suffix == ".jsonl" else _write_flat_parquet(batches, file)


def _batches(parts: list[Path]) -> Iterator[Any]:
    """Yield some users at a time, of all shards in order; without the vectors, which no line of text should hold."""
    for part in parts:
        yield from pq.ParquetFile(part).iter_batches(_USERS_PER_BATCH, columns=list(COLUMN_NAMES))


@contextmanager
def _replace_file(file: Path) -> Iterator[Path]:
    """Yield a temporary path; the file written there replaces ``file`` when the block ends without an error.

    Raises:
        UsageError: the folder of ``file`` does not exist.
    """
    if not file.parent.is_dir():
        raise UsageError(f"{file}: the folder {file.parent} does not exist; make it first")
    with replace_file(file, shared=True) as partial:
        yield partial


def _write_jsonl(batches: Iterator[Any], file: Path) -> int:
    rows = 0
    with _replace_file(file) as draft, draft.open("w", encoding="utf-8") as stream:
        for batch in batches:
            for record in batch.to_pylist():
                stream.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
                rows += 1
    return rows


def _write_flat_parquet(batches: Iterator[Any], file: Path) -> int:
    rows, writer = 0, None
    with _replace_file(file) as draft:
        try:
            for batch in batches:
                flat = _flatten(batch)
                writer = writer or pq.ParquetWriter(draft, flat.schema, compression="zstd")
                writer.write_table(flat)
                rows += flat.num_rows
        finally:
            if writer is not None:
                writer.close()
    return rows


def _flatten(nested: Any) -> Any:  # noqa: ANN401 (pyarrow has no types)
    rows = pl.DataFrame(pl.from_arrow(nested)).filter(pl.col("candidates").list.len() > 0)
    return rows.explode("candidates").unnest("candidates").to_arrow()
