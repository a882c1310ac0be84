r"""A spool: the file to which one process appends what it wants to have logged, a line each.

``crc32 payload\n``, the checksum as eight hexadecimal digits over the payload, which is JSON and so has no line break.
A line is one write to the operating system before ``append`` returns: a process that is killed loses nothing that was
appended. (A machine that loses its power may lose what the system has not yet written.)

The writer holds a lock on its spool, which the system lets go when the process ends, however it ends: whoever gets the
lock on a spool has found one that nobody will write to again.
"""

import errno
import fcntl
import os
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from multitudes.locks import lock


class Spool:
    """A new spool that this process writes. One thread at a time may append. Not to be carried over a fork."""

    def __init__(self, file: Path) -> None:
        # It gets its name when it is locked already: without the lock it would be taken for a dead process's.
        unnamed = file.with_name(f".{file.name}")
        self.file, self.size = file, 0
        self._descriptor = os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        unnamed.rename(file)

    def append(self, payload: bytes) -> None:
        """Hand a line to the operating system, whole or not at all.

        Raises:
            OSError: it does not take it, as when the disk is full.
        """
        line = _frame(payload)
        written = os.write(self._descriptor, line)
        if written < len(line):
            os.ftruncate(self._descriptor, self.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.file))
        self.size += written

    def close(self) -> None:
        """Let go of the spool: from now on it is to become a part."""
        os.close(self._descriptor)


class Line(NamedTuple):
    """A line of a spool."""

    end: int  # bytes of the spool until its end
    payload: bytes | None  # None: torn, or otherwise not what was written


def read_lines(file: Path) -> Iterator[Line]:
    """Yield the lines of a spool in their order."""
    end = 0
    with file.open("rb") as stream:
        for line in stream:
            end += len(line)
            yield Line(end, _verify_line(line))


def _verify_line(line: bytes) -> bytes | None:
    payload = line[9:-1]
    return payload if line == _frame(payload) else None


def _frame(payload: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(payload), payload)


def lock_if_abandoned(file: Path) -> AbstractContextManager[bool]:
    """Say whether nobody writes to the spool ``file`` any more; nobody else can find so while the context lasts."""
    return lock(file, wait=False, create=False)
