"""Audit logs: who did what, and when; a line of JSON for each action, appended and never changed."""

import errno
import json
import logging
import os
import pwd
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

AUDIT_LOG: Final = "audit.log"


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
        finally:
            os.close(descriptor)
    except OSError as error:
        logging.getLogger(__name__).error("%s: cannot be written (%s): %s", file, error.strerror, record)


def system_user() -> str:
    """Return the user that runs this process, whatever its environment says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in a container
        return f"uid {os.getuid()}"
