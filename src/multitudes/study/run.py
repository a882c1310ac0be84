"""Run a study from its file to its tables: prepare, tune, train and evaluate what has no result yet.

Each access to the test set is recorded in ``STUDY/opened.json``, with a digest of the evaluated cells. Evaluating the
same cells again is the same access: an interrupted one resumes, and a finished one returns its results.
"""

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
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
from multitudes.run_record import data_digest
from multitudes.study.cells import Cell, read_result
from multitudes.study.comparison import CELLS_FILE, OUTCOMES_FILE
from multitudes.study.config import Settings, StudyConfig
from multitudes.study.grid import Dataset, GridEntry, grid_entries, make_cell, prepare_dataset
from multitudes.study.provenance import code_digest, machine_info, package_versions
from multitudes.study.results_table import FinishedCell, cell_record, outcomes_table
from multitudes.study.scheduler import Scheduler, results
from multitudes.study.tuning import SearchResult, tune

_Key = tuple[str, str]  # data set, method
_TEST_FOLDER = "test"  # of the tables of the test split


class StudyResult(NamedTuple):
    """A finished study."""

    folder: Path  # of its tables
    record: dict[str, Any]  # the content of cells.json

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The records of cells without a result."""
        return [cell for cell in self.record["cells"] if cell["status"] == "failed"]

    @property
    def n_done(self) -> int:
        """The number of cells with a result."""
        return len(self.record["cells"]) - len(self.failed)

    @property
    def n_outdated(self) -> int:
        """The number of cells that other code than the installed one computed."""
        now = self.record["versions"]["code"]
        return sum(cell["status"] == "done" and cell["code"] != now for cell in self.record["cells"])


def run_study(
    config: StudyConfig,
    out: Path,
    *,
    where: str = "study",
    open_test: bool = False,
    fresh: bool = False,
    progress: Progress = silent,
) -> StudyResult:
    """Compute the cells of a study that have no result yet, and write its tables into ``out``, created or resumed.

    ``open_test`` evaluates on the test set too and records the access, provided that every cell has a result; the
    tables of that split are then returned, otherwise those of validation. ``fresh`` recomputes cells that other code
    than the installed one computed. ``where`` begins error texts: the study file.

    Raises:
        UsageError: the study refers to something that does not exist, or another study runs in this folder.
        DataError: its tables changed, cannot be prepared, or lack the embeddings that a method reads.
        MissingError: no disk space is left.
        KeyboardInterrupt: after Ctrl-C, once the running workers have saved their checkpoints.
    """
    entries = grid_entries(config, where)
    out.mkdir(parents=True, exist_ok=True)
    with lock(out / ".lock", wait=False) as acquired:
        if not acquired:  # two studies in one folder would wait for each other's cells
            raise UsageError(f"{out}: another study runs in this folder; wait for it, or give another --out")
        datasets = {}
        for name, data in config.data.items():
            prepared = prepare_dataset(name, data, out / "data" / name, progress)
            for entry in entries:
                if entry.data == name and entry.reads_embeddings:
                    item_embeddings(prepared)  # raises now if there are none, and not after hours of other work
            path, warnings = prepared.path.resolve(), tuple(prepared.manifest["warnings"])
            datasets[name] = Dataset(path, data_digest(prepared), prepared.n_items, warnings)
        scheduler = Scheduler(out / "cells", config.run.processes, progress, fresh=fresh)
        session = _StudySession(config, entries, datasets, out, scheduler)
        cells = session.run_grid()
        result = session.write_tables("validation", cells, len(read_test_accesses(out)))
        # Cells that fail are repaired or removed first: evaluating them later would be a second access.
        if not open_test or result.failed:
            return result
        count = record_test_access(out, [one.cell for one in cells])
        return session.write_tables("test", session.evaluate_test(cells), count)


@dataclass
class _StudySession:
    """One call of ``run_study``, after the data sets are prepared."""

    config: StudyConfig
    entries: list[GridEntry]
    datasets: dict[str, Dataset]
    out: Path
    scheduler: Scheduler
    searches: dict[_Key, SearchResult] = field(default_factory=dict)
    finished: dict[_Key, list[FinishedCell]] = field(default_factory=dict)

    def run_grid(self) -> list[FinishedCell]:
        """Tune every method on every data set, then run its seeds; return the cells in the order of the study."""
        trials = self.config.tuning.trials
        count = sum((trials if one.space else 0) + len(self.config.seeds_of(one.data)) for one in self.entries)
        with self.scheduler.pool(count) as pool:
            for has_base in (False, True):  # methods that are built on others come second
                self._run_round(pool, [entry for entry in self.entries if bool(entry.base_methods) == has_base])
        return [one for entry in self.entries for one in self.finished[entry.data, entry.method]]

    def _run_round(self, pool: ThreadPoolExecutor, entries: list[GridEntry]) -> None:
        """Tune, then run the cells: first one cell of each training, then the cells that share a training."""
        searches = {pool.submit(self._search, entry): entry for entry in entries}
        cells: dict[_Key, list[Cell]] = {}
        first: dict[str, Cell] = {}  # by digest of the training
        first_futures: list[Future[str | None]] = []
        for future in as_completed(searches):
            entry, search = searches[future], future.result()
            key = entry.data, entry.method
            self.searches[key] = search
            cells[key] = [
                make_cell(entry, self.datasets[entry.data], search.best, seed, self._base_cells(entry, seed))
                for seed in self.config.seeds_of(entry.data)
            ]
            new = [cell for cell in cells[key] if first.setdefault(cell.training_digest, cell) is cell]
            first_futures += [pool.submit(self.scheduler.run, cell, "validation") for cell in new]
        errors = dict(zip([cell.digest for cell in first.values()], results(first_futures), strict=True))
        others = [cell for group in cells.values() for cell in group if first[cell.training_digest] is not cell]
        futures = [pool.submit(self.scheduler.run, cell, "validation") for cell in others]
        errors |= dict(zip([cell.digest for cell in others], results(futures), strict=True))
        for key, group in cells.items():
            best, trials = self.searches[key].best, len(self.searches[key].trials)
            self.finished[key] = [FinishedCell(cell, best, errors[cell.digest], trials) for cell in group]

    def evaluate_test(self, cells: list[FinishedCell]) -> list[FinishedCell]:
        """Evaluate trained cells on the test split."""
        with self.scheduler.pool(len(cells)) as pool:
            errors = results([pool.submit(self.scheduler.run, one.cell, "test") for one in cells])
        return [one._replace(error=error) for one, error in zip(cells, errors, strict=True)]

    def write_tables(self, split: Split, cells: list[FinishedCell], test_accesses: int) -> StudyResult:
        """Write the tables of a split."""
        folder = self.out if split == "validation" else self.out / _TEST_FOLDER
        folder.mkdir(exist_ok=True)
        record = {
            "name": self.config.name,
            "split": split,
            "opened_test": test_accesses,
            "machine": machine_info(),
            "versions": package_versions() | {"code": code_digest()},
            "reference": self.config.reference_method,
            "trained_controls": {m.control_of: name for name, m in self.config.methods.items() if m.control_of},
            "metric": self.config.tuning.metric,
            "notes": self._notes(),
            "cells": [cell_record(one, self.out / "cells", split) for one in cells],
            "tuning": [
                {"data": entry.data, "method": entry.method, "trials": [t._asdict() for t in trials], "best": best}
                for entry, (trials, best) in ((one, self.searches[one.data, one.method]) for one in self.entries)
            ],
        }
        write_outcomes(outcomes_table(cells, self.out / "cells", split), folder / OUTCOMES_FILE)
        write_json(folder / CELLS_FILE, record)
        return StudyResult(folder, record)

    def _notes(self) -> list[str]:
        notes = []
        for name, dataset in self.datasets.items():
            notes += [f"{name}: {warning}" for warning in dataset.warnings]
            budgets = describe_budgets(name, self.config.evaluate.budgets, dataset.items)
            notes += [budgets] if budgets else []
        return notes

    def _search(self, entry: GridEntry) -> SearchResult:
        """Tune a method on a data set; each trial is a cell, and one trial follows the other."""
        tuning, dataset = self.config.tuning, self.datasets[entry.data]
        base_cells = self._base_cells(entry, self.config.seeds_of(entry.data)[0])

        def score(number: int, values: Settings) -> float | None:
            cell = make_cell(entry, dataset, values, tuning.seed, base_cells, number)
            failed = self.scheduler.run(cell, "validation") is not None
            result = None if failed else read_result(cell.folder(self.out / "cells"), "validation")
            return result["score"][tuning.metric] if result else None

        return tune(score, entry.space, entry.defaults(), tuning.trials, tuning.seed)

    def _base_cells(self, entry: GridEntry, seed: int) -> tuple[Cell, ...]:
        """Return the cells of the same seed that an entry is built on."""
        finished = [self.finished[entry.data, method] for method in entry.base_methods]
        return tuple(next(one.cell for one in cells if one.cell.run.seed == seed) for cells in finished)


def describe_budgets(data: str, budgets: tuple[int, ...], items: int) -> str | None:
    """Return a warning about the budgets that are too large for a corpus; None: all are feasible."""
    used = feasible_budgets(budgets, items)
    too_large = [n for n in budgets if n not in used]
    if not too_large:
        return None
    left_out, instead = (" and ".join(map(str, group)) for group in (too_large, used))
    return f"{data}: {items} items are too few for N = {left_out}, half of them or more; evaluated: N = {instead}"


def record_test_access(study: Path, cells: Iterable[Cell]) -> int:
    """Record that ``cells`` are evaluated on the test set; return the number of accesses, including this one."""
    text = "\n".join(sorted(cell.digest for cell in cells))
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    accesses = read_test_accesses(study)
    if digest not in [access["cells"] for access in accesses]:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        accesses.append({"at": now, "cells": digest})
        write_json(study / "opened.json", {"openings": accesses})
    return len(accesses)


def read_test_accesses(study: Path) -> list[dict[str, str]]:
    """Return when and with which cells the test set was accessed.

    Raises:
        ArtefactError: the record is damaged, so the number is unknown.
    """
    file = study / "opened.json"
    try:
        accesses: list[dict[str, str]] = json.loads(file.read_text(encoding="utf-8"))["openings"]
    except FileNotFoundError:
        return []
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise ArtefactError(
            f"{file}: damaged, so the number of test set accesses is unknown; start a new study in another folder"
        ) from None
    return accesses
