"""Files that appear whole or not at all, whatever ends meanwhile: a process, or the power of the machine.

And what says that a disk is full, or that a file is not this user's.

Folders that appear whole or not at all: written beside their place, flushed to the disk, then renamed.
"""

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from multitudes.data.location import reject_url
from multitudes.errors import UsageError
from multitudes.locks import lock

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)
_INVALID_PATH = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")  # how NumPy says it, without a number


@contextmanager
def replace_file(file: Path, partial: Path) -> Iterator[None]:
    """Let ``partial`` be written, and then take the place of ``file``; where that fails it gives its room back."""
    try:
        yield
        move_into_place(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """Write ``text`` beside its place and rename it, so that no half of it is ever seen, whoever else writes there."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    with replace_file(file, partial):
        partial.write_text(text, encoding="utf-8")


def write_json(file: Path, record: Mapping[str, Any]) -> None:
    """Write ``record``, whole or not at all."""
    write_text(file, json.dumps(record, ensure_ascii=False, indent=1) + "\n")


def move_into_place(partial: Path, place: Path) -> None:
    """Let a file that is whole take its place, of which there may be an earlier one, and wait until that is so on disk.

    Renamed before it is on the disk, it could be the place of nothing after a loss of power.
    """
    fsync(partial)
    partial.replace(place)
    fsync(place.parent)


def fsync_tree(folder: Path) -> None:
    """Wait until a folder is on the disk with all that is in it; its own name is its parent's to keep."""
    for path in sorted(folder.rglob("*")):
        fsync(path)
    fsync(folder)


def fsync(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error means that no space is left: libraries raise their own, in the system's words."""
    if isinstance(error, OSError) and (error.errno in _DISK_FULL or _SHORT_WRITE.fullmatch(str(error))):
        return True
    return any(os.strerror(number).lower() in str(error).lower() for number in _DISK_FULL)


def is_permission_error(error: BaseException) -> bool:
    """Tell whether an error means that a file may not be read or written: by this user, or by anybody."""
    return isinstance(error, OSError) and error.errno in _PERMISSION


def is_invalid_path(error: BaseException) -> bool:
    """Tell whether an error means that nothing can lie at a path: within a file, or under a name that is too long."""
    return isinstance(error, OSError) and error.errno in _INVALID_PATH


@contextmanager
def create_folder(out: Path, marker: str, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder that becomes ``out`` when the block ends well, and vanishes when it does not.

    Args:
        out: where the folder shall be.
        marker: a file that tells a folder of ours; only such a folder is ever replaced.
        overwrite: replace ``out`` if it exists and has ``marker``.

    Raises:
        UsageError: ``out`` exists and may not be replaced, is no path, or somebody else is writing it.
    """
    reject_url(out)
    _check_target(out, marker, overwrite)
    made = [folder for folder in out.parents if not folder.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    with _lock_partial(partial, out):
        try:
            _check_target(out, marker, overwrite)  # by now another may have ended well
            yield partial
            fsync_tree(partial)
            _swap_folder(partial, out)
            fsync(out.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            for folder in made:  # those that hold nothing; one that does stays
                with suppress(OSError):
                    folder.rmdir()


@contextmanager
def _lock_partial(partial: Path, out: Path) -> Iterator[None]:
    """Hold the folder ``partial``, empty, against whoever else would make ``out``; one that nobody holds is a ruin.

    Raises:
        UsageError: somebody holds it.
    """
    partial.mkdir(exist_ok=True)
    node = partial.stat().st_ino
    with lock(partial, wait=False, create=False) as had:
        # Renamed while we waited for the lock, it is another's result.
        if not had or not partial.exists() or partial.stat().st_ino != node:
            raise UsageError(f"{out}: is being written by another run; wait for its end, or choose another folder")
        for ruin in partial.iterdir():
            shutil.rmtree(ruin) if ruin.is_dir() else ruin.unlink()
        yield


def _check_target(out: Path, marker: str, overwrite: bool) -> None:
    if not out.exists():
        return
    if out.is_dir() and (not any(out.iterdir()) or (overwrite and (out / marker).is_file())):
        return
    if overwrite:
        raise UsageError(f"{out}: exists and has no {marker}, so it is not replaced; choose another folder")
    raise UsageError(f"{out}: exists already; choose another folder, or replace it with --overwrite")


def _swap_folder(partial: Path, out: Path) -> None:
    if not out.exists():
        partial.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old-", dir=out.parent)) / out.name
    out.rename(old)
    try:
        partial.rename(out)
    except OSError:
        old.rename(out)
        raise
    finally:
        shutil.rmtree(old.parent, ignore_errors=True)
