"""Moments of an arm: the number of its users, the means of their sums, and the covariances.

Legend: B users · V variables of a metric: the numerator, the denominator (1 if there is none), then the covariates.

All later steps work on moments alone, so a hundred million rows cost as little as ten.
"""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.data.duck import DuckDBEngine

Vector = NDArray[np.float64]


class Moments(NamedTuple):
    """The users of one arm, or of a group within it."""

    n: int  # users
    mean_V: Vector
    covariance_VV: Vector  # over users; zeros for fewer than two


Group = tuple[str | None, str | None]  # arm and cohort; None: all


def group_moments(connection: DuckDBEngine, relation: str, variables: Sequence[str]) -> dict[Group, Moments]:
    """Return the moments of all users, of each arm, and of each cohort of each arm.

    The ``relation`` is SQL of users with arm and cohort. A variable is an SQL expression; null counts as 0.
    """
    size = len(variables)
    columns = ", ".join(f"CAST(coalesce({sql}, 0) AS DOUBLE) AS v{i}" for i, sql in enumerate(variables))
    pairs = list(combinations_with_replacement(range(size), 2))
    means = ", ".join(f"avg(v{i})" for i in range(size))
    # covar_samp is numerically stable: the variance of large numbers that hardly differ keeps its digits.
    covariances = ", ".join(f"coalesce(covar_samp(v{i}, v{j}), 0)" for i, j in pairs)
    moments: dict[Group, Moments] = {}
    for arm, cohort, n, *figures in connection.rows(f"""
        SELECT arm, cohort, count(*), {means}, {covariances} FROM (SELECT arm, cohort, {columns} FROM {relation})
        GROUP BY GROUPING SETS ((), (arm), (arm, cohort))"""):
        mean_V, covariance_VV = np.array(figures[:size], dtype=np.float64), np.empty((size, size))
        for (i, j), covariance in zip(pairs, figures[size:], strict=True):
            covariance_VV[i, j] = covariance_VV[j, i] = covariance
        moments[arm, cohort] = Moments(n, mean_V, covariance_VV)
    return moments
