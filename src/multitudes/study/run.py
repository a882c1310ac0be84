"""A study from its file to its tables: prepare, tune, train and evaluate what is not done yet, collect."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from multitudes.data.prepared import Split
from multitudes.disk import write_json
from multitudes.errors import UsageError
from multitudes.evaluate.config import allowed_budgets
from multitudes.evaluate.outcomes import write
from multitudes.locks import locked
from multitudes.progress import Progress, silent
from multitudes.study import seal
from multitudes.study.cells import Cell, digest_of
from multitudes.study.code import code_digest
from multitudes.study.config import StudyConfig
from multitudes.study.machine import machine, versions
from multitudes.study.plan import Entry, Source, cell, entries
from multitudes.study.sources import prepared
from multitudes.study.state import Step, step_of
from multitudes.study.tables import Done, outcomes, records
from multitudes.study.tuning import Tuned
from multitudes.study.work import Watch, Work, as_they_end, results
from multitudes.train.pinnersage import embeddings

Key = tuple[str, str]  # data set, method
_TEST = "test"  # where the tables of the opened test split lie


class Ended(NamedTuple):
    """A study that is over: where its tables lie, and what has no result."""

    folder: Path
    record: dict[str, Any]

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The cells that have no result."""
        return [one for one in self.record["cells"] if one["status"] == "failed"]

    @property
    def done(self) -> int:
        """How many cells have a result."""
        return len(self.record["cells"]) - len(self.failed)

    @property
    def notes(self) -> list[str]:
        """What was not done as asked, a line each."""
        notes: list[str] = self.record["notes"]
        return notes

    @property
    def of_other_code(self) -> int:
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
    preparing: Progress = silent,
    watch: Watch = lambda _: None,
) -> Ended:
    """Do what is not done yet of a study, and write its tables.

    Args:
        config: the study.
        out: its folder; made, or gone on with.
        where: names the study's file in errors.
        open_test: then ask the cells about the test split too, and record that; not while one of them has no result.
        fresh: do cells again that were done by other code than is installed now.
        preparing: told how preparation goes.
        watch: told whenever a cell begins, goes on or ends.

    Raises:
        UsageError: the study names what does not exist, or somebody else runs it in this folder.
        DataError: its tables changed, cannot be prepared, or lack the embeddings that a method reads.
        MissingError: no disk space is left.
        KeyboardInterrupt: after Ctrl-C, once the running cells have saved what they have.
    """
    planned = entries(config, where)
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        sources = {}
        for name, data in config.data.items():
            found = prepared(name, data, out / "data" / name, preparing)
            for entry in planned:
                if entry.data == name and entry.reads_embeddings:
                    embeddings(found)  # refused now, and not after hours of the other methods' work
            path = found.path.resolve()
            sources[name] = Source(path, digest_of(path), found.n_items, tuple(found.manifest["warnings"]))
        study = _Study(config, planned, sources, out, Work(out / "cells", config.run.processes, watch, fresh=fresh))
        tuned, done = study.work()
        ended = study.collect("validation", tuned, done, seal.opened(out))
        if not open_test or ended.failed:  # what fails is mended or left out first: that would be a second opening
            return ended
        count = seal.open_test(out, [one.cell for one in done])
        return study.collect("test", tuned, study.ask_again(done, "test"), count)


