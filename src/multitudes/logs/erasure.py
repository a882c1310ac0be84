"""Notes of who is to be forgotten, for as long as that is not done.

A note says until which byte of which spools the user's rows must not become part rows: those spools belong to other
processes that are still writing. It names the user, and goes with the last of those spools.

Taking a user out of the parts of a log.

Cut off, each file is as it was or as it shall be; the note stays, and the rest is done later.
"""

import json
import secrets
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import polars as pl

from multitudes.atomic import replace_file, write_text
from multitudes.ids import Id
from multitudes.logs import folder as places

_PREFIX, _SUFFIX = "forget-", ".json"


class SpoolErasure(NamedTuple):
    """A user, and the byte of a spool up to which nothing of theirs is kept."""

    user_id: Id
    until: int


class ErasureRequest(NamedTuple):
    """What is left to do for one user."""

    file: Path
    user_id: Id
    until: dict[str, int]  # by the name of a spool
    in_segments: bool  # whether parts may still hold something


def write_request(folder: Path, user_id: Id) -> ErasureRequest:
    """Note that a user is to be forgotten: in all parts, and in every spool up to where it is now."""
    until = {file.name: file.stat().st_size for file in places.list_spools(folder)}
    note = ErasureRequest(
        places.working_folder(folder) / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}", user_id, until, in_segments=True
    )
    _save_request(note)
    return note


def mark_segments_done(note: ErasureRequest) -> None:
    """Note that no part holds the user any more; without spools to wait for, the note goes."""
    if any((note.file.parent / name).exists() for name in note.until):
        _save_request(note._replace(in_segments=False))
    else:
        note.file.unlink()


def read_requests(folder: Path) -> list[ErasureRequest]:
    """Return the notes of a log."""
    notes = list[ErasureRequest]()
    for file in sorted(places.working_folder(folder).glob(f"{_PREFIX}*{_SUFFIX}")):
        with suppress(FileNotFoundError):  # another process has just done it
            notes.append(_load_request(file))
    return notes


def erasures_in_spool(folder: Path, spool: Path) -> list[SpoolErasure]:
    """Return who must not come out of a spool."""
    return [SpoolErasure(n.user_id, n.until[spool.name]) for n in read_requests(folder) if spool.name in n.until]


def _save_request(note: ErasureRequest) -> None:
    write_text(note.file, json.dumps({"user_id": note.user_id, "until": note.until, "parts": note.in_segments}))


def _load_request(file: Path) -> ErasureRequest:
    record = json.loads(file.read_text(encoding="utf-8"))
    return ErasureRequest(file, record["user_id"], record["until"], record["parts"])


def apply_erasures(folder: Path) -> int:
    """Do what the notes of a log still ask for; return how many rows went. Only for who holds ``folder.changing``.

    Raises:
        OSError: a part cannot be written anew; its note stays.
    """
    gone = 0
    for note in read_requests(folder):
        if note.in_segments:
            gone += sum(_erase_from_segment(folder, part, note.user_id) for part in places.list_segments(folder))
        mark_segments_done(note)
    return gone


def _erase_from_segment(folder: Path, part: Path, user_id: Id) -> int:
    theirs = pl.col("user_id") == pl.lit(user_id)
    rows = pl.scan_parquet(part)
    gone, total = rows.select(theirs.sum().alias("gone"), pl.len().alias("total")).collect().row(0)
    if gone == total:
        part.unlink()
    elif gone:
        with replace_file(part, folder=places.working_folder(folder)) as partial:
            rows.filter(~theirs.fill_null(value=False)).sink_parquet(partial)
    return int(gone)
