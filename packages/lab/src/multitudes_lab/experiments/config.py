"""The settings of a readout, and the metrics that it compares."""

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import Field

from multitudes.config import Config, suggestion
from multitudes.errors import UsageError
from multitudes_lab.experiments.confidence_sequence import TIGHTEST_AT


class Metric(NamedTuple):
    """A sum per user, or a ratio of two sums over the users of an arm if it has a denominator."""

    name: str
    numerator: str
    denominator: str | None = None

    @property
    def terms(self) -> tuple[str, ...]:
        """Return the names of its sums, as column ``metric`` of the outcomes has them."""
        return (self.numerator,) if self.denominator is None else (self.numerator, self.denominator)


def parse_metric(text: str, known: Sequence[str]) -> Metric:
    """Return the metric written as ``saves``, ``saves/sessions`` or ``save rate=saves/sessions``.

    A text that equals a known name is that metric, whatever characters it holds. A term that is not known is a
    UsageError.
    """
    if text in known:
        return Metric(text, text)
    name, equals, ratio = text.partition("=")
    above, slash, below = (term.strip() for term in (ratio if equals else name).partition("/"))
    metric = Metric(name.strip(), above, below if slash else None)
    for term in metric.terms:
        if term not in known:
            within = "" if term == text else f" of --metric '{text}'"
            raise UsageError(f"metric '{term}'{within}: no row of the outcomes has it{suggestion(term, list(known))}")
    return metric


class ReadoutConfig(Config):
    """Settings of a readout; ``multitudes readout --help`` says what each is for."""

    control: str | None = None
    metrics: tuple[str, ...] = ()  # --metric
    planned: dict[str, float] = Field({})  # --ratio
    covariates: tuple[str, ...] = ()  # --covariate
    cuped: bool = True
    winsorise: float | None = Field(None, gt=0.5, lt=1)
    window_days: int | None = Field(None, ge=1)  # --window
    tightest_at: int = Field(TIGHTEST_AT, ge=2)
    keep_negative: bool = False
    memory_limit: str = "1GB"
