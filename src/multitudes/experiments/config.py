"""What an experiment is judged by: a sum over each user's outcomes, or a ratio of two such sums.

How an experiment is read.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import Field

from multitudes.config import Config, suggestion
from multitudes.errors import UsageError
from multitudes.experiments.confidence_sequence import TIGHTEST_AT


class Metric(NamedTuple):
    """A sum per user where there is no denominator, else Σ numerator / Σ denominator over the users of an arm."""

    name: str
    numerator: str
    denominator: str | None = None

    @property
    def terms(self) -> tuple[str, ...]:
        """Return the names that OUTCOMES have of it."""
        return (self.numerator,) if self.denominator is None else (self.numerator, self.denominator)


def parse_metric(text: str, known: Sequence[str]) -> Metric:
    """Return the metric that a person wrote as ``saves``, ``saves/sessions`` or ``save rate=saves/sessions``.

    Args:
        text: what was written; a name that rows have is that metric, whatever signs are in it.
        known: the metrics that rows have.

    Raises:
        UsageError: no row has a part of it.
    """
    if text in known:
        return Metric(text, text)
    name, equals, ratio = text.partition("=")
    above, slash, below = (part.strip() for part in (ratio if equals else name).partition("/"))
    metric = Metric(name.strip(), above, below if slash else None)
    for part in metric.terms:
        if part not in known:
            within = "" if part == text else f" of --metric '{text}'"
            raise UsageError(f"metric '{part}'{within}: no row of the outcomes has it{suggestion(part, list(known))}")
    return metric


class ReadoutConfig(Config):
    """How an experiment is read; each field is an option of ``multitudes readout``."""

    control: str | None = Field(None, description="The arm that others are compared with; default: 'control'.")
    metrics: tuple[str, ...] = Field((), description="NAME, or A/B for a ratio of sums; default: all that rows have.")
    planned: dict[str, float] = Field({}, description="Planned share of each arm, in any unit; default: equal.")
    covariates: tuple[str, ...] = Field((), description="Columns of the exposures, with numbers known before them.")
    cuped: bool = Field(True, description="The same metric before the exposure is a covariate.")
    winsorise: float | None = Field(
        None, gt=0.5, lt=1, description="Sums of a user above this quantile of all users are cut to it."
    )
    window_days: int | None = Field(None, ge=1, description="Count so many days since the exposure, alike for all.")
    tightest_at: int = Field(
        TIGHTEST_AT, ge=2, description="Users, both arms together, at which sequential intervals are tightest."
    )
    keep_negative: bool = Field(False, description="Values below zero count.")
    memory_limit: str = Field("1GB", description="Of the engine; more is spilled to the disk.")
    threads: int = Field(0, ge=0, description="0 takes every core.")
