"""The folder of one log: what its files are called, and whose turn it is to change them.

::

    served/
      log.json                                      what ids are
      20260504T101500.123456Z-1f0c9a2e.parquet      a part: never changes, but for somebody who is forgotten
      open/20260504T102000.654321Z-77aa01bc.spool   what a process is writing now, or a dead one has left

Names begin with the moment of the first row in UTC, so they sort by time; the random end keeps processes apart. What is
in the works has a folder of its own: it is looked at every second, and parts may be many.
"""

import json
import secrets
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from multitudes.atomic import write_text
from multitudes.errors import ArtefactError
from multitudes.locks import lock
from multitudes.logs.schemas import IdTypes, LogName

FORMAT, FORMAT_VERSION = "multitudes-log", 1
SEGMENT_SUFFIX, SPOOL_SUFFIX = ".parquet", ".spool"
_TIME_FORMAT = "%Y%m%dT%H%M%S.%fZ"


def make_log_folder(folder: Path, log: LogName, kinds: IdTypes) -> None:
    """Make the folder of a log, or check that the one that is there has such ids.

    Raises:
        ArtefactError: another log is there, or one whose ids are of another type.
    """
    record = {"format": FORMAT, "version": FORMAT_VERSION, "log": log, "ids": kinds._asdict()}
    working_folder(folder).mkdir(parents=True, exist_ok=True)
    file = folder / "log.json"
    if not file.exists():
        write_text(file, json.dumps(record) + "\n")
    elif (found := _read_record(file)) != record:
        raise ArtefactError(
            f"{folder}: holds the log {json.dumps(found)}; expected {json.dumps(record)}. Choose another folder"
        )


def _read_record(file: Path) -> Any:  # noqa: ANN401
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise ArtefactError(f"{file}: no JSON; expected the record of a log. Choose another folder") from None


def working_folder(folder: Path) -> Path:
    """Return where spools, notes and what is not finished lie."""
    return folder / "open"


def new_spool_path(folder: Path, now_s: float) -> Path:
    """Return a name that no other process takes."""
    return (
        working_folder(folder)
        / f"{datetime.fromtimestamp(now_s, UTC):{_TIME_FORMAT}}-{secrets.token_hex(4)}{SPOOL_SUFFIX}"
    )


def start_time_s(file: Path) -> float:
    """Return the moment at which a spool, or the part that it became, was begun."""
    moment = file.name.lstrip(".").split("-", maxsplit=1)[0]
    return datetime.strptime(moment, _TIME_FORMAT).replace(tzinfo=UTC).timestamp()


def list_segments(folder: Path) -> list[Path]:
    """Return the parts, the oldest first."""
    return sorted(folder.glob(f"*{SEGMENT_SUFFIX}"))


def list_spools(folder: Path) -> list[Path]:
    """Return the spools, the oldest first."""
    return sorted(file for file in working_folder(folder).glob(f"*{SPOOL_SUFFIX}") if not file.name.startswith("."))


def list_unnamed_spools(folder: Path) -> list[Path]:
    """Return the spools without a name yet: a writer that was killed while it made one has left it, empty."""
    return sorted(working_folder(folder).glob(f".*{SPOOL_SUFFIX}"))


def segment_path(folder: Path, spool: Path) -> Path:
    """Return the part that a spool becomes."""
    return folder / f"{spool.stem}{SEGMENT_SUFFIX}"


def lock_log(folder: Path, *, wait: bool = True) -> AbstractContextManager[bool]:
    """Hold the one right to make, rewrite and remove files of a log that are no longer appended to.

    Returns:
        A context that says whether it was had; always True with ``wait``.
    """
    return lock(working_folder(folder) / "lock", wait=wait)
