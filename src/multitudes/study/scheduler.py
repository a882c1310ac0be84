"""How far a study is: what is done, what runs now, and how long the rest will take.

A duration is guessed from those seen: of the same method and data set where there are some, else of the same data set,
else of all. Cells that lay there already take no time and say nothing about it.

The work of a study: cells in processes side by side, and searches, each of which is a row of cells.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import polars as pl

from multitudes.data.prepared import Split
from multitudes.study.cells import Cell, is_trained, outcomes_file, read_result, result_file
from multitudes.study.config import TuningConfig
from multitudes.study.grid import Dataset, GridEntry, trial_cell
from multitudes.study.provenance import code_digest, training_code
from multitudes.study.tuning import SearchResult, Values, tune
from multitudes.study.worker_pool import WorkerPool

Task = tuple[str, str, bool]  # data set, method, whether it is a trial of tuning


class StudyProgress:
    """Follows the work of many threads and tells a listener."""

    def __init__(self, tasks: list[Task], processes: int, notify: Callable[["StudyProgress"], None]) -> None:
        self._remaining, self._processes, self._notify = list(tasks), processes, notify
        self._lock = threading.RLock()
        self.total = len(tasks)
        self.durations: list[tuple[Task, float]] = []
        self.running: dict[str, _RunningTask] = {}

    @property
    def done(self) -> int:
        """The steps that are over, whether they succeeded or not."""
        return self.total - len(self._remaining)

    def start(self, cell: Cell) -> None:
        """Say that a process works on ``cell``."""
        with self._lock:
            self.running[cell.label] = _RunningTask(cell_task(cell))
            self._notify(self)

    def update(self, label: str, note: str) -> None:
        """Say what a running cell is at, such as its second epoch."""
        with self._lock:
            if label in self.running:
                self.running[label].note = note
                self._notify(self)

    def finish(self, cell: Cell) -> None:
        """Say that ``cell`` is over, after some time if it was ever begun."""
        with self._lock:
            running = self.running.pop(cell.label, None)
            if running is not None:
                self.durations.append((running.task, time.monotonic() - running.since_s))
            self._remaining.remove(cell_task(cell))
            self._notify(self)

    def running_notes(self) -> list[tuple[str, str]]:
        """Return what runs now, and what it is at."""
        with self._lock:
            return [(label, running.note) for label, running in self.running.items()]

    def seconds_left(self) -> float | None:
        """Return how long the rest will take; None while nothing is known."""
        with self._lock:
            now_s = time.monotonic()
            started = [(r.task, now_s - r.since_s) for r in self.running.values()]
            return seconds_left(self._remaining, started, self.durations, self._processes)


@dataclass
class _RunningTask:
    task: Task
    since_s: float = field(default_factory=time.monotonic)
    note: str = ""


def cell_task(cell: Cell) -> Task:
    """Return what a cell is to the clock: seeds of one method take equally long."""
    return cell.data, cell.method, cell.trial is not None


def seconds_left(
    remaining: list[Task], started: list[tuple[Task, float]], finished: list[tuple[Task, float]], processes: int
) -> float | None:
    """Return the seconds that are left.

    Args:
        remaining: steps that are not over, those that run included.
        started: steps that run, and for how many seconds.
        finished: steps that are over, and how many seconds each took.
        processes: how many run side by side.
    """
    if not finished:
        return None
    whole = sum(expected_seconds(step, finished) for step in remaining)
    spent = sum(min(seconds, expected_seconds(step, finished)) for step, seconds in started)
    return (whole - spent) / processes


def expected_seconds(task: Task, finished: list[tuple[Task, float]]) -> float:
    """Return how long ``task`` will take, from the likest of those seen."""
    data, method, trial = task
    for alike in (
        [s for (d, m, t), s in finished if (d, m, t) == (data, method, trial)],
        [s for (d, m, _), s in finished if (d, m) == (data, method)],
        [s for (d, _, _), s in finished if d == data],
    ):
        if alike:
            return fmean(alike)
    return fmean([s for _, s in finished])


ProgressListener = Callable[[StudyProgress], None]


class Scheduler:
    """Does cells that are not done yet, and tells how far it is."""

    def __init__(self, cells: Path, processes: int, listener: ProgressListener, *, fresh: bool = False) -> None:
        """Begin.

        Args:
            cells: the folder of the cells.
            processes: how many cells are done side by side.
            listener: told whenever a cell begins, goes on or ends.
            fresh: do cells again that were done by other code than is installed now.
        """
        self._cells, self._processes, self._listener, self._fresh = cells, processes, listener, fresh
        self._workers = WorkerPool(cells, processes)
        self._progress = StudyProgress([], processes, listener)
        self._failed_trainings: dict[str, str] = {}  # trainings that failed in this session, and why

    @contextmanager
    def pool(self, tasks: list[Task]) -> Iterator[ThreadPoolExecutor]:
        """Yield as many threads as there may be processes; an interrupt stops the processes in order.

        Args:
            tasks: what will be done within, for the count and the time left.
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
        """Do a cell unless it is done; return in a line why it could not be.

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

    def _known_failure(self, cell: Cell) -> str | None:
        """Return why a cell cannot be done: its training, or that of one it is made of, was tried in vain."""
        for one in cell.base_cells:
            if one.training_digest in self._failed_trainings:
                return f"{one.method}: {self._failed_trainings[one.training_digest]}"
        return self._failed_trainings.get(cell.training_folder(self._cells).name)

    def search(
        self, entry: GridEntry, dataset: Dataset, tuning: TuningConfig, base_cells: tuple[Cell, ...] = ()
    ) -> SearchResult:
        """Search for the settings of a method on a data set, judged on validation."""

        def score(number: int, values: Values) -> float | None:
            asked = trial_cell(entry, dataset, values, number, tuning.seed, base_cells)
            if self.run(asked, "validation") is not None:
                return None
            result = read_result(asked.folder(self._cells), "validation")
            found: float | None = result["score"][tuning.metric] if result else None
            return found

        return tune(score, entry.space, entry.defaults(), tuning.trials, tuning.seed)


def remove_outdated(folder: Path, training: Path, split: Split) -> None:
    """Remove a cell and a training that were done by other code than is installed now; of the test split the result."""
    result = read_result(folder, split)
    if result is not None and result.get("code") != code_digest():
        if split == "validation":
            shutil.rmtree(folder)
        else:
            result_file(folder, split).unlink()
    if split == "validation" and training_code(training) not in (None, code_digest()):
        shutil.rmtree(training)


def remove_damaged(folder: Path, split: Split) -> None:
    """Remove the result of a cell whose table was cut off or is gone, so that it is asked again; its training stays."""
    try:
        pl.read_parquet_schema(outcomes_file(folder, split))  # its end alone, which a file that was cut off lacks
    except (FileNotFoundError, pl.exceptions.PolarsError):
        result_file(folder, split).unlink(missing_ok=True)


def iter_completed(futures: Iterable["Future[SearchResult]"]) -> Iterator["Future[SearchResult]"]:
    """Yield futures as they end, waiting a second at most at a time: a longer wait may not hear Ctrl-C."""
    left = set(futures)
    while left:
        ended, left = wait(left, timeout=1, return_when=FIRST_COMPLETED)
        yield from ended


def wait_for_all(futures: list["Future[Any]"]) -> list[Any]:
    """Return the results of all futures, in their order; waits as ``iter_completed`` does, until one has failed."""
    left = set(futures)
    while left:
        ended, left = wait(left, timeout=1, return_when=FIRST_EXCEPTION)
        for future in ended:
            future.result()
    return [future.result() for future in futures]
