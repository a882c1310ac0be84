"""Hyperparameter tuning: a TPE search, each trial being a cell scored on the validation split.

The search state is not stored. With the same seed and the same scores a search makes the same choices, and the scores
are stored as cells; so a killed search resumes by being repeated, with the same result.

Optuna's TPE: Bergstra et al., *Algorithms for Hyper-Parameter Optimization*, NeurIPS 2011.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from multitudes.atomic import write_text
from multitudes.config import deep_merge
from multitudes.data.prepared import PreparedData
from multitudes.errors import MultitudesError
from multitudes.evaluation.config import EvaluateConfig
from multitudes.pinnersage.run import item_embeddings
from multitudes.study.cells import Cell, prepared_digest
from multitudes.study.config import SECTIONS, Settings, TuningConfig, flatten, unflatten
from multitudes.study.grid import Dataset, GridEntry, check_search, make_cell
from multitudes.study.scheduler import ProgressListener, Scheduler
from multitudes.study.search_space import Choices, Range, default_space

Values = dict[str, Any]  # by dotted key
Objective = Callable[[int, Values], float | None]  # number of the trial from 1, its values; None: it failed

_STARTUP_DIVISOR = 3  # one trial in so many is drawn at random, before there are scores to learn from


class Trial(NamedTuple):
    """One trial of a search."""

    settings: Values
    score: float | None  # None: it failed


class SearchResult(NamedTuple):
    """The trials of a search and the best settings."""

    trials: list[Trial]
    best: Values  # empty: nothing was searched, or every trial failed


class TuningResult(NamedTuple):
    """The result of ``tune_method``."""

    search: SearchResult
    settings: Settings  # the given settings, overridden by the best ones: model, train, retrieve
    metric: str

    @property
    def scores(self) -> tuple[float | None, float | None]:
        """The score of the given settings, and of the best ones."""
        scores = [trial.score for trial in self.search.trials if trial.score is not None]
        return self.search.trials[0].score, max(scores, default=None)


def tune_method(
    prepared: Path,
    settings: Settings,
    evaluate: EvaluateConfig,
    tuning: TuningConfig,
    cells: Path,
    listener: ProgressListener = lambda _: None,
) -> TuningResult:
    """Tune the settings of one method on the validation split of one data set, starting from the given settings.

    Args:
        prepared: folder of the prepared data.
        settings: method, model, train, retrieve.
        evaluate: evaluation settings of the trials; the split is ignored.
        tuning: number of trials, seed and metric.
        cells: folder of the trials; a killed search resumes from it.
        listener: called whenever a trial starts, progresses or ends.

    Raises:
        UsageError: a setting is not valid or outside the search space.
        DataError: the method reads embeddings, and the items have none.
        MultitudesError: every trial failed.
    """
    data = PreparedData.open(prepared)
    entry = GridEntry(data.path.name, settings["method"], settings, evaluate, default_space(settings["method"]))
    check_search(entry, settings["method"])
    if entry.reads_embeddings:
        item_embeddings(data)
    dataset = Dataset(data.path.resolve(), prepared_digest(data.path), data.n_items)
    scheduler = Scheduler(cells, 1, listener)
    with scheduler.pool([(entry.data, entry.method)] * tuning.trials) as pool:
        search: SearchResult = pool.submit(search_settings, scheduler, entry, dataset, tuning).result()
    if not search.best:
        raise MultitudesError(f"every trial failed; {cells}/*/messages.txt say why")
    return TuningResult(search, deep_merge(settings, unflatten(search.best)), tuning.metric)


def search_settings(
    scheduler: Scheduler, entry: GridEntry, dataset: Dataset, tuning: TuningConfig, base_cells: tuple[Cell, ...] = ()
) -> SearchResult:
    """Tune a method on a data set of a study; the scheduler computes the trials one after the other."""

    def score(number: int, values: Values) -> float | None:
        return scheduler.score(make_cell(entry, dataset, values, tuning.seed, base_cells, number), tuning.metric)

    return tune(score, entry.space, entry.defaults(), tuning.trials, tuning.seed)


def tune(
    score: Objective, space: Mapping[str, Range | Choices], defaults: Values, trials: int, seed: int
) -> SearchResult:
    """Search ``space`` for the values with the highest score.

    The first trial uses the defaults, so the best settings never score below them.

    Args:
        score: computes a trial.
        space: search space by dotted key.
        defaults: the values of the same keys without tuning, all inside the space.
        trials: number of trials.
        seed: of the search.
    """
    if trials == 0 or not space:
        return SearchResult([], {})
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(1, trials // _STARTUP_DIVISOR))
    search = optuna.create_study(direction="maximize", sampler=sampler)
    search.enqueue_trial({key: _to_parameter(choice, defaults[key]) for key, choice in space.items()})
    distributions = {key: _distribution(choice) for key, choice in space.items()}
    results: list[Trial] = []
    for number in range(1, trials + 1):
        trial = search.ask(distributions)
        values = {key: _from_parameter(space[key], trial.params[key]) for key in space}
        value = score(number, values)
        search.tell(
            trial, value, optuna.trial.TrialState.COMPLETE if value is not None else optuna.trial.TrialState.FAIL
        )
        results.append(Trial(values, value))
    return SearchResult(results, best_settings(results))


def best_settings(trials: list[Trial]) -> Values:
    """Return the settings of the best trial, the first one among equals; empty if all failed."""
    scored = [(trial.score, trial.settings) for trial in trials if trial.score is not None]
    return max(scored, key=lambda pair: pair[0])[1] if scored else {}


def _distribution(choice: Range | Choices) -> Any:  # noqa: ANN401
    if not isinstance(choice, Range):
        return CategoricalDistribution(range(len(choice)))  # indices, because a choice may be a list or a table
    kind = IntDistribution if choice.is_integer else FloatDistribution
    return kind(choice.low, choice.high, log=choice.log)  # type: ignore[arg-type]


def _to_parameter(choice: Range | Choices, value: Any) -> Any:  # noqa: ANN401
    """Return ``value`` as Optuna stores it: a number, or the index of a choice."""
    return value if isinstance(choice, Range) else choice.index(value)


def _from_parameter(choice: Range | Choices, value: Any) -> Any:  # noqa: ANN401
    return value if isinstance(choice, Range) else choice[value]


def write_settings(result: TuningResult, file: Path, title: str) -> None:
    """Write the settings atomically as a file for ``multitudes train --config``."""
    before, after = map(format_score, result.scores)
    lines = [f"# {title}", f"# {result.metric} on validation: {before} as given, {after} here", ""]
    for section in SECTIONS:
        # TOML has no null; an absent key takes its default.
        values = {key: value for key, value in flatten(result.settings[section]).items() if value is not None}
        if values:
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""]
    write_text(file, "\n".join(lines))


def format_score(score: float | None) -> str:
    """Return a score with four digits, or that the trial failed."""
    return "failed" if score is None else f"{score:.4f}"
