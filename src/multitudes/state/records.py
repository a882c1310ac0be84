"""What a store of user states takes and gives."""

from typing import NamedTuple

from multitudes.ids import Id


class Event(NamedTuple):
    """One thing that a user did.

    ``event_id`` names it among the events of its user: sent again under the same name, it is the same event.
    """

    event_id: str
    user_id: Id
    item_id: Id
    time_s: int  # seconds since 1970; positions, where the data carry order only
    action: str | None = None  # None: the action that a release takes for granted


class Person(NamedTuple):
    """What a store knows of one user; somebody whom it does not know has nothing."""

    user_id: Id
    events: tuple[Event, ...] = ()  # oldest first; at most as many as the store keeps
    follows: tuple[str, ...] | None = None  # None: never stated here, so a release's own are good
    forgotten: bool = False  # asked to be forgotten: what a release still holds of them must not be used


class Appended(NamedTuple):
    """What became of events that were given to a store."""

    new: list[bool]  # in the order given; False: known already, or from before its user was forgotten
    cut: int = 0  # new ones whose time lay in the future and was set to now
