"""The events that every store accepts, and the digest in place of a user's id. Pure functions."""

import hashlib
from collections.abc import Sequence

from multitudes.errors import DataError
from multitudes.ids import INT64_RANGE, Id
from multitudes.state.protocol import Event

SECRET_BYTES = 32
ERASED_PREFIX = "erased:"  # of the digests that replace event_ids
_YEAR_S = 366 * 86_400
_MAX_TEXT = 1_024  # bytes of an id, an event_id, an action or a topic


def validate_events(events: Sequence[Event], now_s: int, skew_s: int) -> tuple[list[Event], list[bool]]:
    """Return the events as a store keeps them, and for each whether its time was in the future and was set to now.

    Raises:
        DataError: an id, an action or a time cannot be stored exactly.
    """
    accepted, clamped = [], []
    for event in events:
        check_text(event.event_id, "event_id")
        check_id(event.user_id, "user_id")
        check_id(event.item_id, "item_id")
        if event.action is not None:
            check_text(event.action, "action")
        if isinstance(event.time_s, bool) or not isinstance(event.time_s, int) or event.time_s < -(2**53):
            raise DataError(f"event {event.event_id!r}: time {event.time_s!r}; expected whole seconds since 1970")
        ahead = event.time_s > now_s + skew_s
        accepted.append(event._replace(time_s=now_s) if ahead else event)
        clamped.append(ahead)
        if event.time_s > now_s + _YEAR_S:
            raise DataError(f"event {event.event_id!r}: time {event.time_s} is years ahead; give seconds since 1970")
    return accepted, clamped


def late_before_s(erased_s: int, now_s: int, skew_s: int) -> int:
    """Return the time before which an event is from before its user's erasure.

    If the clock is behind the erasure, it was set back since, or was ahead then: events of now are new nevertheless.
    """
    return erased_s if now_s >= erased_s else now_s - skew_s


def event_digest(user: bytes, event_id: str, secret: bytes) -> str:
    """Return what a store remembers of an event_id after an erasure; without the store's secret it reveals nothing."""
    digest = hashlib.blake2b(user + event_id.encode(), digest_size=16, key=secret)
    return f"{ERASED_PREFIX}{digest.hexdigest()}"


def user_digest(user_id: Id, secret: bytes) -> bytes:
    """Return the key under which a store keeps a user; without the store's secret it does not reveal the id.

    Raises:
        DataError: the id cannot be stored exactly.
    """
    check_id(user_id, "user_id")
    text = f"i{user_id}" if isinstance(user_id, int) else f"s{user_id}"  # 1 and "1" are different users
    return hashlib.blake2b(text.encode(), digest_size=16, key=secret).digest()


def check_id(value: Id, what: str) -> None:
    """Reject an id that cannot be stored exactly.

    Raises:
        DataError: it is neither an int64 nor a string that UTF-8 can encode.
    """
    if isinstance(value, str):
        check_text(value, what)
    elif isinstance(value, bool) or not isinstance(value, int) or value not in INT64_RANGE:
        raise DataError(f"{what} {value!r}: expected a whole number of 64 bits or a string")


def check_text(value: str, what: str) -> None:
    """Reject a text that cannot be stored exactly.

    Raises:
        DataError: it is not a string, is too long, or has characters that UTF-8 cannot encode.
    """
    if not isinstance(value, str):
        raise DataError(f"{what} {value!r}: expected a string")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise DataError(f"{what} {value!r}: half of a surrogate pair; give text that UTF-8 can encode") from None
    if size > _MAX_TEXT:
        raise DataError(f"{what} of {size:,} bytes; expected at most {_MAX_TEXT:,}")
