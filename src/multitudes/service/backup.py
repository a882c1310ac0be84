"""Back up the data folder of a service that runs, and restore it without what users have asked to be erased since.

A backup is a folder: ``backup.json``, ``state.sqlite`` from one moment, ``logs`` and ``forgotten``. Nothing waits for
it: the store is read as a request reads it, and segments and spools are copied as they are. A spool that became a
segment meanwhile is there twice under one name, of which a restore makes one segment.
"""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from multitudes.atomic import create_folder, create_text, replace_file, replace_folder, write_json
from multitudes.errors import ArtefactError, UsageError
from multitudes.logs.erasure import apply_erasures, erase_before
from multitudes.logs.folder import (
    list_segments,
    list_spools,
    list_unfinished_requests,
    lock_log,
    read_log,
    working_folder,
)
from multitudes.logs.rotation import rotate_spools
from multitudes.state.erasure_requests import FILE_NAME, ErasureRequests
from multitudes.state.sqlite_database import copy_database

_MARKER, _STATE, _LOGS, _REQUESTS = "backup.json", "state.sqlite", "logs", FILE_NAME


class BackupResult(NamedTuple):
    """What a backup holds."""

    state: bool  # whether the folder has a store of user states; a server's is backed up by its own means
    log_files: int


class RestoreResult(NamedTuple):
    """What a restore did."""

    state: bool
    segments: int
    erased_rows: int  # of the logs: of users who asked to be erased after the backup


def back_up(data: Path, out: Path) -> BackupResult:
    """Copy the data folder of a service, which may run, into the new folder ``out``.

    Raises:
        UsageError: ``data`` is not such a folder, or ``out`` exists.
        OSError: a file cannot be copied; ``out`` does not appear.
    """
    if not (data / _LOGS).is_dir() and not (data / _STATE).is_file():
        raise UsageError(
            f"{data}: has neither {_LOGS} nor {_STATE}; expected the data folder of a service, by default"
            " RELEASES.service"
        )
    if out.exists():
        raise UsageError(f"{out}: exists; a backup is a new folder, so give another name")
    with create_folder(out, _MARKER, overwrite=False) as folder:
        folder.chmod(0o700)
        has_state = (data / _STATE).is_file()
        if has_state:
            copy_database(data / _STATE, folder / _STATE)
        count = sum(_copy_log(log, folder / _LOGS / log.name) for log in _log_folders(data))
        if (data / _REQUESTS).exists():
            shutil.copy2(data / _REQUESTS, folder / _REQUESTS)
        result = BackupResult(has_state, count)
        write_json(folder / _MARKER, {"format": "multitudes-backup", "version": 1, **result._asdict()})
    return result


def restore(backup: Path, data: Path) -> RestoreResult:
    """Restore a backup into the data folder of a service that does not run.

    A ``forgotten`` that is there stays, and who is in it comes back neither in the logs nor, when the service reads the
    store, there.

    Raises:
        ArtefactError: ``backup`` is not a backup.
        UsageError: the data folder has a store or logs.
        DamagedRequestsError: ``forgotten`` is damaged.
    """
    if not (backup / _MARKER).is_file():
        raise ArtefactError(f"{backup}: has no {_MARKER}; expected a folder written by `multitudes state backup`")
    for name in (_STATE, _LOGS):
        if (data / name).exists():
            raise UsageError(f"{data / name}: exists; end the service, move it away, and keep {data / _REQUESTS}")
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (backup / _REQUESTS).exists():
        create_text(data / _REQUESTS, (backup / _REQUESTS).read_text(encoding="ascii"), mode=0o600)
    requests = ErasureRequests(data / _REQUESTS)
    requests.check()
    segments, erased = _restore_logs(backup, data, requests)
    has_state = (backup / _STATE).is_file()
    if has_state:
        with replace_file(data / _STATE) as partial:
            shutil.copyfile(backup / _STATE, partial)
            partial.chmod(0o600)
    return RestoreResult(has_state, segments, erased)


def _log_folders(folder: Path) -> list[Path]:
    return sorted(file.parent for file in (folder / _LOGS).glob("*/log.json"))


def _copy_log(log: Path, out: Path) -> int:
    """Copy spools, segments and open erasure requests, in this order; return the number of files."""
    working_folder(out).mkdir(mode=0o700, parents=True)
    count = 0
    for list_files, target in (
        (list_spools, working_folder(out)),
        (list_segments, out),
        (list_unfinished_requests, working_folder(out)),
    ):
        for file in list_files(log):
            with suppress(FileNotFoundError):  # rotation or retention has just removed it
                shutil.copy2(file, target / file.name)
                count += 1
    shutil.copy2(log / "log.json", out / "log.json")
    return count


def _restore_logs(backup: Path, data: Path, requests: ErasureRequests) -> tuple[int, int]:
    """Restore the logs as segments; return their number, and that of the erased rows."""
    if not _log_folders(backup):
        return 0, 0
    segments = erased = 0
    with replace_folder(data / _LOGS) as folder:
        for log in _log_folders(backup):
            out = folder / log.name
            _copy_log(log, out)
            with lock_log(out):
                rotate_spools(out, *read_log(out))
                apply_erasures(out)
                erased += erase_before(out, requests.erased_at_s)
            segments += len(list_segments(out))
    return segments, erased
