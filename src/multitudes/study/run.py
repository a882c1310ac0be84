"""The seal on the test split: ``STUDY/opened.json`` counts how often it was opened, and for which cells.

The same cells asked again are the same opening: an interrupted one goes on, and a finished one shows what it found.

A study from its file to its tables: prepare, tune, train and evaluate what is not done yet, collect.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from multitudes.atomic import write_json
from multitudes.data.prepared import Split
from multitudes.errors import ArtefactError, UsageError
from multitudes.evaluation.config import feasible_budgets
from multitudes.evaluation.outcomes import write_outcomes
from multitudes.locks import lock
from multitudes.pinnersage.run import item_embeddings
from multitudes.progress import Progress, silent
from multitudes.study.cells import Cell, prepared_digest
from multitudes.study.config import StudyConfig
from multitudes.study.grid import Dataset, GridEntry, grid_entries, prepare_dataset, seed_cell
from multitudes.study.provenance import code_digest, machine_info, package_versions
from multitudes.study.results_table import FinishedCell, cell_records, outcomes_table
from multitudes.study.scheduler import ProgressListener, Scheduler, Task, cell_task, iter_completed, wait_for_all
from multitudes.study.tuning import SearchResult


def count_test_accesses(study: Path) -> int:
    """Return how often the test split was opened.

    Raises:
        ArtefactError: the record is damaged, so that nobody knows.
    """
    return len(_read_test_accesses(study))


def record_test_access(study: Path, cells: Iterable[Cell]) -> int:
    """Record that ``cells`` are asked about the test split; return how often it was opened, this time included."""
    text = "\n".join(sorted(cell.digest for cell in cells))
    asked = hashlib.sha256(text.encode()).hexdigest()[:16]
    openings = _read_test_accesses(study)
    if asked not in [opening["cells"] for opening in openings]:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        openings.append({"at": now, "cells": asked})
        write_json(study / "opened.json", {"openings": openings})
    return len(openings)


def _read_test_accesses(study: Path) -> list[dict[str, str]]:
    file = study / "opened.json"
    try:
        openings: list[dict[str, str]] = json.loads(file.read_text(encoding="utf-8"))["openings"]
    except FileNotFoundError:
        return []
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise ArtefactError(
            f"{file}: damaged, so how often the test split was opened is not known; begin a new study in another folder"
        ) from None
    return openings


_Key = tuple[str, str]  # data set, method
_TEST_FOLDER = "test"  # where the tables of the opened test split lie


class StudyResult(NamedTuple):
    """A study that is over: where its tables lie, and what has no result."""

    folder: Path
    record: dict[str, Any]

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The cells that have no result."""
        return [one for one in self.record["cells"] if one["status"] == "failed"]

    @property
    def n_done(self) -> int:
        """How many cells have a result."""
        return len(self.record["cells"]) - len(self.failed)

    @property
    def notes(self) -> list[str]:
        """What was not done as asked, a line each."""
        notes: list[str] = self.record["notes"]
        return notes

    @property
    def n_outdated(self) -> int:
        """How many cells were done by other code than is installed now."""
        now = self.record["versions"]["code"]
        return sum(one["status"] == "done" and one["code"] != now for one in self.record["cells"])


def run_study(
    config: StudyConfig,
    out: Path,
    *,
    where: str = "study",
    open_test: bool = False,
    fresh: bool = False,
    preparation_progress: Progress = silent,
    listener: ProgressListener = lambda _: None,
) -> StudyResult:
    """Do what is not done yet of a study, and write its tables.

    Args:
        config: the study.
        out: its folder; made, or gone on with.
        where: names the study's file in errors.
        open_test: then ask the cells about the test split too, and record that; not while one of them has no result.
        fresh: do cells again that were done by other code than is installed now.
        preparation_progress: told how preparation goes.
        listener: told whenever a cell begins, goes on or ends.

    Raises:
        UsageError: the study names what does not exist, or somebody else runs it in this folder.
        DataError: its tables changed, cannot be prepared, or lack the embeddings that a method reads.
        MissingError: no disk space is left.
        KeyboardInterrupt: after Ctrl-C, once the running cells have saved what they have.
    """
    planned = grid_entries(config, where)
    out.mkdir(parents=True, exist_ok=True)
    with _lock_study(out):
        sources = {}
        for name, data in config.data.items():
            found = prepare_dataset(name, data, out / "data" / name, preparation_progress)
            for entry in planned:
                if entry.data == name and entry.reads_embeddings:
                    item_embeddings(found)  # refused now, and not after hours of the other methods' work
            path = found.path.resolve()
            sources[name] = Dataset(path, prepared_digest(path), found.n_items, tuple(found.manifest["warnings"]))
        study = _StudySession(
            config, planned, sources, out, Scheduler(out / "cells", config.run.processes, listener, fresh=fresh)
        )
        tuned, done = study.run_grid()
        ended = study.write_tables("validation", tuned, done, count_test_accesses(out))
        if not open_test or ended.failed:  # what fails is mended or left out first: that would be a second opening
            return ended
        count = record_test_access(out, [one.cell for one in done])
        return study.write_tables("test", tuned, study.evaluate_again(done, "test"), count)


