"""Erasure requests of a log: kept in files until no segment and no spool holds the user's rows.

A request removes the user's rows from all segments at once. A spool that a process is writing is not rewritten: for
each the request records its size, and the user's rows before that byte are dropped when the spool becomes a segment.
The request contains the user's id, and is deleted with the last of those spools.

A segment that cannot be read is set aside (``folder.damaged_path``), and the erasure goes on with the others. It may
hold rows of the user, so the request waits for it: the user is erased from it when somebody repairs it and moves it
back. The request no longer waits for it once it is deleted.

After an interrupted erasure, each segment is either unchanged or rewritten; the request stays, and is completed later.
"""

import json
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import polars as pl

from multitudes.atomic import replace_file, write_text
from multitudes.ids import Id
from multitudes.logs.folder import (
    DAMAGED_SUFFIX,
    REQUEST_PREFIX,
    REQUEST_SUFFIX,
    damaged_path,
    list_damaged,
    list_segments,
    list_spools,
    list_unfinished_requests,
    working_folder,
)
from multitudes.logs.lines import drop_before

_ALWAYS_S = 2**62
_READ_ERRORS = pl.exceptions.PolarsError, pl.exceptions.PanicException  # Polars does not tell damage from a full disk


class ErasureRequest(NamedTuple):
    """The rest of the work for one user."""

    file: Path
    user_id: Id
    until: dict[str, int]  # spool name → byte up to which the user's rows are dropped
    in_segments: bool  # whether segments may still hold rows of the user
    damaged: tuple[str, ...] = ()  # names of damaged segments that may hold rows of the user


def write_request(folder: Path, user_id: Id) -> ErasureRequest:
    """Request that a user is erased from all segments, and from every spool up to its current end."""
    file = working_folder(folder) / f"{REQUEST_PREFIX}{secrets.token_hex(8)}{REQUEST_SUFFIX}"
    until = dict[str, int]()
    for spool in list_spools(folder):
        with suppress(FileNotFoundError):  # it has just become a segment
            until[spool.name] = spool.stat().st_size
    request = ErasureRequest(file, user_id, until, in_segments=True)
    _save_request(request)
    return request


def read_requests(folder: Path) -> list[ErasureRequest]:
    """Return the open requests of a log."""
    requests = list[ErasureRequest]()
    for file in list_unfinished_requests(folder):
        with suppress(FileNotFoundError):  # another process has just completed it
            requests.append(_load_request(file))
    return requests


def may_be_in_segments(request: ErasureRequest) -> bool:
    """Return whether a request has not been applied to the segments since it was written."""
    try:
        return _load_request(request.file).in_segments
    except FileNotFoundError:  # it has been completed
        return False


def erasures_in_spool(folder: Path, spool: Path) -> dict[Id, int]:
    """Return the users whose rows must not get from a spool into its segment, and up to which byte."""
    until = dict[Id, int]()
    for request in read_requests(folder):
        if spool.name in request.until:
            until[request.user_id] = max(until.get(request.user_id, 0), request.until[spool.name])
    return until


def apply_erasures(folder: Path) -> int:
    """Erase users from the segments as the open requests ask. The caller holds ``folder.lock_log``.

    Each segment is read, and rewritten, once for all of them. One that cannot be read is set aside, and reported.

    Returns:
        The number of rows removed.

    Raises:
        OSError: a segment cannot be rewritten; its request stays.
    """
    requests, removed = read_requests(folder), 0
    if users := list({request.user_id for request in requests if request.in_segments}):
        removed += sum(_erase_or_set_aside(segment, users) for segment in list_segments(folder))
    for request in requests:
        if not request.in_segments:
            repaired = _repaired_segments(folder, request)
            removed += sum(_erase_or_set_aside(segment, [request.user_id]) for segment in repaired)
    damaged = [file.name.removesuffix(DAMAGED_SUFFIX) for file in list_damaged(folder)]
    for request in requests:
        # Of the damaged segments, those that may hold the user: all of now, or those of the request that are left.
        _mark_segments_done(request, tuple(name for name in damaged if request.in_segments or name in request.damaged))
    return removed