class _Study:
    """One session of a study: what it needs is fixed at its start; what changes lies in its folder."""

    def __init__(
        self, config: StudyConfig, planned: list[Entry], sources: dict[str, Source], out: Path, work: Work
    ) -> None:
        self._config, self._planned, self._sources, self._out, self._work = config, planned, sources, out, work
        self._cells = out / "cells"
        self._tuned: dict[Key, Tuned] = {}
        self._done: dict[Key, list[Done]] = {}

    def work(self) -> tuple[list[Tuned], list[Done]]:
        """Tune every method on every set, each followed by its seeds; return both in the order of the study."""
        with self._work.pool(self._steps()) as pool:
            for made_of_others in (False, True):
                self._round(pool, [entry for entry in self._planned if bool(entry.over) == made_of_others])
        done = [one for entry in self._planned for one in self._done[entry.data, entry.method]]
        return [self._tuned[entry.data, entry.method] for entry in self._planned], done

    def _round(self, pool: ThreadPoolExecutor, now: list[Entry]) -> None:
        """Search, then train; a cell whose training another one does comes after all of those."""
        searches = {pool.submit(self._search, entry): entry for entry in now}
        cells: dict[Key, list[Cell]] = {}
        begun: dict[str, Cell] = {}  # the first cell of each training
        trained: list[Future[str | None]] = []
        for search in as_they_end(searches):
            entry, tuned = searches[search], search.result()
            self._tuned[entry.data, entry.method] = tuned
            cells[entry.data, entry.method] = [self._cell(entry, tuned, seed) for seed in self._config.seeds]
            first = [one for one in cells[entry.data, entry.method] if begun.setdefault(one.training, one) is one]
            trained += [pool.submit(self._work.do, one, "validation") for one in first]
        errors = dict(zip([one.digest for one in begun.values()], results(trained), strict=True))
        others = [one for group in cells.values() for one in group if begun[one.training] is not one]
        asked = [pool.submit(self._work.do, one, "validation") for one in others]
        errors |= dict(zip([one.digest for one in others], results(asked), strict=True))
        for key, group in cells.items():
            best, trials = self._tuned[key].best, len(self._tuned[key].trials)
            self._done[key] = [Done(one, best, errors[one.digest], trials) for one in group]

    def ask_again(self, done: list[Done], split: Split) -> list[Done]:
        """Ask the same trained cells about another split."""
        with self._work.pool([step_of(one.cell) for one in done]) as pool:
            errors = results([pool.submit(self._work.do, one.cell, split) for one in done])
        return [one._replace(error=error) for one, error in zip(done, errors, strict=True)]

    def collect(self, split: Split, tuned: list[Tuned], done: list[Done], opened: int) -> Ended:
        """Write the tables of a split."""
        folder = self._out if split == "validation" else self._out / _TEST
        folder.mkdir(exist_ok=True)
        record = {
            "name": self._config.name,
            "split": split,
            "opened_test": opened,
            "machine": machine(),
            "versions": versions() | {"code": code_digest()},
            "reference": self._config.compared_with,
            "trained_controls": {m.control_of: name for name, m in self._config.methods.items() if m.control_of},
            "metric": self._config.tuning.metric,
            "notes": self._notes(),
            "cells": records(done, self._cells, split),
            "tuning": [_searched(entry, found) for entry, found in zip(self._planned, tuned, strict=True)],
        }
        write(outcomes(done, self._cells, split, self._config), folder / "outcomes.parquet")
        write_json(folder / "cells.json", record)
        return Ended(folder, record)

    def _notes(self) -> list[str]:
        notes = []
        for name, source in self._sources.items():
            notes += [f"{name}: {warning}" for warning in source.warnings]
            too_long = budgets_note(name, self._config.evaluate.budgets, source.items)
            notes += [too_long] if too_long else []
        return notes

    def _steps(self) -> list[Step]:
        steps: list[Step] = []
        for entry in self._planned:
            steps += [(entry.data, entry.method, True)] * (self._config.tuning.trials if entry.space else 0)
            steps += [(entry.data, entry.method, False)] * len(self._config.seeds)
        return steps

    def _search(self, entry: Entry) -> Tuned:
        over = self._over(entry, self._config.seeds[0])
        return self._work.search(entry, self._sources[entry.data], self._config.tuning, over)

    def _cell(self, entry: Entry, tuned: Tuned, seed: int) -> Cell:
        return cell(entry, self._sources[entry.data], tuned.best, seed, self._over(entry, seed))

    def _over(self, entry: Entry, seed: int) -> tuple[Cell, ...]:
        """Return the cells, of the same seed, that an entry is made of."""
        done = [self._done[entry.data, method] for method in entry.over]
        return tuple(next(one.cell for one in seeds if one.cell.run.seed == seed) for seeds in done)


def budgets_note(data: str, budgets: tuple[int, ...], items: int) -> str | None:
    """Return a line on the budgets that a corpus is too small for; None: it has room for all."""
    asked = allowed_budgets(budgets, items)
    left_out = [n for n in budgets if n not in asked]
    if not left_out:
        return None
    too_long, instead = (" and ".join(map(str, some)) for some in (left_out, asked))
    return f"{data}: {items} items are too few for N = {too_long}, half of them or more; asked: N = {instead}"


def _searched(entry: Entry, found: Tuned) -> dict[str, Any]:
    trials = [{"settings": one.settings, "score": one.score} for one in found.trials]
    return {"data": entry.data, "method": entry.method, "trials": trials, "best": found.best}


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the study's folder: two studies in one would wait for each other's cells."""
    with locked(out / ".lock", wait=False) as mine:
        if not mine:
            raise UsageError(f"{out}: another study runs in this folder; wait for it, or give another --out")
        yield
