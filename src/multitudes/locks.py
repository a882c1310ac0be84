"""Locks on files, between processes: the system takes one back when its holder ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(file: Path, *, wait: bool = True, shared: bool = False, make: bool = True) -> Iterator[bool]:
    """Hold the lock of a file, and say whether it was had: always, where it is waited for.

    Args:
        file: that everybody locks who takes turns; what it holds is left alone.
        wait: until the others are done; else who finds it locked is told so.
        shared: beside others who share it, and with nobody who holds it alone.
        make: the file, where there is none.

    Raises:
        OSError: it cannot be opened; FileNotFoundError where it is not to be made.
    """
    # Whoever may read a file can lock it, and hold up the others: so only its owner and their group may.
    descriptor = os.open(file, os.O_CREAT | os.O_RDWR if make else os.O_RDONLY, 0o660)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
