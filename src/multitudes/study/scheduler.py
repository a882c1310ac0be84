"""The scheduler of a study: runs the cells that have no result in parallel workers, and reports the progress."""

import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import polars as pl

from multitudes.data.prepared import Split
from multitudes.evaluation.compare import outcomes_file
from multitudes.progress import Progress, silent
from multitudes.study.cells import Cell, is_trained, read_result, result_file
from multitudes.study.provenance import code_digest, training_code
from multitudes.study.worker_pool import WorkerPool

T = TypeVar("T")


class Scheduler:
    """Runs cells that have no result yet, in parallel workers. Thread-safe: each thread waits for one worker."""

    def __init__(self, cells: Path, processes: int, progress: Progress = silent, *, fresh: bool = False) -> None:
        """Create a scheduler for the folder of the cells; ``fresh`` recomputes those that other code computed.

        ``progress`` receives the number of cells that have ended, and which ones run.
        """
        self._cells, self._processes, self._report, self._fresh = cells, processes, progress, fresh
        self._workers = WorkerPool(cells, processes)
        self._lock = threading.Lock()
        self._running: list[str] = []
        self._done = self._total = 0
        self._failed_trainings: dict[str, str] = {}  # trainings that failed in this session, and why

    @contextmanager
    def pool(self, total: int) -> Iterator[ThreadPoolExecutor]:
        """Yield a pool with a thread for each worker, for ``total`` cells; an exception inside stops the workers."""
        self._done, self._total = 0, total
        pool = ThreadPoolExecutor(self._processes)
        try:
            yield pool
        except BaseException:
            self._workers.stop()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def run(self, cell: Cell, split: Split) -> str | None:
        """Compute a cell unless it has a result; return the reason of a failure in one line.

        Raises:
            KeyboardInterrupt: the study is being stopped.
            MissingError: no disk space is left, for any cell.
        """
        error, folder, training = None, cell.folder(self._cells), cell.training_folder(self._cells)
        if self._fresh:
            remove_outdated(folder, training, split)
        remove_damaged(folder, split)
        if read_result(folder, split) is None:
            error = self._known_failure(cell) or self._compute(cell, split)
            if error is not None and not is_trained(training):
                self._failed_trainings[training.name] = error
        with self._lock:
            self._done += 1
            self._show()
        return error

    def _compute(self, cell: Cell, split: Split) -> str | None:
        with self._lock:
            self._running.append(cell.label)
            self._show()
        try:
            return self._workers.run(cell, split)
        finally:
            with self._lock:
                self._running.remove(cell.label)

    def _show(self) -> None:
        self._report(self._done, self._total, ", ".join(self._running))

    def _known_failure(self, cell: Cell) -> str | None:
        """Return why a cell cannot run: its training, or that of a base cell, failed in this session."""
        for base in cell.base_cells:
            if base.training_digest in self._failed_trainings:
                return f"{base.method}: {self._failed_trainings[base.training_digest]}"
        return self._failed_trainings.get(cell.training_folder(self._cells).name)


def remove_outdated(folder: Path, training: Path, split: Split) -> None:
    """Remove what other code computed: the cell and its training, or only the result if ``split`` is test."""
    result = read_result(folder, split)
    if result is not None and result.get("code") != code_digest():
        if split == "validation":
            shutil.rmtree(folder)
        else:
            result_file(folder, split).unlink()
    if split == "validation" and training_code(training) not in (None, code_digest()):
        shutil.rmtree(training)


def remove_damaged(folder: Path, split: Split) -> None:
    """Remove the result of a cell whose outcomes are truncated or missing, so that it is evaluated again."""
    try:
        # This reads the footer, which a truncated file lacks.
        pl.scan_parquet(outcomes_file(folder, split), glob=False).collect_schema()
    except (FileNotFoundError, pl.exceptions.PolarsError):
        result_file(folder, split).unlink(missing_ok=True)


def results(futures: Sequence["Future[T]"]) -> list[T]:
    """Return the results of all futures in their order; raise the first exception as soon as it occurs."""
    for future in as_completed(futures):
        future.result()
    return [future.result() for future in futures]
