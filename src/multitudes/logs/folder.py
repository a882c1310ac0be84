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

from multitudes.disk import write_text
from multitudes.errors import ArtefactError
from multitudes.locks import locked
from multitudes.logs.schemas import Kinds, LogName

FORMAT, FORMAT_VERSION = "multitudes-log", 1
PART, SPOOL = ".parquet", ".spool"
_MOMENT = "%Y%m%dT%H%M%S.%fZ"


def make(folder: Path, log: LogName, kinds: Kinds) -> None:
    """Make the folder of a log, or check that the one that is there has such ids.

    Raises:
        ArtefactError: another log is there, or one whose ids are of another type.
    """
    record = {"format": FORMAT, "version": FORMAT_VERSION, "log": log, "ids": kinds._asdict()}
    workshop(folder).mkdir(parents=True, exist_ok=True)
    file = folder / "log.json"
    if not file.exists():
        write_text(file, json.dumps(record) + "\n")
    elif (found := _record(file)) != record:
        raise ArtefactError(
            f"{folder}: holds the log {json.dumps(found)}; expected {json.dumps(record)}. Choose another folder"
        )


def _record(file: Path) -> Any:  # noqa: ANN401
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise ArtefactError(f"{file}: no JSON; expected the record of a log. Choose another folder") from None


def workshop(folder: Path) -> Path:
    """Return where spools, notes and what is not finished lie."""
    return folder / "open"


def new_spool(folder: Path, now_s: float) -> Path:
    """Return a name that no other process takes."""
    return workshop(folder) / f"{datetime.fromtimestamp(now_s, UTC):{_MOMENT}}-{secrets.token_hex(4)}{SPOOL}"


def begun_s(file: Path) -> float:
    """Return the moment at which a spool, or the part that it became, was begun."""
    moment = file.name.lstrip(".").split("-", maxsplit=1)[0]
    return datetime.strptime(moment, _MOMENT).replace(tzinfo=UTC).timestamp()


def parts(folder: Path) -> list[Path]:
    """Return the parts, the oldest first."""
    return sorted(folder.glob(f"*{PART}"))


def spools(folder: Path) -> list[Path]:
    """Return the spools, the oldest first."""
    return sorted(file for file in workshop(folder).glob(f"*{SPOOL}") if not file.name.startswith("."))


def unnamed(folder: Path) -> list[Path]:
    """Return the spools without a name yet: a writer that was killed while it made one has left it, empty."""
    return sorted(workshop(folder).glob(f".*{SPOOL}"))


def part_of(folder: Path, spool: Path) -> Path:
    """Return the part that a spool becomes."""
    return folder / f"{spool.stem}{PART}"


def partial(folder: Path, part: Path) -> Path:
    """Return where a part is written until it is whole."""
    return workshop(folder) / f"{part.name}.partial"


def changing(folder: Path, *, wait: bool = True) -> AbstractContextManager[bool]:
    """Hold the one right to make, rewrite and remove files of a log that are no longer appended to.

    Returns:
        A context that says whether it was had; always True with ``wait``.
    """
    return locked(workshop(folder) / "lock", wait=wait)
