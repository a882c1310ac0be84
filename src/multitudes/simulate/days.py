"""The calendar of a world: day 0 is the first with a feed; before it is the past."""

from multitudes.data.planted import START_S
from multitudes.data.times import DAY_S


def day_s(day: int) -> int:
    """Return the second at which a day begins, since 1970."""
    return START_S + day * DAY_S
