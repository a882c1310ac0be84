"""The scheduler of a study: runs the cells that have no result in parallel, and tracks progress and time left."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TypeVar

import polars as pl

from multitudes.data.prepared import Split
from multitudes.study.cells import Cell, is_trained, outcomes_file, read_result, result_file
from multitudes.study.provenance import code_digest, training_code
from multitudes.study.worker_pool import WorkerPool

T = TypeVar("T")
Task = tuple[str, str]  # data set, method


class Scheduler:
    """Runs cells that have no result yet, in parallel workers, and reports the progress."""

    def __init__(self, cells: Path, processes: int, listener: "ProgressListener", *, fresh: bool = False) -> None:
        """Create a scheduler without tasks.

        Args:
            cells: the folder of the cells.
            processes: number of parallel workers.
            listener: called whenever a cell starts, progresses or ends.
            fresh: recompute cells that other code than the installed one computed.
        """
        self._cells, self._processes, self._listener, self._fresh = cells, processes, listener, fresh
        self._workers = WorkerPool(cells, processes)
        self._progress = StudyProgress([], processes, listener)
        self._failed_trainings: dict[str, str] = {}  # trainings that failed in this session, and why

    @contextmanager
    def pool(self, tasks: Sequence[Task]) -> Iterator[ThreadPoolExecutor]:
        """Yield a thread pool with one thread for each worker; an exception inside stops the workers.

        Args:
            tasks: what will run in the pool, for the count and the time left.
        """
        self._progress = StudyProgress(tasks, self._processes, self._listener)
        pool = ThreadPoolExecutor(self._processes)
        try:
            yield pool
        except BaseException:
            self._workers.stop()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def run(self, cell: Cell, split: Split) -> str | None:
        """Compute a cell unless it has a result.

        Returns:
            None on success, otherwise the reason of the failure in one line.

        Raises:
            KeyboardInterrupt: the study is being stopped.
            MissingError: no disk space is left, for any cell.
        """
        error, folder, training = None, cell.folder(self._cells), cell.training_folder(self._cells)
        if self._fresh:
            remove_outdated(folder, training, split)
        remove_damaged(folder, split)
        if read_result(folder, split) is None:
            error = self._known_failure(cell)
            if error is None:
                self._progress.start(cell)
                error = self._workers.run(cell, split, self._progress.update)
            if error is not None and not is_trained(training):
                self._failed_trainings[training.name] = error
        self._progress.finish(cell)
        return error

    def score(self, cell: Cell, metric: str) -> float | None:
        """Return a metric of a cell on the validation split, computing the cell if needed; None: it failed.

        Raises:
            KeyboardInterrupt: the study is being stopped.
            MissingError: no disk space is left, for any cell.
        """
        if self.run(cell, "validation") is not None:
            return None
        result = read_result(cell.folder(self._cells), "validation")
        score: float | None = result["score"][metric] if result else None
        return score

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
        pl.read_parquet_schema(outcomes_file(folder, split))  # reads the footer, which a truncated file lacks
    except (FileNotFoundError, pl.exceptions.PolarsError):
        result_file(folder, split).unlink(missing_ok=True)


def results(futures: Sequence["Future[T]"]) -> list[T]:
    """Return the results of all futures in their order; raise the first exception as soon as it occurs."""
    for future in as_completed(futures):
        future.result()
    return [future.result() for future in futures]


class StudyProgress:
    """Progress of a study: collects reports of many threads and notifies a listener.

    Attributes:
        total: number of tasks.
    """

    def __init__(self, tasks: Sequence[Task], processes: int, notify: "ProgressListener") -> None:
        self._remaining, self._processes, self._notify = list(tasks), processes, notify
        self._lock = threading.RLock()
        self._running: dict[str, _RunningTask] = {}
        self._durations: list[tuple[Task, float]] = []  # seconds; cells that had a result are not among them
        self.total = len(tasks)

    @property
    def done(self) -> int:
        """The number of tasks that have ended, successful or not."""
        return self.total - len(self._remaining)

    def start(self, cell: Cell) -> None:
        """Record that a worker starts ``cell``."""
        with self._lock:
            self._running[cell.label] = _RunningTask(cell_task(cell))
            self._notify(self)

    def update(self, label: str, note: str) -> None:
        """Record what a running cell is doing, such as its second epoch."""
        with self._lock:
            if label in self._running:
                self._running[label].note = note
                self._notify(self)

    def finish(self, cell: Cell) -> None:
        """Record that ``cell`` has ended, and its duration if it was started."""
        with self._lock:
            running = self._running.pop(cell.label, None)
            if running is not None:
                self._durations.append((running.task, time.monotonic() - running.since_s))
            self._remaining.remove(cell_task(cell))
            self._notify(self)

    def running_notes(self) -> list[tuple[str, str]]:
        """Return the label of each running cell, and what it is doing."""
        with self._lock:
            return [(label, running.note) for label, running in self._running.items()]

    def seconds_left(self) -> float | None:
        """Return the estimated seconds until all tasks have ended; None until the first one has."""
        with self._lock:
            now_s = time.monotonic()
            spent = [(one.task, now_s - one.since_s) for one in self._running.values()]
            return seconds_left(self._remaining, spent, self._durations, self._processes)


ProgressListener = Callable[[StudyProgress], None]


@dataclass
class _RunningTask:
    task: Task
    since_s: float = field(default_factory=time.monotonic)
    note: str = ""


def cell_task(cell: Cell) -> Task:
    """Return the task of a cell; all seeds of a method have the same one, because they take equally long."""
    return cell.data, cell.method


def seconds_left(
    remaining: Sequence[Task],
    running: Sequence[tuple[Task, float]],
    finished: Sequence[tuple[Task, float]],
    processes: int,
) -> float | None:
    """Return the estimated seconds until all tasks have ended; None if no task has ended yet.

    A task takes as long as those of the same data set and method took on average, else as all did.

    Args:
        remaining: tasks that have not ended, including the running ones.
        running: running tasks, and for how many seconds each has run.
        finished: ended tasks, and how many seconds each took.
        processes: number of parallel workers.
    """
    if not finished:
        return None
    mean_s = fmean(seconds for _, seconds in finished)
    expected_s = {task: fmean([s for one, s in finished if one == task] or [mean_s]) for task in set(remaining)}
    spent_s = sum(min(seconds, expected_s[task]) for task, seconds in running)
    return (sum(expected_s[task] for task in remaining) - spent_s) / processes
