"""Files that appear whole or not at all, whatever ends meanwhile: a process, or the power of the machine.

And what says that a disk is full, or that a file is not this user's.
"""

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_PLACE = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")  # how NumPy says it, without a number


@contextmanager
def replacing(file: Path, partial: Path) -> Iterator[None]:
    """Let ``partial`` be written, and then take the place of ``file``; where that fails it gives its room back."""
    try:
        yield
        put(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """Write ``text`` beside its place and rename it, so that no half of it is ever seen, whoever else writes there."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    with replacing(file, partial):
        partial.write_text(text, encoding="utf-8")


def write_json(file: Path, record: Mapping[str, Any]) -> None:
    """Write ``record``, whole or not at all."""
    write_text(file, json.dumps(record, ensure_ascii=False, indent=1) + "\n")


def put(partial: Path, place: Path) -> None:
    """Let a file that is whole take its place, of which there may be an earlier one, and wait until that is so on disk.

    Renamed before it is on the disk, it could be the place of nothing after a loss of power.
    """
    sync(partial)
    partial.replace(place)
    sync(place.parent)


def sync_all(folder: Path) -> None:
    """Wait until a folder is on the disk with all that is in it; its own name is its parent's to keep."""
    for path in sorted(folder.rglob("*")):
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_full(error: BaseException) -> bool:
    """Tell whether an error means that no space is left: libraries raise their own, in the system's words."""
    if isinstance(error, OSError) and (error.errno in _FULL or _SHORT_WRITE.fullmatch(str(error))):
        return True
    return any(os.strerror(number).lower() in str(error).lower() for number in _FULL)


def is_forbidden(error: BaseException) -> bool:
    """Tell whether an error means that a file may not be read or written: by this user, or by anybody."""
    return isinstance(error, OSError) and error.errno in _FORBIDDEN


def is_no_place(error: BaseException) -> bool:
    """Tell whether an error means that nothing can lie at a path: within a file, or under a name that is too long."""
    return isinstance(error, OSError) and error.errno in _NO_PLACE
