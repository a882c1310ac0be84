"""The folder of one log: the names of its files, and the lock under which they change.

::

    served/
      log.json                                      the types of the ids
      20260504T101500.123456Z-1f0c9a2e.parquet      a segment: changes only when a user is erased
      open/20260504T102000.654321Z-77aa01bc.spool   what a process is writing, or a dead process has left
      open/20260504T101000.….parquet.damaged        a segment that cannot be read, set aside

Names begin with the UTC time of the first row, so they sort by time; the random suffix keeps processes apart.
Unfinished files have a folder of their own because it is listed every second, and there may be many segments.
"""

import json
import secrets
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from multitudes.atomic import read_json, write_text
from multitudes.errors import ArtefactError
from multitudes.locks import lock
from multitudes.logs.schemas import IdTypes, LogName

FORMAT, FORMAT_VERSION = "multitudes-log", 1
SEGMENT_SUFFIX, SPOOL_SUFFIX, DAMAGED_SUFFIX = ".parquet", ".spool", ".damaged"
REQUEST_PREFIX, REQUEST_SUFFIX = "forget-", ".json"
_TIME_FORMAT = "%Y%m%dT%H%M%S.%fZ"
_REPAIR = "choose another folder, or restore another backup"


def make_log_folder(folder: Path, log: LogName, id_types: IdTypes) -> None:
    """Create the folder of a log, or check that an existing folder is the same log with the same id types.

    Raises:
        ArtefactError: the folder holds another log, or one with other id types.
    """
    record = {"format": FORMAT, "version": FORMAT_VERSION, "log": log, "ids": id_types._asdict()}
    working_folder(folder).mkdir(parents=True, exist_ok=True)
    file = folder / "log.json"
    if not file.exists():
        write_text(file, json.dumps(record) + "\n")
    elif (found := read_json(file, FORMAT, FORMAT_VERSION, _REPAIR)) != record:
        raise ArtefactError(f"{folder}: holds the log {json.dumps(found)}; expected {json.dumps(record)}; {_REPAIR}")


def read_log(folder: Path) -> tuple[LogName, IdTypes]:
    """Return which log a folder holds, and the types of its ids.

    Raises:
        ArtefactError: the folder is not a log.
    """
    record = read_json(folder / "log.json", FORMAT, FORMAT_VERSION, _REPAIR)
    try:
        return record["log"], IdTypes(**record["ids"])
    except (KeyError, TypeError):
        raise ArtefactError(f"{folder / 'log.json'}: damaged; {_REPAIR}") from None


def working_folder(folder: Path) -> Path:
    """Return the folder of spools, erasure requests and unfinished segments."""
    return folder / "open"


def new_spool_path(folder: Path, now_s: float) -> Path:
    """Return the path of a new spool, which no other process uses."""
    moment = datetime.fromtimestamp(now_s, UTC).strftime(_TIME_FORMAT)
    return working_folder(folder) / f"{moment}-{secrets.token_hex(4)}{SPOOL_SUFFIX}"


def start_time_s(file: Path) -> float:
    """Return the time, in the name, at which a spool or the segment made from it was started."""
    moment = file.name.lstrip(".").split("-", maxsplit=1)[0]
    return datetime.strptime(moment, _TIME_FORMAT).replace(tzinfo=UTC).timestamp()


def list_segments(folder: Path) -> list[Path]:
    """Return the segments, oldest first."""
    return sorted(folder.glob(f"*{SEGMENT_SUFFIX}"))


def list_damaged(folder: Path) -> list[Path]:
    """Return the segments that were set aside because they cannot be read, oldest first."""
    return sorted(working_folder(folder).glob(f"*{SEGMENT_SUFFIX}{DAMAGED_SUFFIX}"))


def damaged_path(segment: Path) -> Path:
    """Return the place of a segment that is set aside: nothing reads it as a segment there."""
    return working_folder(segment.parent) / f"{segment.name}{DAMAGED_SUFFIX}"


def list_spools(folder: Path) -> list[Path]:
    """Return the spools, oldest first."""
    return sorted(file for file in working_folder(folder).glob(f"*{SPOOL_SUFFIX}") if not file.name.startswith("."))


def list_unfinished_requests(folder: Path) -> list[Path]:
    """Return the files of the erasure requests that wait for a spool or a damaged segment."""
    return sorted(working_folder(folder).glob(f"{REQUEST_PREFIX}*{REQUEST_SUFFIX}"))


def segment_path(folder: Path, spool: Path) -> Path:
    """Return the path of the segment made from a spool."""
    return folder / f"{spool.stem}{SEGMENT_SUFFIX}"


def lock_log(folder: Path, *, wait: bool = True) -> AbstractContextManager[bool]:
    """Lock the files of a log that no process appends to; the context manager yields whether it did."""
    return lock(working_folder(folder) / "lock", wait=wait)
