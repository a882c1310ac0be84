"""Timestamps: how far ahead one may be, and the check that a column holds seconds."""

from multitudes.data.engine import Engine, query_value
from multitudes.data.location import Location
from multitudes.errors import DataError

DAY_S = 86_400
FUTURE_TOLERANCE_S = DAY_S  # clocks and zones differ, so a day ahead is accepted
# As seconds, these medians are after the year 5138; they are recent times in a smaller unit.
UNITS = ((10**17, "nanoseconds", 10**9), (10**14, "microseconds", 10**6), (10**11, "milliseconds", 10**3))


def reject_small_units(engine: Engine, relation: str, file: Location) -> None:
    """Check that the column ``timestamp`` of a relation, read from ``file``, holds seconds.

    Raises:
        DataError: times are in a unit smaller than seconds.
    """
    # An approximate median is enough; an exact one would hold every row in memory.
    middle = query_value(engine, f"SELECT approx_quantile(timestamp, 0.5) FROM {relation}")
    for floor, unit, per_second in UNITS:
        if middle is not None and middle > floor:
            raise DataError(
                f"{file}: column 'timestamp' looks like {unit} (median {middle:.0f}); expected int64 seconds."
                f" Convert with timestamp // {per_second}"
            )
