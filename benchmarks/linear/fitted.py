"""A fit alone, with few imports: its memory is measured."""

from benchmarks.linear import RANK
from multitudes.data.prepared import PreparedData
from multitudes.linear.fit import fit
from multitudes.linear.run import Validation


def fit_factors(prepared: str, grid: bool) -> float:
    """Fit, and return HR@100; with given settings, that of all users is not asked."""
    data = PreparedData.open(prepared)
    judge = Validation.sample(data).hit_rate
    found = fit(data, RANK, judge if grid else None)
    return found.hit_rate or judge(found.factors, found.chosen.recency)
