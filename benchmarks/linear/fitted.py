"""A fit alone, with few imports: its memory is measured."""

from benchmarks.linear import RANK
from multitudes.data.prepared import PreparedData
from multitudes.linear.fit import UNTRIED, fit
from multitudes.linear.history import LinearFit
from multitudes.linear.interactions import interaction_matrix
from multitudes.linear.run import Validation

GIVEN = {"once": UNTRIED, "elsa": LinearFit(model="elsa", normalisation=0.1)}


def fit_factors(prepared: str, name: str) -> float:
    """Fit with given settings or, in the grid, those that validation chooses, and return HR@100."""
    data = PreparedData.open(prepared)
    judge = Validation.sample(data).hit_rate
    matrix = interaction_matrix(data)
    found = fit(matrix, RANK, untried=GIVEN[name]) if name in GIVEN else fit(matrix, RANK, judge)
    return found.hit_rate or judge(found.factors, found.chosen.recency)
