"""What an experiment is judged by: a sum over each user's outcomes, or a ratio of two such sums."""

from collections.abc import Sequence
from typing import NamedTuple

from multitudes.config import nearest
from multitudes.errors import UsageError


class Metric(NamedTuple):
    """A sum per user where there is no denominator, else Σ numerator / Σ denominator over the users of an arm."""

    name: str
    numerator: str
    denominator: str | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the names that OUTCOMES have of it."""
        return (self.numerator,) if self.denominator is None else (self.numerator, self.denominator)


def parse(text: str, known: Sequence[str]) -> Metric:
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
    for part in metric.parts:
        if part not in known:
            within = "" if part == text else f" of --metric '{text}'"
            raise UsageError(f"metric '{part}'{within}: no row of the outcomes has it{nearest(part, list(known))}")
    return metric
