"""The calendar of a world: day 0 is the first with a feed; before it is the past."""

from multitudes.data.planted import START_S

DAY_S = 86_400


def day_s(day: int) -> int:
    """Return the second at which a day begins, since 1970."""
    return START_S + day * DAY_S
