"""Erasure requests of a log: kept in files until no segment and no spool holds the user's rows.

A request removes the user's rows from all segments at once. Spools that other processes are still writing cannot be
rewritten: for each of them the request records its size, and the user's rows before that byte are dropped when the
spool becomes a segment. The request contains the user's id, and is deleted with the last of those spools.

After an interrupted erasure, each segment is either unchanged or rewritten; the request stays, and is completed later.
"""

import json
import secrets
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import polars as pl

from multitudes.atomic import replace_file, write_text
from multitudes.ids import Id
from multitudes.logs.folder import list_segments, list_spools, working_folder

_PREFIX, _SUFFIX = "forget-", ".json"


class ErasureRequest(NamedTuple):
    """The rest of the work for one user."""

    file: Path
    user_id: Id
    until: dict[str, int]  # spool name → byte up to which the user's rows are dropped
    in_segments: bool  # whether segments may still hold rows of the user


class SpoolErasure(NamedTuple):
    """A user whose rows are dropped from a spool up to the byte ``until``."""

    user_id: Id
    until: int


def write_request(folder: Path, user_id: Id) -> ErasureRequest:
    """Request that a user is erased from all segments, and from every spool up to its current end."""
    file = working_folder(folder) / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
    until = {spool.name: spool.stat().st_size for spool in list_spools(folder)}
    request = ErasureRequest(file, user_id, until, in_segments=True)
    _save_request(request)
    return request


def read_requests(folder: Path) -> list[ErasureRequest]:
    """Return the open requests of a log."""
    requests = list[ErasureRequest]()
    for file in sorted(working_folder(folder).glob(f"{_PREFIX}*{_SUFFIX}")):
        with suppress(FileNotFoundError):  # another process has just completed it
            requests.append(_load_request(file))
    return requests


def erasures_in_spool(folder: Path, spool: Path) -> list[SpoolErasure]:
    """Return the users whose rows must not get from a spool into its segment."""
    return [SpoolErasure(r.user_id, r.until[spool.name]) for r in read_requests(folder) if spool.name in r.until]


def apply_erasures(folder: Path) -> int:
    """Erase users from the segments as the open requests ask. The caller holds ``folder.lock_log``.

    Returns:
        The number of rows removed.

    Raises:
        OSError: a segment cannot be rewritten; its request stays.
    """
    removed = 0
    for request in read_requests(folder):
        if request.in_segments:
            removed += sum(_erase_from_segment(folder, file, request.user_id) for file in list_segments(folder))
        _mark_segments_done(request)
    return removed


def _erase_from_segment(folder: Path, segment: Path, user_id: Id) -> int:
    is_user = pl.col("user_id") == pl.lit(user_id)
    rows = pl.scan_parquet(segment)
    removed, total = rows.select(is_user.sum().alias("removed"), pl.len().alias("total")).collect().row(0)
    if removed == total:
        segment.unlink()
    elif removed:
        with replace_file(segment, folder=working_folder(folder)) as partial:
            rows.filter(~is_user.fill_null(value=False)).sink_parquet(partial)
    return int(removed)


def _mark_segments_done(request: ErasureRequest) -> None:
    """Record that no segment holds the user any more; a request that waits for no spool is deleted."""
    if any((request.file.parent / name).exists() for name in request.until):
        _save_request(request._replace(in_segments=False))
    else:
        request.file.unlink()


def _save_request(request: ErasureRequest) -> None:
    record = {"user_id": request.user_id, "until": request.until, "parts": request.in_segments}
    write_text(request.file, json.dumps(record))


def _load_request(file: Path) -> ErasureRequest:
    record = json.loads(file.read_text(encoding="utf-8"))
    return ErasureRequest(file, record["user_id"], record["until"], record["parts"])
