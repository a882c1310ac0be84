"""The user states that a request needs. An answer without them is better than none, but never for an erased user."""

from collections.abc import Iterable, Mapping
from time import perf_counter
from typing import NamedTuple

from multitudes.errors import StateError
from multitudes.ids import Id
from multitudes.service.state_guard import GuardedStates
from multitudes.state.protocol import UserState


class StateLookup(NamedTuple):
    """The user states of the users of some requests."""

    users: Mapping[Id, UserState]
    failure: str  # why there are none, or empty
    ms: float

    def of(self, user_id: Id | None) -> UserState | None:
        """Return the state of a user; None for an anonymous one, or if it was not read."""
        return None if user_id is None else self.users.get(user_id)


async def look_up_states(states: GuardedStates, user_ids: Iterable[Id | None], within_s: float) -> StateLookup:
    """Read the states of users in one call; if that fails, only those who asked to be erased have one, an empty one."""
    known = list({user_id: None for user_id in user_ids if user_id is not None})
    start_s = perf_counter()
    found, failure = list[UserState](), ""
    if known:
        try:
            found = await states.read(known, within_s)
        except StateError as error:
            failure = str(error)
            found = [UserState(user_id, erased=True) for user_id in known if states.is_erased(user_id)]
    return StateLookup({state.user_id: state for state in found}, failure, (perf_counter() - start_s) * 1e3)
