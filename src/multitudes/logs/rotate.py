"""From spools to parts: whole or not at all, each line once, whoever wrote it and however that process ended.

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

from multitudes.disk import put
from multitudes.logs import folder as places
from multitudes.logs import lines, notes, schemas, spool
from multitudes.logs.notes import Forgotten
from multitudes.logs.schemas import Kinds, LogName
from multitudes.logs.spool import Line

_BYTES = 300_000  # of lines become rows at once, a row group of the part: memory stays flat however long a spool is


class Rotated(NamedTuple):
    """What became of spools."""

    parts: int = 0
    rows: int = 0
    torn: int = 0  # lines that were not what was written: the end of a spool whose writer died while it wrote
    forgotten: int = 0  # rows of users who asked

    def __add__(self, other: object) -> "Rotated":
        """Add up."""
        assert isinstance(other, Rotated)
        return Rotated(*(a + b for a, b in zip(self, other, strict=True)))


def sweep(folder: Path, log: LogName, kinds: Kinds) -> Rotated:
    """Turn every spool that nobody writes to into a part. Only for who holds ``folder.changing``.

    Raises:
        OSError: a part cannot be written; its spool stays.
    """
    done = Rotated()
    for file in places.spools(folder):
        with spool.abandoned(file) as mine:
            if mine:
                done += _to_part(folder, file, log, kinds)
                file.unlink()
    return done


def _to_part(folder: Path, file: Path, log: LogName, kinds: Kinds) -> Rotated:
    part = places.part_of(folder, file)
    partial = places.partial(folder, part)
    total, asked = Rotated(), notes.about(folder, file)
    with pq.ParquetWriter(partial, _arrow(pl.DataFrame(schema=schemas.part(log, kinds))).schema) as out:
        for chunk, torn in _chunks(file):
            found = lines.rows(log, kinds, [line.payload or b"" for line in chunk], [line.end for line in chunk])
            kept = lines.as_part(_without(found, asked))
            out.write_table(_arrow(kept))
            total += Rotated(rows=kept.height, torn=torn, forgotten=found.height - kept.height)
    if total.rows:
        put(partial, part)
    else:
        partial.unlink()
    if total.torn:
        logging.getLogger(__name__).warning("%s: dropped %d torn lines of a writer that was cut off", file, total.torn)
    return total._replace(parts=int(total.rows > 0))


def _chunks(file: Path) -> Iterator[tuple[list[Line], int]]:
    """Yield the sound lines of a spool, some at a time, and how many others were among them."""
    sound, torn, size = list[Line](), 0, 0
    for line in spool.read(file):
        if line.payload is None:
            torn += 1
            continue
        sound.append(line)
        size += len(line.payload)
        if size >= _BYTES:
            yield sound, torn
            sound, torn, size = [], 0, 0
    if sound or torn:
        yield sound, torn


def _without(found: pl.DataFrame, asked: list[Forgotten]) -> pl.DataFrame:
    for user_id, until in asked:
        found = lines.without(found, user_id, until)
    return found


def _arrow(found: pl.DataFrame) -> pa.Table:
    return found.to_arrow(compat_level=pl.CompatLevel.oldest())
