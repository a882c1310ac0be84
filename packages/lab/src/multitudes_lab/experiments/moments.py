"""Moments of an arm: the number of its users, the means of their sums, and the covariances.

Legend: B users · V variables of a metric: the numerator, the denominator (1 if there is none), then the covariates.

All later steps work on moments alone, so a hundred million rows cost as little as ten.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.data.duck import DuckDBEngine

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """The users of one arm, or of a group within it.

    Attributes:
        n: number of users.
        mean_V: means over users.
        covariance_VV: sample covariance over users; zeros for fewer than two.
    """

    n: int
    mean_V: Vector
    covariance_VV: Vector


Group = tuple[str | None, str | None]  # arm and cohort; None: all


def user_moments(value_BV: Vector) -> Moments:
    """Return the moments of users whose variables are in memory, an array of shape (B, V)."""
    n_users, n_variables = value_BV.shape
    covariance_VV = np.cov(value_BV, rowvar=False) if n_users > 1 else np.zeros((n_variables, n_variables))
    return Moments(n_users, value_BV.mean(axis=0), np.atleast_2d(covariance_VV))


class Variables(NamedTuple):
    """The columns of a relation of users that are the variables of a metric."""

    outcome: tuple[str, ...]  # sums since the exposure: numerator and denominator, or the numerator alone
    covariates: tuple[str, ...] = ()  # known before the exposure
    caps: Mapping[str, float] = {}  # column → value at which it is winsorised

    def sql(self) -> list[str]:
        """Return an expression for each of the V variables."""
        above, *below = (self._column_sql(column) for column in self.outcome)
        return [above, *(below or ["1.0"]), *(self._column_sql(column) for column in self.covariates)]

    def _column_sql(self, column: str) -> str:
        sql = f"CAST(coalesce({column}, 0) AS DOUBLE)"
        return f"least({sql}, {self.caps[column]!r})" if column in self.caps else sql


def group_moments(connection: DuckDBEngine, relation: str, variables: Variables) -> dict[Group, Moments]:
    """Return the moments of all users, of each arm, and of each cohort of each arm.

    Args:
        connection: the engine.
        relation: SQL of users, with columns arm, cohort and those of the variables.
        variables: the variables.
    """
    names = [f"v{i}" for i in range(len(variables.sql()))]
    columns = ", ".join(f"{sql} AS {name}" for sql, name in zip(variables.sql(), names, strict=True))
    pairs = [(i, j) for i in range(len(names)) for j in range(i, len(names))]
    selected = [f"avg({name}) AS {name}" for name in names]
    # covar_samp is numerically stable: the variance of large numbers that hardly differ keeps its digits.
    selected += [f"coalesce(covar_samp(v{i}, v{j}), 0) AS c{i}_{j}" for i, j in pairs]
    rows = connection.frame(
        f"""
        SELECT arm, cohort, count(*) AS n, {", ".join(selected)} FROM (SELECT arm, cohort, {columns} FROM {relation})
        GROUP BY GROUPING SETS ((), (arm), (arm, cohort))""",
    )
    moments: dict[Group, Moments] = {}
    for row in rows.iter_rows(named=True):
        covariance_VV = np.empty((len(names), len(names)))
        for i, j in pairs:
            covariance_VV[i, j] = covariance_VV[j, i] = row[f"c{i}_{j}"]
        mean_V = np.array([row[name] for name in names], dtype=np.float64)
        moments[row["arm"], row["cohort"]] = Moments(row["n"], mean_V, covariance_VV)
    return moments
