"""Where everybody's answers lie: a file for each shard of the users, and what makes them one result.

::

    OUT/
      batch.json            what was asked for; written first, and never changed
      part-00000.parquet …  one shard each; a file with this name is complete
      manifest.json         written last: without it the result is not finished
      .lock                 held by whoever writes

A shard that is done stays done, whatever happens to those that are written: the same command makes what is missing.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from multitudes.bulk.columns import NAMES
from multitudes.data.address import refuse_address
from multitudes.disk import replacing, write_json
from multitudes.errors import ArtefactError, UsageError
from multitudes.index import files
from multitudes.locks import locked

FORMAT: Final = "multitudes-batch"
FORMAT_VERSION: Final = 1
_HEAD: Final = {"format": FORMAT, "version": FORMAT_VERSION}  # of both JSON files
BEGUN, MANIFEST, LOCK = "batch.json", "manifest.json", ".lock"
_AGAIN = "delete it and run the same command again"
_COUNTS = ("users", "candidates", "degraded")
_SHARD = "shard"


class Counts(NamedTuple):
    """What a shard or a whole result holds."""

    users: int
    candidates: int
    degraded: int  # users whom less than the full method served


def part_name(shard: int) -> str:
    """Return the name of a shard's file."""
    return f"part-{shard:05d}.parquet"


def write_part(folder: Path, shard: int, tables: Iterator[Any], schema: Any) -> None:  # noqa: ANN401
    """Write a shard beside its place and rename it when it is on the disk; with its counts, for who goes on later."""
    draft = folder / f".{part_name(shard)}.part"
    with replacing(folder / part_name(shard), draft):
        _write(draft, shard, tables, schema)


def _write(draft: Path, shard: int, tables: Iterator[Any], schema: Any) -> None:  # noqa: ANN401
    users = candidates = degraded = 0
    with pq.ParquetWriter(draft, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
            users += len(table)
            candidates += sum(len(chunk.flatten()) for chunk in table["candidates"].chunks)
            degraded += table["degraded"].to_numpy().sum()
        written = map(str, map(int, (users, candidates, degraded)))
        writer.add_key_value_metadata({_SHARD: str(shard), **dict(zip(_COUNTS, written, strict=True))})


def part_counts(folder: Path, shard: int, users: int) -> Counts:
    """Return what a finished shard holds, by its end alone.

    Raises:
        ArtefactError: it was cut, is another shard, or holds another number of users.
    """
    file = folder / part_name(shard)
    try:
        metadata = pq.read_metadata(file)
        number, *held = (int(metadata.metadata[name.encode()]) for name in (_SHARD, *_COUNTS))
    except (pa.ArrowInvalid, OSError, KeyError, TypeError):
        raise ArtefactError(f"{file}: cut or damaged; {_AGAIN}") from None
    if (number, held[0], metadata.num_rows) != (shard, users, users):
        raise ArtefactError(
            f"{file}: shard {number} of {metadata.num_rows} users; expected shard {shard} of {users}; {_AGAIN}"
        )
    return Counts(*held)


@contextmanager
def writing(folder: Path, begun: Mapping[str, Any], *, overwrite: bool = False) -> Iterator[None]:
    """Hold a folder in which ``begun`` is made, or gone on with; leaves of a killed process are taken away.

    Raises:
        UsageError: another process writes there, something else was begun there, or it is a folder of something else,
            or an address.
        ArtefactError: what was begun there is damaged, or of another version of the format.
    """
    refuse_address(folder)
    if folder.exists() and not (folder / BEGUN).exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: exists and has no {BEGUN}; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK, wait=False) as mine:
        if not mine:
            raise UsageError(f"{folder}: another process is writing there; wait for it, or choose another folder")
        for left in folder.glob(".part-*"):
            left.unlink()
        if overwrite:
            _empty(folder)
        if (folder / BEGUN).exists():
            _refuse_other(folder, _known(folder / BEGUN, "begin anew with --overwrite"), begun)
        else:
            write_json(folder / BEGUN, {**_HEAD, **begun})
        yield


def finish(folder: Path, held: Counts, shards: int) -> None:
    """Write the manifest: from now on the result is whole."""
    parts = {part_name(shard): files.checksum(folder / part_name(shard)) for shard in range(shards)}
    record = {**_HEAD, **held._asdict(), "parts": parts}
    write_json(folder / MANIFEST, record | {"asked": _read(folder / BEGUN)})


def verified(folder: Path) -> dict[str, Any]:
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
    record = _known(folder / MANIFEST, "write it again")
    for name, entry in record["parts"].items():
        files.verify(folder / name, entry["xxh3"], entry["bytes"], _repair(folder))
    return record


def counts(manifest: Mapping[str, Any]) -> Counts:
    """Return what a finished result holds."""
    return Counts(*(int(manifest[name]) for name in _COUNTS))


def part_files(folder: Path) -> list[Path]:
    """Return the shards of a finished result in order, none of them damaged.

    Raises:
        ArtefactError: as ``verified``; or they are of other columns.
    """
    parts = [folder / name for name in verified(folder)["parts"]]
    for part in parts:
        names = tuple(pq.read_schema(part).names[: len(NAMES)])
        if names != NAMES:
            raise ArtefactError(f"{part}: has the columns {', '.join(names)}; expected {', '.join(NAMES)}")
    return parts


def _repair(folder: Path) -> str:
    return f"delete it and {folder / MANIFEST}, and run the command that wrote it again"


def _empty(folder: Path) -> None:
    for file in (folder / MANIFEST, *folder.glob("part-*.parquet"), folder / BEGUN):  # what makes it whole goes first
        file.unlink(missing_ok=True)


def _refuse_other(folder: Path, found: Mapping[str, Any], begun: Mapping[str, Any]) -> None:
    for key, value in begun.items():
        if found.get(key) != value:
            raise UsageError(
                f"{folder}: was begun with {key} = {found.get(key)}, and this is {key} = {value}; choose another"
                " folder, or begin anew with --overwrite"
            )


def _known(file: Path, repair: str) -> dict[str, Any]:
    record = _read(file)
    if any(record.get(key) != value for key, value in _HEAD.items()):
        raise ArtefactError(
            f"{file}: {record.get('format')} version {record.get('version')}; expected {FORMAT} version"
            f" {FORMAT_VERSION}; {repair}"
        )
    return record


def _read(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        record = None
    if not isinstance(record, dict):
        raise ArtefactError(f"{file}: damaged; begin anew with --overwrite")
    return record
