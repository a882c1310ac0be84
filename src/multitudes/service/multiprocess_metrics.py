"""The measures of several processes as those of one service, whichever of them is asked.

Each process keeps its figures in files of its own in one folder (the way of ``prometheus_client``), so one that is
killed loses none. What dead processes have counted is folded into one file of each kind, so that a worker that dies
all night does not fill the folder; their gauges go.
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

from multitudes.locks import lock

_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"  # read by the library when it is imported
_PREFIX: Final = "multitudes-measures-"
_SUMMED_KINDS: Final = ("counter", "histogram")
_DEAD: Final = "dead"  # in place of the number of a process
_LOCK: Final = "lock"  # shared by who reads, held alone by who folds
_ATTEMPTS: Final = 5


def shared_folder() -> Path | None:
    """Return the folder of the processes that serve together; None: this one is alone."""
    found = os.environ.get(_FOLDER)
    return None if found is None else Path(found)


@contextmanager
def share_metrics() -> Iterator[None]:
    """Let the processes that are started within the block count together."""
    for left in Path(gettempdir()).glob(f"{_PREFIX}*"):  # by a service that was killed
        number = left.name.removeprefix(_PREFIX).partition("-")[0]
        if number.isdigit() and not _is_alive(int(number)):
            rmtree(left, ignore_errors=True)
    with TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-") as folder:
        os.environ[_FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[_FOLDER]


def render(folder: Path) -> bytes:
    """Return the measures of all processes as Prometheus reads them."""
    fold_dead_processes(folder)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    with lock(folder / _LOCK, shared=True):
        for _ in range(_ATTEMPTS):
            try:
                return generate_latest(registry)
            except struct.error:  # a process that begins has made its file and not yet its head
                continue
        return generate_latest(registry)


def fold_dead_processes(folder: Path) -> None:
    """Fold what dead processes have counted, and let their gauges go."""
    if not _files_of_dead(folder):
        return
    with lock(folder / _LOCK):
        files = _files_of_dead(folder)
        for kind in _SUMMED_KINDS:
            _fold(folder, kind, [file for file in files if file.name.startswith(f"{kind}_")])
        for file in files:
            file.unlink()


def _fold(folder: Path, kind: str, files: list[Path]) -> None:
    """Add the figures of files to those that were folded before; the sum takes their place by one switch."""
    folded, fresh = folder / f"{kind}_{_DEAD}.db", folder / f"{kind}.new"
    fresh.unlink(missing_ok=True)
    sums: dict[str, float] = {}
    for file in [folded, *files] if folded.exists() else files:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
            sums[key] = sums.get(key, 0.0) + value
    written = MmapedDict(str(fresh))  # type: ignore[no-untyped-call]
    for key, value in sums.items():
        written.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    written.close()  # type: ignore[no-untyped-call]
    fresh.rename(folded)


def _files_of_dead(folder: Path) -> list[Path]:
    numbers = {file: file.stem.rpartition("_")[2] for file in folder.glob("*.db")}
    return [file for file, number in numbers.items() if number != _DEAD and not _is_alive(int(number))]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
