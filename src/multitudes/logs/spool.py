r"""A spool: the file to which one process appends its log lines; lines become the rows of a segment.

A line is ``crc32 payload\n``: the checksum of the payload as eight hexadecimal digits, and JSON, which has no line
break. ``append`` hands each line to the operating system in one write before it returns, so a process that is killed
loses nothing that it appended. (A machine that loses power may lose what the system has not yet written.)

The writer locks its spool, and the system releases the lock when the process ends. A process that gets the lock of a
spool knows that no other process will write to it again.

A response is one line whose candidates are columns of lists; the events of one append are one line too. Polars decodes
the lines without Python's global lock, so a service answers requests while it rotates its log.
"""

import errno
import fcntl
import io
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from multitudes.errors import DataError
from multitudes.ids import INT64_RANGE, Id, IdType
from multitudes.logs import schemas
from multitudes.logs.schemas import ORIGIN_COLUMNS, SCORE_UNIT, IdTypes, LoggedEvent, LogName, ServedResponse

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")).encode
_END = "end"  # column: the byte of the spool at which the row's line ends


class Spool:
    """A new spool that this process writes. One thread at a time may append. Do not use it after a fork."""

    def __init__(self, file: Path) -> None:
        # Locked before it is renamed: other processes take a spool without a lock for one of a dead process.
        unnamed = file.with_name(f".{file.name}")
        self.file, self.size = file, 0
        self._descriptor = os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        unnamed.rename(file)

    def append(self, payload: bytes) -> None:
        """Write a line, complete or not at all.

        Raises:
            OSError: the line cannot be written, for example because the disk is full.
        """
        line = _frame(payload)
        written = os.write(self._descriptor, line)
        if written < len(line):
            os.ftruncate(self._descriptor, self.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.file))
        self.size += written

    def close(self) -> None:
        """Release the spool, so that it can become a segment."""
        os.close(self._descriptor)


class Line(NamedTuple):
    """A line of a spool."""

    end: int  # byte of the spool at which the line ends
    payload: bytes | None  # None: torn or damaged


def read_lines(file: Path) -> Iterator[Line]:
    """Yield the lines of a spool in order."""
    end = 0
    with file.open("rb") as stream:
        for line in stream:
            end += len(line)
            yield Line(end, line[9:-1] if line == _frame(line[9:-1]) else None)


def _frame(payload: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(payload), payload)


def encode_served(response: ServedResponse, id_types: IdTypes) -> bytes:
    """Return a response as a line.

    Raises:
        DataError: an id has the wrong type.
        OverflowError, ValueError: a score is not finite, or UTF-8 cannot encode a text.
    """
    check_ids("item_id", response.item_ids, id_types.item_id)
    if response.user_id is not None:
        check_ids("user_id", (response.user_id,), id_types.user_id)
    record = {
        "request_id": response.request_id,
        "user_id": response.user_id,
        "timestamp": response.time_s,
        "release": response.release,
        "degraded": response.degraded,
        "item_id": response.item_ids,
        "score": [round(score * SCORE_UNIT) for score in response.scores],
        "origin": response.origin_N,
        **dict(zip(ORIGIN_COLUMNS, zip(*response.origins, strict=True), strict=False)),
    }
    return _encode(record).encode()


def encode_events(events: Sequence[LoggedEvent], id_types: IdTypes) -> bytes:
    """Return events as a line; raises as ``encode_served``."""
    event_id, user_id, item_id, time_s, action, request_id = zip(*events, strict=True)
    check_ids("user_id", user_id, id_types.user_id)
    check_ids("item_id", item_id, id_types.item_id)
    columns = {"event_id": event_id, "user_id": user_id, "item_id": item_id, "timestamp": time_s}
    return _encode({**columns, "action": action, "request_id": request_id}).encode()


def check_ids(name: str, ids: Sequence[Id], id_type: IdType) -> None:
    """Reject ids that do not have the type of the log.

    Raises:
        DataError: one of them has another type. The message contains no id.
    """
    expected = int if id_type == "int64" else str
    if set(map(type, ids)) - {expected} or (expected is int and any(one not in INT64_RANGE for one in ids)):
        raise DataError(f"{name}: cannot be logged; expected {id_type}, as this log has them")


def decode_lines(log: LogName, id_types: IdTypes, payloads: Sequence[bytes], ends: Sequence[int]) -> pl.DataFrame:
    """Return the rows of a segment that lines of a spool contain, each with the ``end`` of its line."""
    lines = pl.read_ndjson(io.BytesIO(b"\n".join(payloads)), schema=schemas.line_columns(log, id_types))
    lines = lines.with_columns(pl.Series(_END, ends, dtype=pl.Int64))
    columns = schemas.segment_columns(log, id_types)
    if log == "events":
        return lines.explode(*columns).select(*columns, _END)
    origin_columns = [pl.col(name).list.get(pl.col("origin")) for name in ORIGIN_COLUMNS]
    return (
        lines.with_columns(rank=pl.int_ranges(1, pl.col("item_id").list.len() + 1, dtype=pl.Int32))
        .explode("item_id", "score", "origin", "rank")
        .filter(pl.col("item_id").is_not_null())  # a response without candidates
        .with_columns(*origin_columns, score=(pl.col("score") / SCORE_UNIT).cast(pl.Float32))
        .select(*columns, _END)
    )


def erase_rows(rows: pl.DataFrame, until: Mapping[Id, int]) -> pl.DataFrame:
    """Return the rows of a segment without those of users whose line ends at or before the user's byte in ``until``."""
    if until:
        rows = drop_before(rows.lazy(), _END, {user_id: end + 1 for user_id, end in until.items()}).collect()
    return rows.drop(_END)


def drop_before(rows: pl.LazyFrame, column: str, first: Mapping[Id, int]) -> pl.LazyFrame:
    """Return the rows without those of the given users whose value in a column is below the user's in ``first``."""
    users = pl.Series(list(first), dtype=rows.collect_schema()["user_id"])
    limits = pl.LazyFrame({"user_id": users, "first": list(first.values())})
    joined = rows.join(limits, on="user_id", how="left", maintain_order="left")
    return joined.filter((pl.col(column) >= pl.col("first")).fill_null(value=True)).drop("first")
