"""Folders that appear whole or not at all: written beside their place, flushed to the disk, then renamed."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from multitudes.data.address import refuse_address
from multitudes.disk import sync, sync_all
from multitudes.errors import UsageError
from multitudes.locks import locked


@contextmanager
def new_folder(out: Path, marker: str, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder that becomes ``out`` when the block ends well, and vanishes when it does not.

    Args:
        out: where the folder shall be.
        marker: a file that tells a folder of ours; only such a folder is ever replaced.
        overwrite: replace ``out`` if it exists and has ``marker``.

    Raises:
        UsageError: ``out`` exists and may not be replaced, is no path, or somebody else is writing it.
    """
    refuse_address(out)
    _refuse_existing(out, marker, overwrite)
    made = [folder for folder in out.parents if not folder.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    with _alone(partial, out):
        try:
            _refuse_existing(out, marker, overwrite)  # by now another may have ended well
            yield partial
            sync_all(partial)
            _put(partial, out)
            sync(out.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            for folder in made:  # those that hold nothing; one that does stays
                with suppress(OSError):
                    folder.rmdir()


@contextmanager
def _alone(partial: Path, out: Path) -> Iterator[None]:
    """Hold the folder ``partial``, empty, against whoever else would make ``out``; one that nobody holds is a ruin.

    Raises:
        UsageError: somebody holds it.
    """
    partial.mkdir(exist_ok=True)
    node = partial.stat().st_ino
    with locked(partial, wait=False, make=False) as had:
        # Renamed while we waited for the lock, it is another's result.
        if not had or not partial.exists() or partial.stat().st_ino != node:
            raise UsageError(f"{out}: is being written by another run; wait for its end, or choose another folder")
        for ruin in partial.iterdir():
            shutil.rmtree(ruin) if ruin.is_dir() else ruin.unlink()
        yield


def _refuse_existing(out: Path, marker: str, overwrite: bool) -> None:
    if not out.exists():
        return
    if out.is_dir() and (not any(out.iterdir()) or (overwrite and (out / marker).is_file())):
        return
    if overwrite:
        raise UsageError(f"{out}: exists and has no {marker}, so it is not replaced; choose another folder")
    raise UsageError(f"{out}: exists already; choose another folder, or replace it with --overwrite")


def _put(partial: Path, out: Path) -> None:
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