def erase_before(folder: Path, erased_at_s: Callable[[Sequence[Id]], Mapping[Id, int]]) -> int:
    """Erase from the segments what users did, and were served, before they asked to be erased.

    Args:
        folder: of the log; the caller holds ``folder.lock_log``.
        erased_at_s: returns, for those of the given users who asked, when: seconds since 1970, or 0 if that is unknown.
            Of these, everything is erased.

    Returns:
        The number of rows removed.
    """
    return sum(_erase_from_segment_before(segment, erased_at_s) for segment in list_segments(folder))


def _erase_from_segment_before(segment: Path, erased_at_s: Callable[[Sequence[Id]], Mapping[Id, int]]) -> int:
    rows = pl.scan_parquet(segment)
    users = rows.select(pl.col("user_id").unique()).collect()["user_id"].drop_nulls()
    erased_s = erased_at_s(users.to_list())
    if not erased_s:
        return 0
    kept = drop_before(rows, "timestamp", {user_id: at_s or _ALWAYS_S for user_id, at_s in erased_s.items()})
    total, remaining = (each.select(pl.len()).collect().item() for each in (rows, kept))
    if not remaining:
        segment.unlink()
    elif remaining < total:
        with replace_file(segment, folder=working_folder(segment.parent)) as partial:
            kept.sink_parquet(partial)
    return int(total - remaining)


def _repaired_segments(folder: Path, request: ErasureRequest) -> list[Path]:
    """Return the segments that were damaged at the time of the request, and have been moved back since."""
    return [folder / name for name in request.damaged if (folder / name).exists()]


def _erase_or_set_aside(segment: Path, user_ids: Sequence[Id]) -> int:
    try:
        return _erase_from_segment(segment.parent, segment, user_ids)
    except _READ_ERRORS as error:
        if _is_readable(segment, user_ids):
            raise OSError(f"{segment}: cannot be rewritten: {error}") from None
    place = damaged_path(segment)
    segment.replace(place)
    logging.getLogger(__name__).error(
        "%s: damaged, and set aside as %s; repair it and move it back, or delete it", segment, place
    )
    return 0


def _is_readable(segment: Path, user_ids: Sequence[Id]) -> bool:
    """Return whether a segment has users and all of it can be read: a column at a time, which bounds memory."""
    try:
        for name in pl.read_parquet_schema(segment):
            pl.read_parquet(segment, columns=[name])
        pl.scan_parquet(segment).select(_is_one_of(user_ids)).collect()
    except _READ_ERRORS:
        return False
    return True


def _erase_from_segment(folder: Path, segment: Path, user_ids: Sequence[Id]) -> int:
    is_user = _is_one_of(user_ids)
    rows = pl.scan_parquet(segment)
    removed, total = rows.select(is_user.sum().alias("removed"), pl.len().alias("total")).collect().row(0)
    if removed == total:
        segment.unlink()
    elif removed:
        with replace_file(segment, folder=working_folder(folder)) as partial:
            rows.filter(~is_user.fill_null(value=False)).sink_parquet(partial)
    return int(removed)


def _is_one_of(user_ids: Sequence[Id]) -> pl.Expr:
    return pl.col("user_id").is_in(user_ids)


def _mark_segments_done(request: ErasureRequest, damaged: tuple[str, ...]) -> None:
    """Record that no readable segment holds the user any more; a request that waits for no file is deleted."""
    if not damaged and not any((request.file.parent / name).exists() for name in request.until):
        request.file.unlink()
    elif (done := request._replace(in_segments=False, damaged=damaged)) != request:
        _save_request(done)


def _save_request(request: ErasureRequest) -> None:
    damaged = {"damaged": request.damaged} if request.damaged else {}
    record = {"user_id": request.user_id, "until": request.until, "parts": request.in_segments, **damaged}
    write_text(request.file, json.dumps(record))


def _load_request(file: Path) -> ErasureRequest:
    record = json.loads(file.read_text(encoding="utf-8"))
    return ErasureRequest(file, record["user_id"], record["until"], record["parts"], tuple(record.get("damaged", ())))
