"""How much of a log is kept: by age, and by what it may take of the disk.

From spools to parts: whole or not at all, each line once, whoever wrote it and however that process ended.

A part bears the name of its spool, and the spool goes when its part is on the disk. Work that is cut off between the
two is done again with the same result, in the same place.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from multitudes.atomic import move_into_place, partial_path
from multitudes.logs import erasure, lines, schemas, spool
from multitudes.logs import folder as places
from multitudes.logs.erasure import SpoolErasure
from multitudes.logs.schemas import IdTypes, LogName
from multitudes.logs.spool import Line

_DAY_S = 86_400
_UNNAMED_MAX_AGE_S = 60.0  # a spool gets its name within moments


class RemovedSegments(NamedTuple):
    """Parts that went."""

    expired: int = 0  # older than what is kept
    over_size: int = 0  # younger, but there was no more room


def apply_retention(folder: Path, now_s: float, keep_days: float, max_bytes: int) -> RemovedSegments:
    """Remove the parts that were begun more than ``keep_days`` ago, then the oldest until the log fits.

    Only for who holds ``folder.changing``. 0 as a bound is none.
    """
    for empty in places.list_unnamed_spools(folder):
        if places.start_time_s(empty) < now_s - _UNNAMED_MAX_AGE_S:
            empty.unlink(missing_ok=True)
    parts = places.list_segments(folder)
    old = [part for part in parts if keep_days and places.start_time_s(part) < now_s - keep_days * _DAY_S]
    crowd = _oldest_over_size(parts[len(old) :], places.list_spools(folder), max_bytes)
    for part in (*old, *crowd):
        part.unlink(missing_ok=True)
    if crowd:
        logging.getLogger(__name__).warning(
            "%s: the log is larger than %.1f GB; removed its %d oldest parts, until %s",
            *(folder, max_bytes / 1e9, len(crowd), crowd[-1].name),
        )
    return RemovedSegments(len(old), len(crowd))


def _oldest_over_size(parts: list[Path], spools: list[Path], most_bytes: int) -> list[Path]:
    """Return the oldest parts that have to go so that the rest fits."""
    if not most_bytes:
        return []
    sizes = [part.stat().st_size for part in parts]
    excess = sum(sizes) + sum(spool.stat().st_size for spool in spools) - most_bytes
    crowd = []
    for part, size in zip(parts, sizes, strict=True):
        if excess <= 0:
            break
        crowd.append(part)
        excess -= size
    return crowd


_CHUNK_BYTES = (
    300_000  # of lines become rows at once, a row group of the part: memory stays flat however long a spool is
)


class RotationResult(NamedTuple):
    """What became of spools."""

    segments: int = 0
    rows: int = 0
    torn: int = 0  # lines that were not what was written: the end of a spool whose writer died while it wrote
    erased: int = 0  # rows of users who asked

    def __add__(self, other: object) -> "RotationResult":
        """Add up."""
        assert isinstance(other, RotationResult)
        return RotationResult(*(a + b for a, b in zip(self, other, strict=True)))


def rotate_spools(folder: Path, log: LogName, kinds: IdTypes) -> RotationResult:
    """Turn every spool that nobody writes to into a part. Only for who holds ``folder.changing``.

    Raises:
        OSError: a part cannot be written; its spool stays.
    """
    done = RotationResult()
    for file in places.list_spools(folder):
        with spool.lock_if_abandoned(file) as mine:
            if mine:
                done += _rotate_spool(folder, file, log, kinds)
                file.unlink()
    return done


def _rotate_spool(folder: Path, file: Path, log: LogName, kinds: IdTypes) -> RotationResult:
    part = places.segment_path(folder, file)
    partial = partial_path(part, folder=places.working_folder(folder))
    total, asked = RotationResult(), erasure.erasures_in_spool(folder, file)
    with pq.ParquetWriter(partial, _to_arrow(pl.DataFrame(schema=schemas.segment_columns(log, kinds))).schema) as out:
        for chunk, torn in _chunks(file):
            found = lines.decode_lines(
                log, kinds, [line.payload or b"" for line in chunk], [line.end for line in chunk]
            )
            kept = lines.drop_line_ends(_erase_rows(found, asked))
            out.write_table(_to_arrow(kept))
            total += RotationResult(rows=kept.height, torn=torn, erased=found.height - kept.height)
    if total.rows:
        move_into_place(partial, part)
    else:
        partial.unlink()
    if total.torn:
        logging.getLogger(__name__).warning("%s: dropped %d torn lines of a writer that was cut off", file, total.torn)
    return total._replace(segments=int(total.rows > 0))


def _chunks(file: Path) -> Iterator[tuple[list[Line], int]]:
    """Yield the sound lines of a spool, some at a time, and how many others were among them."""
    sound, torn, size = list[Line](), 0, 0
    for line in spool.read_lines(file):
        if line.payload is None:
            torn += 1
            continue
        sound.append(line)
        size += len(line.payload)
        if size >= _CHUNK_BYTES:
            yield sound, torn
            sound, torn, size = [], 0, 0
    if sound or torn:
        yield sound, torn


def _erase_rows(found: pl.DataFrame, asked: list[SpoolErasure]) -> pl.DataFrame:
    for user_id, until in asked:
        found = lines.erase_rows(found, user_id, until)
    return found


def _to_arrow(found: pl.DataFrame) -> pa.Table:
    return found.to_arrow(compat_level=pl.CompatLevel.oldest())
