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
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import polars as pl

from multitudes.atomic import replace_file, write_text
from multitudes.ids import Id
from multitudes.logs import folder as places
from multitudes.logs.folder import DAMAGED_SUFFIX, list_segments, working_folder
from multitudes.logs.spool import drop_before

_ALWAYS_S = 2**62
# Polars does not tell damage from a full disk. The others: a segment without the column of users, or with other ids.
_READ_ERRORS = pl.exceptions.PolarsError, pl.exceptions.PanicException, KeyError, TypeError


class ErasureRequest(NamedTuple):
    """The rest of the work for one user."""

    file: Path
    user_id: Id
    until: dict[str, int]  # spool name → byte up to which the user's rows are dropped
    in_segments: bool  # whether segments may still hold rows of the user
    damaged: list[str]  # names of damaged segments that may hold rows of the user


def write_request(folder: Path, user_id: Id) -> ErasureRequest:
    """Request that a user is erased from all segments, and from every spool up to its current end."""
    file = working_folder(folder) / f"{places.REQUEST_PREFIX}{secrets.token_hex(8)}{places.REQUEST_SUFFIX}"
    until = dict[str, int]()
    for spool in places.list_spools(folder):
        with suppress(FileNotFoundError):  # it has just become a segment
            until[spool.name] = spool.stat().st_size
    request = ErasureRequest(file, user_id, until, in_segments=True, damaged=[])
    _save_request(request)
    return request


def read_requests(folder: Path) -> list[ErasureRequest]:
    """Return the open requests of a log."""
    requests = list[ErasureRequest]()
    for file in places.list_unfinished_requests(folder):
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
    """Erase users from the segments as the open requests ask; return the number of rows removed.

    The caller holds ``folder.lock_log``. Each segment is read, and rewritten, once for all of them. One that cannot be
    read is set aside, and reported.

    Raises:
        OSError: a segment cannot be rewritten; its request stays.
    """
    requests, removed = read_requests(folder), 0
    if users := {request.user_id for request in requests if request.in_segments}:
        removed += sum(_erase_or_set_aside(segment, users) for segment in list_segments(folder))
    for request in requests:
        # Segments that were damaged at the time of the request, and have been moved back since.
        repaired = [] if request.in_segments else [folder / name for name in request.damaged]
        removed += sum(_erase_or_set_aside(segment, {request.user_id}) for segment in repaired if segment.exists())
    damaged = [file.name.removesuffix(DAMAGED_SUFFIX) for file in places.list_damaged(folder)]
    for request in requests:
        # Of the damaged segments, those that may hold the user: all of now, or those of the request that are left.
        _mark_segments_done(request, [name for name in damaged if request.in_segments or name in request.damaged])
    return removed


def erase_before(folder: Path, erased_at_s: Callable[[Sequence[Id]], Mapping[Id, int]]) -> int:
    """Erase from the segments what users did, and were served, before they asked to be erased; return the rows removed.

    The caller holds ``folder.lock_log``. ``erased_at_s`` returns when users asked, for those who did, in seconds since
    1970.
    """
    removed = 0
    for segment in list_segments(folder):
        rows = pl.scan_parquet(segment, glob=False)
        users = rows.select(pl.col("user_id").unique()).collect()["user_id"].drop_nulls()
        if erased_s := erased_at_s(users.to_list()):
            removed += _erase_from_segment(segment, erased_s)
    return removed


def _erase_from_segment(segment: Path, before_s: Mapping[Id, int]) -> int:
    """Remove the rows of users before the time of each; return their number."""
    rows = pl.scan_parquet(segment, glob=False)
    kept = drop_before(rows, "timestamp", before_s)
    total, remaining = (each.select(pl.len()).collect().item() for each in (rows, kept))
    if not remaining:
        segment.unlink()
    elif remaining < total:
        with replace_file(segment, folder=working_folder(segment.parent)) as partial:
            kept.sink_parquet(partial)
    return int(total - remaining)


def _erase_or_set_aside(segment: Path, user_ids: Set[Id]) -> int:
    before_s = dict.fromkeys(user_ids, _ALWAYS_S)
    try:
        return _erase_from_segment(segment, before_s)
    except _READ_ERRORS as error:
        if _is_readable(segment, before_s):
            raise OSError(f"{segment}: cannot be rewritten: {error}") from None
    place = places.damaged_path(segment)
    segment.replace(place)
    logging.getLogger(__name__).error(
        "%s: damaged, and set aside as %s; repair it and move it back, or delete it", segment, place
    )
    return 0


def _is_readable(segment: Path, before_s: Mapping[Id, int]) -> bool:
    """Return whether a segment has users and all of it can be read: a column at a time, which bounds memory."""
    try:
        for name in pl.scan_parquet(segment, glob=False).collect_schema():
            pl.read_parquet(segment, columns=[name], glob=False)
        drop_before(pl.scan_parquet(segment, glob=False), "timestamp", before_s).select(pl.len()).collect()
    except _READ_ERRORS:
        return False
    return True


def _mark_segments_done(request: ErasureRequest, damaged: list[str]) -> None:
    """Record that no readable segment holds the user any more; a request that waits for no file is deleted."""
    if not damaged and not any((request.file.parent / name).exists() for name in request.until):
        request.file.unlink()
    elif (done := request._replace(in_segments=False, damaged=damaged)) != request:
        _save_request(done)


def _save_request(request: ErasureRequest) -> None:
    record = {name: value for name, value in request._asdict().items() if name != "file"}
    write_text(request.file, json.dumps(record))


def _load_request(file: Path) -> ErasureRequest:
    return ErasureRequest(file, **json.loads(file.read_text(encoding="utf-8")))
