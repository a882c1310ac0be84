"""Hyperparameter search spaces: for each method the few settings that matter, each as a range or a list of choices."""

from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from multitudes.config import Config, parse, suggestion
from multitudes.errors import UsageError
from multitudes.nn.methods import COMBINED, FOLLOWED, LINEAR, METHODS, NEIGHBOURS, PINNERSAGE


class Range(Config):
    """Numbers from ``low`` to ``high``; integers if both ends are integers."""

    low: int | float
    high: int | float
    log: bool = Field(False, description="sample uniformly on a log scale")

    @field_validator("high")
    @classmethod
    def _ends_in_order(cls, high: float, info: ValidationInfo) -> float:
        if "low" in info.data and high <= info.data["low"]:
            raise ValueError(f"expected more than low = {info.data['low']}")
        return high

    @field_validator("log")
    @classmethod
    def _logarithm_exists(cls, log: bool, info: ValidationInfo) -> bool:
        if log and info.data.get("low", 1) <= 0:
            raise ValueError("a log scale needs low above 0")
        return log

    @property
    def is_integer(self) -> bool:
        """True for a range of integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def __contains__(self, value: object) -> bool:
        """Return whether the search can propose ``value``."""
        return isinstance(value, (int, float)) and self.low <= value <= self.high


Choices = tuple[Any, ...]
SearchSpace = dict[str, Range | Choices]  # by dotted key: train.learning_rate

_COMMON: SearchSpace = {
    "train.learning_rate": Range(low=3e-4, high=1e-2, log=True),
    "model.dropout": Range(low=0.0, high=0.5),
}
_EXPLICIT: SearchSpace = {"train.explicit_weight": Range(low=0.03, high=1.0, log=True)}
# Methods with a space of their own.
_OWN: dict[str, SearchSpace] = {
    PINNERSAGE: {"model.distance": Range(low=0.5, high=2.0), "model.interests": Range(low=3, high=9)},
    LINEAR: {"model.rank": Range(low=16, high=256, log=True)},  # the fit itself chooses the regularisation
    NEIGHBOURS: {},
    COMBINED: {},
    FOLLOWED: {},
}


def default_space(method: str) -> SearchSpace:
    """Return the default space of ``method``: settings that every method has, and its own loss weight."""
    if method in _OWN:
        return _OWN[method]
    spec = METHODS.get(method, METHODS["single"])
    return _COMMON | (_EXPLICIT if spec.explicit else {})


def parse_space(table: dict[str, Any], where: str, prefix: str = "") -> SearchSpace:
    """Parse ``train.learning_rate = {low = …, high = …}`` and ``model.dropout = [0.1, 0.3]``, at any depth."""
    space: SearchSpace = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, list) and value:
            space[name] = tuple(value)
        elif isinstance(value, dict) and value.keys() & Range.model_fields.keys():
            space[name] = parse(Range, value, f"{where}: {name}")
        elif isinstance(value, dict):
            space |= parse_space(value, where, f"{name}.")
        else:
            raise UsageError(f"{where}: {name} = {value!r}: expected {{low = …, high = …}} or a list of choices")
    return space


def check_defaults(space: SearchSpace, defaults: dict[str, Any], where: str) -> None:
    """Check that the space contains the defaults: the first trial uses them, so tuning never ends below them.

    Raises:
        UsageError: a key is not a setting, or its default is outside the space.
    """
    for key, choice in space.items():
        if key not in defaults:
            raise UsageError(
                f"{where}: the space names '{key}', which is not a setting{suggestion(key, tuple(defaults))}"
            )
        if defaults[key] not in choice:
            raise UsageError(
                f"{where}: {key} = {defaults[key]!r} is outside the search space; widen the space, or set {key} for the"
                " method, which excludes it from tuning"
            )
