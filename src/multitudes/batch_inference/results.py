"""The folder of results of batch inference, and its export to one file.

::

    OUT/
      batch.json            the settings; written first and never changed
      part-00000.parquet …  one shard each; a file with this name is complete
      manifest.json         written last: without it the results are not finished
      .lock                 held by the process that writes

A complete shard stays. After an interruption, the same command writes the missing shards.

An export has one user in each line (JSON lines) or one candidate in each row (flat Parquet). Vectors are left out.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from multitudes.atomic import read_json, replace_file, write_json
from multitudes.batch_inference.columns import COLUMN_NAMES
from multitudes.data.location import reject_url
from multitudes.errors import ArtefactError, UsageError
from multitudes.index import files
from multitudes.locks import lock

FORMAT: Final = "multitudes-batch"
FORMAT_VERSION: Final = 1
_HEADER: Final = {"format": FORMAT, "version": FORMAT_VERSION}  # of both JSON files
SETTINGS, MANIFEST, LOCK = "batch.json", "manifest.json", ".lock"
_REPAIR = "delete it and run the same command again"

_SHARD = "shard"


class Counts(NamedTuple):
    """The content of a shard or of all results."""

    users: int
    candidates: int
    degraded: int  # users whose answer is less than the full method would give

    def plus(self, other: "Counts") -> "Counts":
        """Return the sum of two counts."""
        return Counts(*map(sum, zip(self, other, strict=True)))


def shard_name(shard: int) -> str:
    """Return the file name of a shard."""
    return f"part-{shard:05d}.parquet"


def write_shard(folder: Path, shard: int, tables: Iterator[Any], schema: Any) -> None:  # noqa: ANN401
    """Write a shard, with its counts in the metadata of the file; the file appears when it is complete."""
    users = candidates = degraded = 0
    partial_file = replace_file(folder / shard_name(shard))
    with partial_file as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
            users += len(table)
            candidates += sum(len(chunk.flatten()) for chunk in table["candidates"].chunks)
            degraded += table["degraded"].to_numpy().sum()
        counts = map(str, map(int, (users, candidates, degraded)))
        writer.add_key_value_metadata({_SHARD: str(shard), **dict(zip(Counts._fields, counts, strict=True))})


def shard_counts(folder: Path, shard: int, users: int) -> Counts:
    """Read the counts of a complete shard; only the end of the file is read.

    Raises:
        ArtefactError: the file is truncated, is another shard, or has another number of users.
    """
    file = folder / shard_name(shard)
    try:
        metadata = pq.read_metadata(file)
        number, *counts = (int(metadata.metadata[name.encode()]) for name in (_SHARD, *Counts._fields))
    except (pa.ArrowInvalid, OSError, KeyError, TypeError):
        raise ArtefactError(f"{file}: truncated or damaged; {_REPAIR}") from None
    if (number, counts[0], metadata.num_rows) != (shard, users, users):
        raise ArtefactError(
            f"{file}: shard {number} of {metadata.num_rows} users; expected shard {shard} of {users}; {_REPAIR}"
        )
    return Counts(*counts)


@contextmanager
def lock_results(folder: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> Iterator[None]:
    """Hold the lock of a folder of results, created if necessary, while the block writes them.

    Results with the same settings are continued; ``overwrite`` deletes them.

    Raises:
        UsageError: another process writes there, the results have other settings, the folder has other content, or it
            is a URL.
        ArtefactError: existing results are damaged, or of another format version.
    """
    reject_url(folder)
    if folder.exists() and not (folder / SETTINGS).exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: exists and has no {SETTINGS}; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder / LOCK, wait=False) as acquired:
        if not acquired:
            raise UsageError(f"{folder}: another process is writing there; wait for it, or choose another folder")
        for partial in folder.glob(".part-*"):
            partial.unlink()
        if overwrite:  # the manifest first: without it the results are not finished
            for file in (folder / MANIFEST, *folder.glob("part-*.parquet"), folder / SETTINGS):
                file.unlink(missing_ok=True)
        if (folder / SETTINGS).exists():
            existing = read_json(folder / SETTINGS, FORMAT, FORMAT_VERSION, "start again with --overwrite")
            for key, value in settings.items():
                if existing.get(key) != value:
                    raise UsageError(
                        f"{folder}: was begun with {key} = {existing.get(key)}, and this is {key} = {value}; choose"
                        " another folder, or start again with --overwrite"
                    )
        else:
            write_json(folder / SETTINGS, {**_HEADER, **settings})
        yield


def write_manifest(folder: Path, counts: Counts, shards: int) -> None:
    """Write the manifest, which completes the results."""
    names = [shard_name(shard) for shard in range(shards)]
    checksums = {name: files.checksum(folder / name) for name in names}
    record = {**_HEADER, **counts._asdict(), "parts": checksums}
    write_json(folder / MANIFEST, record | {"asked": read_json(folder / SETTINGS, FORMAT, FORMAT_VERSION, _REPAIR)})


def verify_results(folder: Path) -> dict[str, Any]:
    """Check every file of finished results, and return the manifest.

    Raises:
        ArtefactError: the results are not finished, or a shard is missing, truncated or changed.
    """
    if not (folder / MANIFEST).exists():
        if (folder / SETTINGS).exists():
            raise ArtefactError(f"{folder}: not finished; run the same command again to finish it")
        raise ArtefactError(
            f"{folder}: no {MANIFEST}; expected a folder written by: multitudes recommend RELEASES --all --out FOLDER"
        )
    record = read_json(folder / MANIFEST, FORMAT, FORMAT_VERSION, "start again with --overwrite")
    repair = f"delete it and {folder / MANIFEST}, and run the command that wrote it again"
    for name, entry in record["parts"].items():
        files.verify(folder / name, entry["xxh3"], entry["bytes"], repair)
    return record


def manifest_counts(manifest: Mapping[str, Any]) -> Counts:
    """Return the counts of finished results."""
    return Counts(*(int(manifest[name]) for name in Counts._fields))


def shard_files(folder: Path) -> list[Path]:
    """Check finished results, and return their shards in order.

    Raises:
        ArtefactError: see ``verify_results``; or the shards have other columns.
    """
    shards = [folder / name for name in verify_results(folder)["parts"]]
    for shard in shards:
        names = tuple(pq.read_schema(shard).names[: len(COLUMN_NAMES)])
        if names != COLUMN_NAMES:
            raise ArtefactError(f"{shard}: has the columns {', '.join(names)}; expected {', '.join(COLUMN_NAMES)}")
    return shards


def check_export(file: Path) -> None:
    """Check that results can be exported to a file.

    Raises:
        UsageError: it has another ending.
    """
    if file.suffix not in {".jsonl", ".parquet"}:
        raise UsageError(f"{file}: expected a file name that ends in .jsonl or .parquet")


def export_results(results: Path, file: Path) -> int:
    """Export results to a file of JSON lines (.jsonl: users) or rows (.parquet: candidates); return their number.

    Raises:
        UsageError: see ``check_export``.
        ArtefactError: the results are missing, not finished, or damaged.
    """
    check_export(file)
    shards, as_lines = shard_files(results), file.suffix == ".jsonl"
    counts = manifest_counts(read_json(results / MANIFEST, FORMAT, FORMAT_VERSION, _REPAIR))
    with replace_file(file, shared=True) as partial:
        if not shards:
            partial.touch()
        elif as_lines:
            _users(shards).sink_ndjson(partial)
        else:
            users = pl.scan_parquet(shards, glob=False).select(COLUMN_NAMES).filter(pl.col("candidates").list.len() > 0)
            users.explode("candidates").unnest("candidates").sink_parquet(partial)
    return counts.users if as_lines else counts.candidates


def _users(shards: list[Path]) -> pl.LazyFrame:
    """Return all users, with explained interests, but without vectors, which are too long for a line of text."""
    users = pl.scan_parquet(shards, glob=False)
    schema = pq.read_schema(shards[0])
    fields = schema.field("interests").type.value_type.names if "interests" in schema.names else []
    if "items" not in fields:
        return users.select(COLUMN_NAMES)
    shown = pl.struct(pl.element().struct.field([name for name in fields if name != "vector"]))
    return users.select(*COLUMN_NAMES, pl.col("interests").list.eval(shown))
