"""The metrics of several processes, combined into those of one service; every process can render them.

Each process keeps its counts in files in one folder, as ``prometheus_client`` does, so a process that is killed loses
none. The counts of dead processes are folded into one file of each kind, so that a worker that dies repeatedly
does not fill the folder; the gauges of dead processes are removed.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, gettempdir
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from multitudes.errors import MissingError
from multitudes.locks import lock

_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client reads it when it is imported
_PREFIX: Final = "multitudes-metrics-"
_SUMMED_KINDS: Final = ("counter", "histogram")
_DEAD: Final = "dead"  # replaces the process id in the name of a folded file
_LOCK: Final = "lock"  # shared by readers, exclusive for folding
_ATTEMPTS: Final = 5


def shared_folder() -> Path | None:
    """Return the folder of the processes that serve together; None: this process serves alone."""
    folder = os.environ.get(_FOLDER)
    return None if folder is None else Path(folder)


@contextmanager
def share_metrics() -> Iterator[Path]:
    """Let the processes that are started within the block share their metrics, in the folder that is yielded.

    Raises:
        MissingError: no folder for temporary files can be written.
    """
    try:
        temporary = Path(gettempdir())
    except FileNotFoundError:
        raise MissingError(
            "several processes need a folder for temporary files, and none can be written; name one in the variable"
            " TMPDIR, or serve with --workers 1"
        ) from None
    for leftover in temporary.glob(f"{_PREFIX}*"):  # of a service that was killed
        process_id = leftover.name.removeprefix(_PREFIX).partition("-")[0]
        if process_id.isdigit() and not _is_alive(int(process_id)):
            rmtree(leftover, ignore_errors=True)
    with TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-") as folder:
        os.environ[_FOLDER] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ[_FOLDER]


def render(folder: Path) -> bytes:
    """Return the metrics of all processes as Prometheus reads them."""
    fold_dead_processes(folder)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    with lock(folder / _LOCK, shared=True):
        for _ in range(_ATTEMPTS):
            try:
                return generate_latest(registry)
            except struct.error:  # a process that starts has created its file, but not written its head
                continue
        return generate_latest(registry)


def fold_dead_processes(folder: Path) -> None:
    """Fold the counts of dead processes into one file of each kind, and remove their gauges."""
    if not _files_of_dead(folder):
        return
    with lock(folder / _LOCK):
        files = _files_of_dead(folder)
        for kind in _SUMMED_KINDS:
            _fold(folder, kind, [file for file in files if file.name.startswith(f"{kind}_")])
        for file in files:
            file.unlink()


def _fold(folder: Path, kind: str, files: list[Path]) -> None:
    """Add the counts of ``files`` to the folded file of their kind, which is replaced at once."""
    folded, new_file = folder / f"{kind}_{_DEAD}.db", folder / f"{kind}.new"
    new_file.unlink(missing_ok=True)
    sums: dict[str, float] = {}
    for file in [folded, *files] if folded.exists() else files:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
            sums[key] = sums.get(key, 0.0) + value
    mapped = MmapedDict(str(new_file))  # type: ignore[no-untyped-call]
    for key, value in sums.items():
        mapped.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    mapped.close()  # type: ignore[no-untyped-call]
    new_file.rename(folded)


def _files_of_dead(folder: Path) -> list[Path]:
    process_ids = {file: file.stem.rpartition("_")[2] for file in folder.glob("*.db")}
    return [file for file, text in process_ids.items() if text != _DEAD and not _is_alive(int(text))]


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
