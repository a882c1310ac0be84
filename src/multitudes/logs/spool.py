r"""A spool: the file to which one process appends its log lines.

A line is ``crc32 payload\n``: the checksum of the payload as eight hexadecimal digits, and JSON, which has no line
break. ``append`` hands each line to the operating system in one write before it returns, so a process that is killed
loses nothing that it appended. (A machine that loses power may lose what the system has not yet written.)

The writer locks its spool, and the system releases the lock when the process ends. A process that gets the lock of a
spool knows that no other process will write to it again.
"""

import errno
import fcntl
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Spool:
    """A new spool that this process writes. One thread at a time may append. Do not use it after a fork."""

    def __init__(self, file: Path) -> None:
        # Locked before it is renamed: other processes take a spool without a lock for one of a dead process.
        unnamed = file.with_name(f".{file.name}")
        self.file, self.size = file, 0
        self._descriptor = os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        unnamed.rename(file)

    def append(self, payload: bytes) -> None:
        """Write a line, complete or not at all.

        Raises:
            OSError: the line cannot be written, for example because the disk is full.
        """
        line = _frame(payload)
        written = os.write(self._descriptor, line)
        if written < len(line):
            os.ftruncate(self._descriptor, self.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.file))
        self.size += written

    def close(self) -> None:
        """Release the spool, so that it can become a segment."""
        os.close(self._descriptor)


class Line(NamedTuple):
    """A line of a spool."""

    end: int  # byte of the spool at which the line ends
    payload: bytes | None  # None: torn or damaged


def read_lines(file: Path) -> Iterator[Line]:
    """Yield the lines of a spool in order."""
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
