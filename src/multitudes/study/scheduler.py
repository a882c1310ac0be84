"""The scheduler of a study: runs the cells that have no result in parallel, and tracks progress and time left."""

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TypeVar

import polars as pl

from multitudes.data.prepared import Split
from multitudes.study.cells import Cell, is_trained, outcomes_file, read_result, result_file
from multitudes.study.config import Metric
from multitudes.study.provenance import code_digest, training_code
from multitudes.study.worker_pool import WorkerPool

T = TypeVar("T")
Task = tuple[str, str, bool]  # data set, method, whether it is a tuning trial


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
    def pool(self, tasks: list[Task]) -> Iterator[ThreadPoolExecutor]:
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

    def score(self, cell: Cell, metric: Metric) -> float | None:
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


def iter_completed(futures: Iterable["Future[T]"]) -> Iterator["Future[T]"]:
    """Yield futures as they complete; each wait lasts at most a second, because a longer one may not see Ctrl-C."""
    pending = set(futures)
    while pending:
        completed, pending = wait(pending, timeout=1, return_when=FIRST_COMPLETED)
        yield from completed


def wait_for_all(futures: list["Future[T]"]) -> list[T]:
    """Return the results of all futures in their order; raise the first exception. Waits as ``iter_completed`` does."""
    pending = set(futures)
    while pending:
        completed, pending = wait(pending, timeout=1, return_when=FIRST_EXCEPTION)
        for future in completed:
            future.result()
    return [future.result() for future in futures]


class StudyProgress:
    """Progress of a study: collects reports of many threads and notifies a listener.

    Attributes:
        total: number of tasks.
        durations: finished tasks and the seconds that each took. Cells that already had a result are not among them.
        running: running tasks by label.
    """

    def __init__(self, tasks: list[Task], processes: int, notify: "ProgressListener") -> None:
        self._remaining, self._processes, self._notify = list(tasks), processes, notify
        self._lock = threading.RLock()
        self.total = len(tasks)
        self.durations: list[tuple[Task, float]] = []
        self.running: dict[str, _RunningTask] = {}

    @property
    def done(self) -> int:
        """The number of tasks that have ended, successful or not."""
        return self.total - len(self._remaining)

    def start(self, cell: Cell) -> None:
        """Record that a worker starts ``cell``."""
        with self._lock:
            self.running[cell.label] = _RunningTask(cell_task(cell))
            self._notify(self)

    def update(self, label: str, note: str) -> None:
        """Record what a running cell is doing, such as its second epoch."""
        with self._lock:
            if label in self.running:
                self.running[label].note = note
                self._notify(self)

    def finish(self, cell: Cell) -> None:
        """Record that ``cell`` has ended, and its duration if it was started."""
        with self._lock:
            running = self.running.pop(cell.label, None)
            if running is not None:
                self.durations.append((running.task, time.monotonic() - running.since_s))
            self._remaining.remove(cell_task(cell))
            self._notify(self)

    def running_notes(self) -> list[tuple[str, str]]:
        """Return the label of each running cell, and what it is doing."""
        with self._lock:
            return [(label, running.note) for label, running in self.running.items()]

    def seconds_left(self) -> float | None:
        """Return the estimated seconds until all tasks have ended; None until the first one has."""
        with self._lock:
            now_s = time.monotonic()
            started = [(task.task, now_s - task.since_s) for task in self.running.values()]
            return seconds_left(self._remaining, started, self.durations, self._processes)


ProgressListener = Callable[[StudyProgress], None]


@dataclass
class _RunningTask:
    task: Task
    since_s: float = field(default_factory=time.monotonic)
    note: str = ""


def cell_task(cell: Cell) -> Task:
    """Return the task of a cell; all seeds of a method have the same one, because they take equally long."""
    return cell.data, cell.method, cell.trial is not None


def seconds_left(
    remaining: list[Task], started: list[tuple[Task, float]], finished: list[tuple[Task, float]], processes: int
) -> float | None:
    """Return the estimated seconds until all tasks have ended; None if no task has ended yet.

    Args:
        remaining: tasks that have not ended, including the running ones.
        started: running tasks, and for how many seconds each has run.
        finished: ended tasks, and how many seconds each took.
        processes: number of parallel workers.
    """
    if not finished:
        return None
    total = sum(expected_seconds(task, finished) for task in remaining)
    spent = sum(min(seconds, expected_seconds(task, finished)) for task, seconds in started)
    return (total - spent) / processes


def expected_seconds(task: Task, finished: list[tuple[Task, float]]) -> float:
    """Return the mean duration of the most similar finished tasks.

    These are tasks of the same data set, method and kind; else of the same data set and method; else of the same data
    set; else all.
    """
    data, method, trial = task
    for similar in (
        [s for (d, m, t), s in finished if (d, m, t) == (data, method, trial)],
        [s for (d, m, _), s in finished if (d, m) == (data, method)],
        [s for (d, _, _), s in finished if d == data],
    ):
        if similar:
            return fmean(similar)
    return fmean([s for _, s in finished])
