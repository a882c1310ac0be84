"""Notes of who is to be forgotten, for as long as that is not done.

A note says until which byte of which spools the user's rows must not become part rows: those spools belong to other
processes that are still writing. It names the user, and goes with the last of those spools.
"""

import json
import secrets
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from multitudes.disk import write_text
from multitudes.ids import Id
from multitudes.logs import folder as places

_PREFIX, _SUFFIX = "forget-", ".json"


class Forgotten(NamedTuple):
    """A user, and the byte of a spool up to which nothing of theirs is kept."""

    user_id: Id
    until: int


class Note(NamedTuple):
    """What is left to do for one user."""

    file: Path
    user_id: Id
    until: dict[str, int]  # by the name of a spool
    parts: bool  # whether parts may still hold something


def write(folder: Path, user_id: Id) -> Note:
    """Note that a user is to be forgotten: in all parts, and in every spool up to where it is now."""
    until = {file.name: file.stat().st_size for file in places.spools(folder)}
    note = Note(places.workshop(folder) / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}", user_id, until, parts=True)
    _save(note)
    return note


def parts_are_done(note: Note) -> None:
    """Note that no part holds the user any more; without spools to wait for, the note goes."""
    if any((note.file.parent / name).exists() for name in note.until):
        _save(note._replace(parts=False))
    else:
        note.file.unlink()


def read(folder: Path) -> list[Note]:
    """Return the notes of a log."""
    notes = list[Note]()
    for file in sorted(places.workshop(folder).glob(f"{_PREFIX}*{_SUFFIX}")):
        with suppress(FileNotFoundError):  # another process has just done it
            notes.append(_open(file))
    return notes


def about(folder: Path, spool: Path) -> list[Forgotten]:
    """Return who must not come out of a spool."""
    return [Forgotten(n.user_id, n.until[spool.name]) for n in read(folder) if spool.name in n.until]


def _save(note: Note) -> None:
    write_text(note.file, json.dumps({"user_id": note.user_id, "until": note.until, "parts": note.parts}))


def _open(file: Path) -> Note:
    record = json.loads(file.read_text(encoding="utf-8"))
    return Note(file, record["user_id"], record["until"], record["parts"])
