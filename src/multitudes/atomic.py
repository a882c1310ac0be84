"""Write a file or a folder so that it appears complete or not at all, even if the process or the machine dies.

The content is written under a hidden temporary name, flushed to the disk, and renamed. A rename before the flush could
leave an empty file after a loss of power. Needs a local POSIX file system.
"""

import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

from multitudes.errors import ArtefactError, UsageError, is_disk_full
from multitudes.locks import is_same_file, lock

_MAX_JSON_BYTES = 1 << 28  # of a file that is read into memory; a sparse one can claim any size


def partial_path(path: Path, *, shared: bool = False, folder: Path | None = None) -> Path:
    """Return the hidden name under which ``path``, a file or a folder, is written until it is complete.

    The next writer uses the same name, and overwrites what a killed process left; ``shared``, for several writers at
    the same time, names it once. It lies in ``folder``, on the same file system; by default beside ``path``.
    """
    unique = f".{secrets.token_hex(4)}" if shared else ""
    return (folder or path.parent) / f".{path.name}{unique}.partial"


@contextmanager
def replace_file(file: Path, *, shared: bool = False, folder: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path; the file written there replaces ``file`` when the block ends without an error.

    Its folder is created. The temporary file, that of ``partial_path``, is deleted if the block fails: a full disk gets
    its space back.

    Raises:
        OSError: the file cannot be flushed or renamed; ``file`` is as it was.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(file, shared=shared, folder=folder)
    try:
        with note_path(file):
            yield partial
            move_into_place(partial, file)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def note_path(path: Path) -> Iterator[None]:
    """Note on the error of a full disk which file or folder the block writes: the libraries that write name none."""
    try:
        yield
    except Exception as error:
        if is_disk_full(error):
            error.add_note(f"while writing {path}")
        raise


def write_text(file: Path, text: str) -> None:
    """Create or replace a text file, and its folder; of several processes at the same time, the last one wins."""
    with replace_file(file, shared=True) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(file: Path, record: Mapping[str, Any]) -> None:
    """Create or replace a file with one JSON object."""
    write_text(file, json.dumps(record, ensure_ascii=False, indent=1) + "\n")


def read_json(file: Path, form: str, version: int, repair: str, missing: str = "") -> dict[str, Any]:
    """Read a JSON object whose ``format`` and ``version`` are those expected.

    ``repair``, what to do if it cannot be used, ends the error; ``missing`` is the error if there is no such file.

    Raises:
        ArtefactError: it is missing, damaged, or of another format or version.
    """
    if missing and not file.exists():
        raise ArtefactError(missing)
    with open_file(file, repair) as stream:
        content = stream.read(_MAX_JSON_BYTES + 1)
    if len(content) > _MAX_JSON_BYTES:
        raise ArtefactError(f"{file}: larger than {_MAX_JSON_BYTES >> 20} MiB; {repair}")
    try:
        record = json.loads(content.decode())
    except (ValueError, RecursionError):  # not text, or not JSON
        record = None
    if not isinstance(record, dict):
        raise ArtefactError(f"{file}: damaged; {repair}")
    found = record.get("format"), record.get("version")
    if found != (form, version):
        raise ArtefactError(f"{file}: {found[0]} version {found[1]}; expected {form} version {version}; {repair}")
    return record


def open_file(file: Path, repair: str, flags: int = 0) -> BufferedReader:
    """Open a file for reading, and nothing that has no end or whose reader may wait for ever, such as a pipe.

    ``repair``, what to do otherwise, ends the error; ``flags`` are further ones of ``os.open``.

    Raises:
        ArtefactError: it is missing, cannot be read or is something else.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | flags)
    except OSError as error:
        is_missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        reason = "missing" if is_missing else f"cannot be read ({error.strerror})"
        raise ArtefactError(f"{file}: {reason}; {repair}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ArtefactError(f"{file}: not a plain file; {repair}")
    return os.fdopen(descriptor, "rb")


def create_text(file: Path, text: str, mode: int = 0o644) -> bool:
    """Create a text file with the permissions ``mode`` unless it exists; return whether this call created it.

    Of several processes that try at the same time, one does.
    """
    partial = partial_path(file, shared=True)
    try:
        partial.touch(mode)
        partial.chmod(mode)
        partial.write_text(text, encoding="utf-8")
        fsync(partial)
        os.link(partial, file)  # unlike a rename, it fails if the file exists
    except FileExistsError:
        return False
    finally:
        partial.unlink(missing_ok=True)
    fsync(file.parent)
    return True


def move_into_place(partial: Path, file: Path) -> None:
    """Flush a complete temporary file and rename it to ``file``, which may exist; return when both are on the disk."""
    fsync(partial)
    partial.replace(file)
    fsync(file.parent)


@contextmanager
def create_folder(out: Path, marker: str, overwrite: bool) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes ``out`` when the block ends without an error.

    ``out`` may exist if it is empty or, to ``overwrite`` it, has the file ``marker``, as all folders of its kind have.
    If the block fails, the temporary folder is deleted, and so are the parents of ``out`` that were made for it.

    Raises:
        UsageError: ``out`` exists and may not be replaced, or another process is writing it.
    """
    _check_target(out, marker, overwrite)
    with replace_folder(out) as partial:
        _check_target(out, marker, overwrite)  # another process may have created it before the lock was free
        yield partial


@contextmanager
def make_folder(folder: Path) -> Iterator[None]:
    """Create a folder and its parents for the block; at its end, those that were made and are empty are deleted."""
    created = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for one in created:
            with suppress(OSError):  # not empty
                one.rmdir()


@contextmanager
def replace_folder(out: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that replaces ``out``, whatever that is, when the block ends without an error.

    Raises:
        UsageError: another process is writing it.
    """
    with make_folder(out.parent), _empty_partial_folder(out) as partial:
        yield partial
        move_folder_into_place(partial, out)


def move_folder_into_place(partial: Path, out: Path, *, backup: Path | None = None) -> None:
    """Flush a complete temporary folder and rename it to ``out``, which may exist; return when both are on the disk.

    ``backup`` is the place of an existing ``out`` until the new one is in place, and a process killed between the two
    renames leaves it there. By default it has a name that is used once.

    Raises:
        OSError: it cannot be flushed or renamed; ``out`` is as it was.
    """
    fsync_tree(partial)
    if not out.exists():
        partial.rename(out)
        fsync(out.parent)
        return
    old = backup or out.with_name(f".{out.name}.old-{secrets.token_hex(4)}")
    out.rename(old)
    try:
        partial.rename(out)
    except OSError:
        old.rename(out)
        raise
    else:
        fsync(out.parent)  # before the old one is deleted
    finally:
        shutil.rmtree(old, ignore_errors=True)


def fsync_tree(folder: Path) -> None:
    """Flush a folder to the disk with all that is in it. Its own name is in its parent, which is not flushed."""
    for path in sorted(folder.rglob("*")):
        fsync(path)
    fsync(folder)


def fsync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _empty_partial_folder(out: Path) -> Iterator[Path]:
    """Yield the empty temporary folder of ``out``, locked against other writers; it is deleted at the end.

    An existing folder without a lock was left by a killed process, and is emptied.
    """
    partial = partial_path(out)
    partial.mkdir(exist_ok=True)
    status = partial.stat()
    with note_path(out), lock(partial, wait=False, create=False) as is_locked:
        # If its holder renamed it before this process had the lock, it is the holder's result.
        if not is_locked or not is_same_file(partial, status):
            raise UsageError(f"{out}: another process is writing it; wait for its end, or choose another folder")
        try:
            for leftover in partial.iterdir():
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            yield partial
        finally:
            if is_same_file(partial, status):  # after the rename, another writer may have made one of this name
                shutil.rmtree(partial, ignore_errors=True)


def _check_target(out: Path, marker: str, overwrite: bool) -> None:
    if not out.exists():
        return
    if out.is_dir() and (not any(out.iterdir()) or (overwrite and (out / marker).is_file())):
        return
    if overwrite:
        raise UsageError(f"{out}: exists and has no {marker}, so it is not replaced; choose another folder")
    raise UsageError(f"{out}: exists already; choose another folder, or replace it with --overwrite")
