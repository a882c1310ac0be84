"""The work of a study: cells in processes side by side, and searches, each of which is a row of cells."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from multitudes.data.prepared import Split
from multitudes.study.cells import Cell, is_trained, outcomes_file, read_result, result_file
from multitudes.study.children import Children
from multitudes.study.code import code_digest, code_of
from multitudes.study.config import TuningConfig
from multitudes.study.plan import Entry, Source, trial
from multitudes.study.state import Standing, Step
from multitudes.study.tuning import Tuned, Values, tune

Watch = Callable[[Standing], None]


class Work:
    """Does cells that are not done yet, and tells how far it is."""

    def __init__(self, cells: Path, processes: int, watch: Watch, *, fresh: bool = False) -> None:
        """Begin.

        Args:
            cells: the folder of the cells.
            processes: how many cells are done side by side.
            watch: told whenever a cell begins, goes on or ends.
            fresh: do cells again that were done by other code than is installed now.
        """
        self._cells, self._processes, self._watch, self._fresh = cells, processes, watch, fresh
        self._children = Children(cells, processes)
        self._standing = Standing([], processes, watch)
        self._untrained: dict[str, str] = {}  # trainings that failed in this session, and why

    @contextmanager
    def pool(self, steps: list[Step]) -> Iterator[ThreadPoolExecutor]:
        """Yield as many threads as there may be processes; an interrupt stops the processes in order.

        Args:
            steps: what will be done within, for the count and the time left.
        """
        self._standing = Standing(steps, self._processes, self._watch)
        pool = ThreadPoolExecutor(self._processes)
        try:
            yield pool
        except BaseException:
            self._children.stop()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def do(self, cell: Cell, split: Split) -> str | None:
        """Do a cell unless it is done; return in a line why it could not be.

        Raises:
            KeyboardInterrupt: the study is being stopped.
            MissingError: no disk space is left, for any cell.
        """
        error, folder, training = None, cell.folder(self._cells), cell.training_folder(self._cells)
        if self._fresh:
            forget_other_code(folder, training, split)
        forget_damaged(folder, split)
        if read_result(folder, split) is None:
            error = self._cannot(cell)
            if error is None:
                self._standing.begin(cell)
                error = self._children.run(cell, split, self._standing.report)
            if error is not None and not is_trained(training):
                self._untrained[training.name] = error
        self._standing.end(cell)
        return error

    def _cannot(self, cell: Cell) -> str | None:
        """Return why a cell cannot be done: its training, or that of one it is made of, was tried in vain."""
        for one in cell.over:
            if one.training in self._untrained:
                return f"{one.method}: {self._untrained[one.training]}"
        return self._untrained.get(cell.training_folder(self._cells).name)

    def search(self, entry: Entry, source: Source, tuning: TuningConfig, over: tuple[Cell, ...] = ()) -> Tuned:
        """Search for the settings of a method on a data set, judged on validation."""

        def score(number: int, values: Values) -> float | None:
            asked = trial(entry, source, values, number, tuning.seed, over)
            if self.do(asked, "validation") is not None:
                return None
            result = read_result(asked.folder(self._cells), "validation")
            found: float | None = result["score"][tuning.metric] if result else None
            return found

        return tune(score, entry.space, entry.defaults(), tuning.trials, tuning.seed)


def forget_other_code(folder: Path, training: Path, split: Split) -> None:
    """Remove a cell and a training that were done by other code than is installed now; of the test split the result."""
    result = read_result(folder, split)
    if result is not None and result.get("code") != code_digest():
        if split == "validation":
            shutil.rmtree(folder)
        else:
            result_file(folder, split).unlink()
    if split == "validation" and code_of(training) not in (None, code_digest()):
        shutil.rmtree(training)


def forget_damaged(folder: Path, split: Split) -> None:
    """Remove the result of a cell whose table was cut off or is gone, so that it is asked again; its training stays."""
    try:
        pl.read_parquet_schema(outcomes_file(folder, split))  # its end alone, which a file that was cut off lacks
    except (FileNotFoundError, pl.exceptions.PolarsError):
        result_file(folder, split).unlink(missing_ok=True)


def as_they_end(futures: Iterable["Future[Tuned]"]) -> Iterator["Future[Tuned]"]:
    """Yield futures as they end, waiting a second at most at a time: a longer wait may not hear Ctrl-C."""
    left = set(futures)
    while left:
        ended, left = wait(left, timeout=1, return_when=FIRST_COMPLETED)
        yield from ended


def results(futures: list["Future[Any]"]) -> list[Any]:
    """Return the results of all futures, in their order; waits as ``as_they_end`` does, until one has failed."""
    left = set(futures)
    while left:
        ended, left = wait(left, timeout=1, return_when=FIRST_EXCEPTION)
        for future in ended:
            future.result()
    return [future.result() for future in futures]
