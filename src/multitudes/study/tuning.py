"""Hyperparameter tuning: a TPE search, each trial being a cell scored on the validation split.

The search state is not stored. With the same seed and the same scores a search makes the same choices, and the scores
are stored as cells; so a killed search resumes by being repeated, with the same result.

Optuna's TPE: Bergstra et al., *Algorithms for Hyper-Parameter Optimization*, NeurIPS 2011.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from multitudes.study.search_space import Choices, Range

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


def tune(
    score: Objective, space: Mapping[str, Range | Choices], defaults: Values, trials: int, seed: int
) -> SearchResult:
    """Search ``space`` for the values with the highest score.

    The first trial uses the defaults, all inside the space, so the best settings never score below them.
    """
    if trials == 0 or not space:
        return SearchResult([], {})
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(1, trials // _STARTUP_DIVISOR))
    search = optuna.create_study(direction="maximize", sampler=sampler)
    search.enqueue_trial(
        {
            key: defaults[key] if isinstance(choice, Range) else choice.index(defaults[key])
            for key, choice in space.items()
        }
    )
    distributions = {key: _distribution(choice) for key, choice in space.items()}
    results: list[Trial] = []
    for number in range(1, trials + 1):
        trial = search.ask(distributions)
        drawn = trial.params
        values = {key: drawn[key] if isinstance(one, Range) else one[drawn[key]] for key, one in space.items()}
        value = score(number, values)
        search.tell(
            trial, value, optuna.trial.TrialState.COMPLETE if value is not None else optuna.trial.TrialState.FAIL
        )
        results.append(Trial(values, value))
    scored = [trial for trial in results if trial.score is not None]
    best = max(scored, key=lambda trial: trial.score or 0.0, default=None)  # the first one among equals
    return SearchResult(results, best.settings if best else {})


def _distribution(choice: Range | Choices) -> Any:  # noqa: ANN401
    if not isinstance(choice, Range):
        return CategoricalDistribution(range(len(choice)))  # indices, because a choice may be a list or a table
    kind = IntDistribution if choice.is_integer else FloatDistribution
    return kind(choice.low, choice.high, log=choice.log)  # type: ignore[arg-type]