class _StudySession:
    """One session of a study: what it needs is fixed at its start; what changes lies in its folder."""

    def __init__(
        self, config: StudyConfig, planned: list[GridEntry], sources: dict[str, Dataset], out: Path, work: Scheduler
    ) -> None:
        self._config, self._entries, self._datasets, self._out, self._scheduler = config, planned, sources, out, work
        self._cells = out / "cells"
        self._tuned: dict[_Key, SearchResult] = {}
        self._finished: dict[_Key, list[FinishedCell]] = {}

    def run_grid(self) -> tuple[list[SearchResult], list[FinishedCell]]:
        """Tune every method on every set, each followed by its seeds; return both in the order of the study."""
        with self._scheduler.pool(self._tasks()) as pool:
            for made_of_others in (False, True):
                self._run_round(pool, [entry for entry in self._entries if bool(entry.base_methods) == made_of_others])
        done = [one for entry in self._entries for one in self._finished[entry.data, entry.method]]
        return [self._tuned[entry.data, entry.method] for entry in self._entries], done

    def _run_round(self, pool: ThreadPoolExecutor, now: list[GridEntry]) -> None:
        """Search, then train; a cell whose training another one does comes after all of those."""
        searches = {pool.submit(self._search, entry): entry for entry in now}
        cells: dict[_Key, list[Cell]] = {}
        begun: dict[str, Cell] = {}  # the first cell of each training
        trained: list[Future[str | None]] = []
        for search in iter_completed(searches):
            entry, tuned = searches[search], search.result()
            self._tuned[entry.data, entry.method] = tuned
            cells[entry.data, entry.method] = [self._seed_cell(entry, tuned, seed) for seed in self._config.seeds]
            first = [
                one for one in cells[entry.data, entry.method] if begun.setdefault(one.training_digest, one) is one
            ]
            trained += [pool.submit(self._scheduler.run, one, "validation") for one in first]
        errors = dict(zip([one.digest for one in begun.values()], wait_for_all(trained), strict=True))
        others = [one for group in cells.values() for one in group if begun[one.training_digest] is not one]
        asked = [pool.submit(self._scheduler.run, one, "validation") for one in others]
        errors |= dict(zip([one.digest for one in others], wait_for_all(asked), strict=True))
        for key, group in cells.items():
            best, trials = self._tuned[key].best, len(self._tuned[key].trials)
            self._finished[key] = [FinishedCell(one, best, errors[one.digest], trials) for one in group]

    def evaluate_again(self, done: list[FinishedCell], split: Split) -> list[FinishedCell]:
        """Ask the same trained cells about another split."""
        with self._scheduler.pool([cell_task(one.cell) for one in done]) as pool:
            errors = wait_for_all([pool.submit(self._scheduler.run, one.cell, split) for one in done])
        return [one._replace(error=error) for one, error in zip(done, errors, strict=True)]

    def write_tables(
        self, split: Split, tuned: list[SearchResult], done: list[FinishedCell], opened: int
    ) -> StudyResult:
        """Write the tables of a split."""
        folder = self._out if split == "validation" else self._out / _TEST_FOLDER
        folder.mkdir(exist_ok=True)
        record = {
            "name": self._config.name,
            "split": split,
            "opened_test": opened,
            "machine": machine_info(),
            "versions": package_versions() | {"code": code_digest()},
            "reference": self._config.reference_method,
            "trained_controls": {m.control_of: name for name, m in self._config.methods.items() if m.control_of},
            "metric": self._config.tuning.metric,
            "notes": self._notes(),
            "cells": cell_records(done, self._cells, split),
            "tuning": [_tuning_record(entry, found) for entry, found in zip(self._entries, tuned, strict=True)],
        }
        write_outcomes(outcomes_table(done, self._cells, split, self._config), folder / "outcomes.parquet")
        write_json(folder / "cells.json", record)
        return StudyResult(folder, record)

    def _notes(self) -> list[str]:
        notes = []
        for name, source in self._datasets.items():
            notes += [f"{name}: {warning}" for warning in source.warnings]
            too_long = describe_budgets(name, self._config.evaluate.budgets, source.items)
            notes += [too_long] if too_long else []
        return notes

    def _tasks(self) -> list[Task]:
        steps: list[Task] = []
        for entry in self._entries:
            steps += [(entry.data, entry.method, True)] * (self._config.tuning.trials if entry.space else 0)
            steps += [(entry.data, entry.method, False)] * len(self._config.seeds)
        return steps

    def _search(self, entry: GridEntry) -> SearchResult:
        over = self._base_cells(entry, self._config.seeds[0])
        return self._scheduler.search(entry, self._datasets[entry.data], self._config.tuning, over)

    def _seed_cell(self, entry: GridEntry, tuned: SearchResult, seed: int) -> Cell:
        return seed_cell(entry, self._datasets[entry.data], tuned.best, seed, self._base_cells(entry, seed))

    def _base_cells(self, entry: GridEntry, seed: int) -> tuple[Cell, ...]:
        """Return the cells, of the same seed, that an entry is made of."""
        done = [self._finished[entry.data, method] for method in entry.base_methods]
        return tuple(next(one.cell for one in seeds if one.cell.run.seed == seed) for seeds in done)


def describe_budgets(data: str, budgets: tuple[int, ...], items: int) -> str | None:
    """Return a line on the budgets that a corpus is too small for; None: it has room for all."""
    asked = feasible_budgets(budgets, items)
    left_out = [n for n in budgets if n not in asked]
    if not left_out:
        return None
    too_long, instead = (" and ".join(map(str, some)) for some in (left_out, asked))
    return f"{data}: {items} items are too few for N = {too_long}, half of them or more; asked: N = {instead}"


def _tuning_record(entry: GridEntry, found: SearchResult) -> dict[str, Any]:
    trials = [{"settings": one.settings, "score": one.score} for one in found.trials]
    return {"data": entry.data, "method": entry.method, "trials": trials, "best": found.best}


@contextmanager
def _lock_study(out: Path) -> Iterator[None]:
    """Hold the study's folder: two studies in one would wait for each other's cells."""
    with lock(out / ".lock", wait=False) as mine:
        if not mine:
            raise UsageError(f"{out}: another study runs in this folder; wait for it, or give another --out")
        yield
