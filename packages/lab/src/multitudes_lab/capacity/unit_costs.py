"""Unit costs measured on one machine at some sizes; values at other sizes are interpolated or extrapolated."""

import json
from importlib import resources
from itertools import pairwise
from math import exp, log
from pathlib import Path
from typing import Final, Literal, NamedTuple

from pydantic import Field, field_validator

from multitudes.config import Config, parse
from multitudes.errors import UsageError

Basis = Literal["measured", "interpolated", "extrapolated", "assumed"]  # the most certain first
BASES: Final[tuple[Basis, ...]] = ("measured", "interpolated", "extrapolated", "assumed")
_DEFAULT_FILE: Final = "unit_costs.json"
_MAX = 1e15  # a larger number is a mistake
_SIZE_TOLERANCE = 0.01  # a size that differs by at most this share counts as measured


class Estimate(NamedTuple):
    """A value and its basis."""

    value: float
    basis: Basis


class Curve(Config):
    """A quantity that was measured at one or more sizes."""

    unit: str
    by: str = Field(description="what the size counts")
    source: str = Field(description="the benchmark record that it comes from")
    points: tuple[tuple[float, float], ...] = Field(min_length=1, description="size and value, sizes ascending")

    @field_validator("points")
    @classmethod
    def _check_ascending(cls, points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        if any(a[0] >= b[0] for a, b in pairwise(points)) or not all(0 < value <= _MAX for p in points for value in p):
            raise ValueError("expected positive finite values at ascending positive sizes")
        return points

    def at(self, size: float) -> Estimate:
        """Return the value at a size.

        Between two points it follows a power law through both; beyond the last point, one through the last two, or in
        proportion if there is one point. Below the first point it is the value there, which is an upper bound.
        """
        for place, value in self.points:
            if abs(size - place) <= _SIZE_TOLERANCE * place:
                return Estimate(value, "measured")
        first_size, first_value = self.points[0]
        if size < first_size:
            return Estimate(first_value, "extrapolated")
        if len(self.points) == 1:
            return Estimate(first_value * size / first_size, "extrapolated")
        pairs = list(pairwise(self.points))
        (x1, y1), (x2, y2) = next((pair for pair in pairs if pair[1][0] > size), pairs[-1])
        slope = (log(y2) - log(y1)) / (log(x2) - log(x1))
        return Estimate(exp(log(y1) + slope * (log(size) - log(x1))), "interpolated" if size < x2 else "extrapolated")


class UnitCosts(Config):
    """All measured unit costs."""

    machine: str = Field(description="the machine of the measurements")
    width: int = Field(gt=0, description="width of the vectors")
    vectors: int = Field(gt=0, description="vectors of a user")
    history: int = Field(gt=0, description="events of a user in the state store")
    prepare_core_s: Curve
    prepare_mib: Curve
    prepared_mib: Curve
    train_core_s: Curve = Field(description="of one epoch, by the number of training targets")
    train_mib: Curve
    index_core_s: Curve
    index_build_mib: Curve
    index_own_mib: Curve = Field(description="memory of each process that opens the index")
    index_files_mib: Curve = Field(description="files of the index, shared in memory by the processes of a machine")
    search_core_ms: Curve = Field(description="search with all vectors of a user")
    answer_core_ms: Curve = Field(description="an answer of the service")
    bulk_core_ms: Curve = Field(description="one user of recommend --all")
    state_kib: Curve = Field(description="of the state store, by the number of users")


def load_unit_costs(file: Path | None) -> UnitCosts:
    """Read unit costs from a JSON file; None: those of the package. A UsageError if a value is missing or wrong."""
    where = str(file) if file is not None else f"multitudes_lab/capacity/{_DEFAULT_FILE}"
    try:
        found = file or resources.files("multitudes_lab.capacity").joinpath(_DEFAULT_FILE)
        record = json.loads(found.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{where}: no such file; write one with: python -m benchmarks.unit_costs --out FILE") from None
    except (ValueError, OSError) as error:
        raise UsageError(f"{where}: not a JSON file: {error}") from None
    if not isinstance(record, dict):
        raise UsageError(f"{where}: expected one JSON object, as python -m benchmarks.unit_costs writes it")
    return parse(UnitCosts, record, where)
