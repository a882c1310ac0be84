"""Locks on files, between processes. The system releases a lock when its holder ends, even by a crash."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def lock(
    file: Path, *, wait: bool = True, shared: bool = False, create: bool = True, remove: bool = False
) -> Iterator[bool]:
    """Hold the lock of a file, whose content does not change, for the block; yield whether this process holds it.

    Without ``wait``, it yields False at once if another process holds it. ``shared`` locks are held together, others
    alone. ``create`` makes a missing file; ``remove`` deletes it at the end, which all processes that lock it must set.

    Raises:
        OSError: the file cannot be opened; FileNotFoundError if it is missing and ``create`` is False.
    """
    operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    descriptor = _open_descriptor(file, create)
    try:
        fcntl.flock(descriptor, operation)
        while remove and not is_same_file(file, os.fstat(descriptor)):  # deleted by its holder during the wait
            stale, descriptor = descriptor, _open_descriptor(file, create)
            os.close(stale)
            fcntl.flock(descriptor, operation)
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


def _open_descriptor(file: Path, create: bool) -> int:
    # Any user who can open the file can lock it and block others, so only its owner and group may open it.
    return os.open(file, os.O_CREAT | os.O_RDWR if create else os.O_RDONLY, 0o660)


def is_same_file(path: Path, status: os.stat_result) -> bool:
    """Return whether ``path`` is still the file or folder that had this ``status``."""
    try:
        return os.path.samestat(path.stat(), status)
    except FileNotFoundError:
        return False
