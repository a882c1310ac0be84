"""Timestamps: how far ahead one may be, and the check that a column holds seconds."""

from multitudes.data.engine import Engine
from multitudes.data.location import Location
from multitudes.errors import DataError

DAY_S = 86_400
FUTURE_TOLERANCE_S = DAY_S  # clocks and zones differ, so a day ahead is accepted
# As seconds, times beyond these are after the year 5138; they are recent times in a smaller unit.
UNITS = ((10**17, "nanoseconds", 10**9), (10**14, "microseconds", 10**6), (10**11, "milliseconds", 10**3))


def reject_small_units(engine: Engine, relation: str, file: Location) -> None:
    """Check that the column ``timestamp`` of a relation, read from ``file``, holds seconds.

    Raises:
        DataError: more than half of the times are in a unit smaller than seconds.
    """
    beyond = ", ".join(f"count(*) FILTER (timestamp > {floor})" for floor, _, _ in UNITS)
    times, *counts = engine.rows(f"SELECT count(timestamp), {beyond} FROM {relation}")[0]
    for count, (floor, unit, per_second) in zip(counts, UNITS, strict=True):
        if 2 * count > times:
            raise DataError(
                f"{file}: column 'timestamp' looks like {unit} (most are above {floor:.0e}); expected int64 seconds."
                f" Convert with timestamp // {per_second}"
            )
