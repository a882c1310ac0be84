"""Rotation and retention of a log: spools become segments, and old segments are removed.

A segment appears complete or not at all, and contains each line once, however the writing process ended. It has the
name of its spool, and the spool is deleted after the segment is on the disk. An interrupted rotation is repeated with
the same result in the same place. Retention does not believe a clock that jumped ahead at once.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from itertools import accumulate
from pathlib import Path
from time import monotonic

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from multitudes.atomic import move_into_place, partial_path
from multitudes.errors import ArtefactError
from multitudes.locks import lock
from multitudes.logs.erasure import erasures_in_spool
from multitudes.logs.folder import (
    SPOOL_SUFFIX,
    list_damaged,
    list_segments,
    list_spools,
    new_spool_path,
    segment_path,
    start_time_s,
    working_folder,
)
from multitudes.logs.schemas import IdTypes, LogName, segment_columns
from multitudes.logs.spool import Line, decode_lines, erase_rows, read_lines

_CHUNK_BYTES = 300_000  # of lines that become one row group: bounds memory, however long a spool is
_DAY_S = 86_400
_UNNAMED_MAX_AGE_S = 60.0  # a process renames a new spool within moments
_TOLERANCE_S = 3_600.0  # a clock is set by less, or runs this much ahead of the monotonic clock, without a jump
_BELIEVED_AFTER_S = 86_400.0
_UNSET_S = 1e9  # of 2001: a clock that shows an earlier time was not set yet


def rotate_spools(folder: Path, log: LogName, id_types: IdTypes) -> Counter[str]:
    """Turn every spool that no process writes into a segment; count segments, rows, torn lines and erased rows.

    The caller holds ``folder.lock_log``. A line is torn at the end of a spool whose writer died while it wrote.

    Raises:
        OSError: a segment cannot be written; its spool stays.
    """
    result = Counter[str]()
    for file in list_spools(folder):
        with lock(file, wait=False, create=False) as is_abandoned:  # its writer has closed it or died
            try:
                if is_abandoned:
                    result += _rotate_spool(folder, file, log, id_types)
                    file.unlink()
            except ArtefactError as error:  # it stays, and stops neither the others nor an erasure
                _report_once(str(error))
    return result


@cache
def _report_once(problem: str) -> None:
    logging.getLogger(__name__).error("%s; it stays, and is tried again: restore it, or delete it", problem)


def _rotate_spool(folder: Path, spool: Path, log: LogName, id_types: IdTypes) -> Counter[str]:
    segment = segment_path(folder, spool)
    partial = partial_path(segment, folder=spool.parent)
    result, erased = Counter[str](), erasures_in_spool(folder, spool)
    with pq.ParquetWriter(partial, _to_arrow(pl.DataFrame(schema=segment_columns(log, id_types))).schema) as out:
        for lines in _chunks(spool):
            whole = [line for line in lines if line.payload is not None]
            rows = decode_lines(log, id_types, [line.payload or b"" for line in whole], [line.end for line in whole])
            remaining = erase_rows(rows, erased)
            out.write_table(_to_arrow(remaining))
            erased_rows = rows.height - remaining.height
            result.update(rows=remaining.height, torn=len(lines) - len(whole), erased=erased_rows)
    if result["torn"] and not result["rows"] + result["erased"]:
        raise ArtefactError(f"{spool}: no line is as it was written")
    if result["rows"]:
        result["segments"] = 1
        move_into_place(partial, segment)
    else:
        partial.unlink()
    if result["torn"]:
        logging.getLogger(__name__).warning("%s: dropped 1 torn line of a writer that was cut off", spool)
    return result


def _chunks(spool: Path) -> Iterator[list[Line]]:
    """Yield the lines of a spool in chunks; a writer that dies tears its last line alone, if any."""
    lines, size = list[Line](), 0
    for line in read_lines(spool):
        if lines and lines[-1].payload is None:
            raise ArtefactError(f"{spool}: a line is not as it was written")
        lines.append(line)
        size += len(line.payload or b"")
        if size >= _CHUNK_BYTES:
            yield lines
            lines, size = [], 0
    if lines:
        yield lines


def _to_arrow(rows: pl.DataFrame) -> pa.Table:
    return rows.to_arrow(compat_level=pl.CompatLevel.oldest())


def apply_retention(folder: Path, now_s: float, keep_days: float, max_bytes: int) -> tuple[int, int]:
    """Remove the segments started more than ``keep_days`` ago, then the oldest until the log fits ``max_bytes``.

    Return how many were too old, and how many of the others were too much. The newest segment stays, whatever the
    bounds say. The caller holds ``folder.lock_log``. 0 turns a bound off.
    """
    for unnamed in working_folder(folder).glob(f".*{SPOOL_SUFFIX}"):  # of processes killed while they created one
        if start_time_s(unnamed) < now_s - _UNNAMED_MAX_AGE_S:
            unnamed.unlink(missing_ok=True)
    for segment in list_segments(folder):
        if start_time_s(segment) < _UNSET_S <= now_s:  # nobody knows how old it is: it counts from now
            segment.rename(segment_path(folder, new_spool_path(folder, now_s)))
    expired = expired_segments(folder, now_s, keep_days)
    over_size = _oldest_over_size(list_segments(folder)[len(expired) :], list_spools(folder), max_bytes)
    damaged = _started_before(list_damaged(folder), now_s, keep_days)
    for file in (*expired, *over_size, *damaged):
        file.unlink(missing_ok=True)
    if over_size:
        logging.getLogger(__name__).warning(
            "%s: the log is larger than %.1f GB; removed its %d oldest segments, until %s",
            *(folder, max_bytes / 1e9, len(over_size), over_size[-1].name),
        )
    return len(expired), len(over_size)


def expired_segments(folder: Path, now_s: float, keep_days: float) -> list[Path]:
    """Return the segments that retention removes because of their age; the newest segment is never one of them."""
    return _started_before(list_segments(folder)[:-1], now_s, keep_days)


def _started_before(files: list[Path], now_s: float, keep_days: float) -> list[Path]:
    return [file for file in files if keep_days and start_time_s(file) < now_s - keep_days * _DAY_S]


def _oldest_over_size(segments: list[Path], spools: list[Path], max_bytes: int) -> list[Path]:
    """Return the oldest segments without which the log fits, but never the newest."""
    sizes = [file.stat().st_size for file in segments]
    excess = sum(sizes) + sum(spool.stat().st_size for spool in spools) - max_bytes
    before = accumulate(sizes, initial=0)  # the bytes of all older segments
    return [file for file, size in zip(segments[:-1], before, strict=False) if max_bytes and size < excess]


class RetentionClock:
    """Follows the clock of the machine, but not when it jumps ahead.

    A jump is an advance that neither the monotonic clock nor, at the start, the newest segment explains. Until the
    clock has kept the new time for a day, only the time that the monotonic clock measures passes.
    """

    def __init__(self, newest_segment_s: float | None, clock: Callable[[], float] = monotonic) -> None:
        """Start at the start of the newest segment, in seconds since 1970; None: there is none."""
        self._clock, self._monotonic_s, self._believed_s = clock, clock(), newest_segment_s
        self._jump_s: float | None = None  # when it jumped, by the monotonic clock

    def believed_s(self, now_s: float) -> float:
        """Return ``now_s``, the time of the machine, or an earlier time as long as ``now_s`` is not believed."""
        moment_s = self._clock()
        if self._believed_s is None:
            self._believed_s = now_s
        elapsed_s, self._monotonic_s = moment_s - self._monotonic_s, moment_s
        expected_s = self._believed_s + elapsed_s
        if now_s <= expected_s + _TOLERANCE_S:
            self._jump_s, self._believed_s = None, now_s
        else:
            self._jump_s = moment_s if self._jump_s is None else self._jump_s
            is_believed = moment_s - self._jump_s >= _BELIEVED_AFTER_S
            self._believed_s = now_s if is_believed else expected_s
        return self._believed_s
