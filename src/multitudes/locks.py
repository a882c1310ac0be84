"""Locks on files, between processes: the system takes one back when its holder ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def lock(
    file: Path, *, wait: bool = True, shared: bool = False, create: bool = True, remove: bool = False
) -> Iterator[bool]:
    """Hold the lock of a file, and say whether it was had: always, where it is waited for.

    Args:
        file: that everybody locks who takes turns; what it holds is left alone.
        wait: until the others are done; else who finds it locked is told so.
        shared: beside others who share it, and with nobody who holds it alone.
        create: the file, where there is none.
        remove: the file, once it is no longer locked; all who take turns must say so.

    Raises:
        OSError: it cannot be opened; FileNotFoundError where it is not to be made.
    """
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    descriptor = _open_descriptor(file, create)
    try:
        fcntl.flock(descriptor, how)
        while remove and not _is_same_file(file, descriptor):  # its holder took it away while this one waited for it
            stale, descriptor = descriptor, _open_descriptor(file, create)
            os.close(stale)
            fcntl.flock(descriptor, how)
    except BlockingIOError:
        yield False
    else:
        try:
            yield True
        finally:
            if remove:
                file.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _open_descriptor(file: Path, make: bool) -> int:
    # Whoever may read a file can lock it, and hold up the others: so only its owner and their group may.
    return os.open(file, os.O_CREAT | os.O_RDWR if make else os.O_RDONLY, 0o660)


def _is_same_file(file: Path, descriptor: int) -> bool:
    """Return whether an open file lies where it was opened."""
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
