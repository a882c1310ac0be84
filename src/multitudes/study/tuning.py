"""The search for settings: trials one after the other, each chosen from the scores of those before it (TPE).

The search itself is not stored: asked again with the same seed and told the same scores it makes the same choices, and
the trials' scores are kept as cells. So a killed search goes on by being repeated, and ends as one that was left alone.

Optuna's TPE: Bergstra et al., *Algorithms for Hyper-Parameter Optimization*, NeurIPS 2011.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from multitudes.study.search_space import Choices, Range

Values = dict[str, Any]  # by dotted key
Objective = Callable[[int, Values], float | None]  # number of the trial from 1, its values; None: it failed

_STARTUP_DIVISOR = 3  # one trial in so many is drawn at random, before there is anything to learn from


class Trial(NamedTuple):
    """One training that was tried."""

    settings: Values
    score: float | None  # None: it failed


class SearchResult(NamedTuple):
    """What a search found."""

    trials: list[Trial]
    best: Values  # empty: nothing was searched, or every trial failed


def tune(
    score: Objective, space: Mapping[str, Range | Choices], defaults: Values, trials: int, seed: int
) -> SearchResult:
    """Search ``space`` for the values with the highest score.

    The first trial is the defaults: what is chosen never scored worse than they did.

    Args:
        score: does a trial.
        space: what is varied, by dotted key.
        defaults: the values of the same keys without tuning, all inside the space.
        trials: how many; the same for every method of a study.
        seed: of the search.
    """
    if trials == 0 or not space:
        return SearchResult([], {})
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(1, trials // _STARTUP_DIVISOR))
    search = optuna.create_study(direction="maximize", sampler=sampler)
    search.enqueue_trial({key: _to_parameter(choice, defaults[key]) for key, choice in space.items()})
    distributions = {key: _distribution(choice) for key, choice in space.items()}
    tried: list[Trial] = []
    for number in range(1, trials + 1):
        asked = search.ask(distributions)
        values = {key: _from_parameter(space[key], asked.params[key]) for key in space}
        found = score(number, values)
        search.tell(
            asked, found, optuna.trial.TrialState.COMPLETE if found is not None else optuna.trial.TrialState.FAIL
        )
        tried.append(Trial(values, found))
    return SearchResult(tried, best_settings(tried))


def best_settings(trials: list[Trial]) -> Values:
    """Return the settings of the best trial, of equals the first; empty where all failed."""
    scored = [(trial.score, trial.settings) for trial in trials if trial.score is not None]
    return max(scored, key=lambda pair: pair[0])[1] if scored else {}


def _distribution(choice: Range | Choices) -> Any:  # noqa: ANN401
    if not isinstance(choice, Range):
        return CategoricalDistribution(range(len(choice)))  # places: a choice may be a list or a table
    kind = IntDistribution if choice.is_integer else FloatDistribution
    return kind(choice.low, choice.high, log=choice.log)  # type: ignore[arg-type]


def _to_parameter(choice: Range | Choices, value: Any) -> Any:  # noqa: ANN401
    """Return ``value`` as the search knows it."""
    return value if isinstance(choice, Range) else choice.index(value)


def _from_parameter(choice: Range | Choices, value: Any) -> Any:  # noqa: ANN401
    return value if isinstance(choice, Range) else choice[value]
