"""Audit logs: who did what, and when; a line of JSON for each action, appended and never changed.

A log of ``MAX_BYTES`` is renamed to ``audit.log.1``, and so on, the newest with the highest number. None is removed.
"""

import errno
import json
import logging
import os
import pwd
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from multitudes.locks import lock

AUDIT_LOG: Final = "audit.log"
MAX_BYTES: Final = 64 << 20  # 300,000 lines


def append_audit(file: Path, **what: object) -> None:
    """Append a line with the current time; it is on the disk when this returns.

    Processes may append at the same time, and the file may be renamed in between, as ``logrotate`` does. A failure is
    logged: what was done stays done.
    """
    record = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **what}
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            line = f"{json.dumps(record)}\n".encode()
            if os.write(descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        if size >= MAX_BYTES:
            _rename_full(file)
    except OSError as error:
        logging.getLogger(__name__).error("%s: cannot be written (%s): %s", file, error.strerror, record)


def _rename_full(file: Path) -> None:
    """Give a full log the next number, unless another process just did; who has it open still writes to it."""
    with lock(file.with_name(f".{file.name}.lock"), remove=True):
        if file.exists() and file.stat().st_size >= MAX_BYTES:
            numbers = [int(one.suffix[1:]) for one in file.parent.glob(f"{file.name}.*") if one.suffix[1:].isdigit()]
            file.rename(f"{file}.{max(numbers, default=0) + 1}")


def system_user() -> str:
    """Return the user that runs this process, whatever its environment says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in a container
        return f"uid {os.getuid()}"
