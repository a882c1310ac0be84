"""The calls of the service as values: what is sent, and how the answer is read. Nothing is sent here."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import index
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

from multitudes.client.answers import Appended, Recommended, ReleaseState, SimilarItem, UserState, from_record
from multitudes.errors import UsageError
from multitudes.ids import Id, reject_text

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call. All of them may be sent again: what changes something is told by an id, or says how it is to be."""

    method: str
    path: str
    answer: Callable[[Any], T]
    body: Mapping[str, Any] | None = None
    params: Mapping[str, int] = field(default_factory=dict)

    def content(self) -> bytes | None:
        """Return the body as it is sent.

        Raises:
            UsageError: it holds what JSON cannot.
        """
        return None if self.body is None else _json(self.body).encode()


@dataclass(frozen=True)
class Request:
    """For whom, and how: a user, or somebody described by a history and follows. None: as the service has it."""

    user_id: Id | None = None
    history: Sequence[Id] | None = None
    follows: Sequence[str] | None = None
    n: int | None = None
    exclude: Sequence[Id] = ()
    mute_topics: Sequence[str] = ()
    boost_topics: Sequence[str] = ()
    mute_interests: Sequence[int] = ()
    boost_interests: Sequence[int] = ()
    context: Mapping[str, str | int | float | bool | None] | None = None
    request_id: str | None = None

    def body(self) -> dict[str, Any]:
        """Return what is sent. A request gets its name here, so that one that is sent again is the same."""
        wishes = ("exclude", "mute_topics", "boost_topics", "mute_interests", "boost_interests")
        given = {name: value for name, value in vars(self).items() if value is not None}
        record: dict[str, Any] = {name: to_list(name, given[name]) for name in wishes if len(given[name])}
        record |= {name: given[name] for name in ("user_id", "n") if name in given}
        record |= {name: to_list(name, given[name]) for name in ("history", "follows") if name in given}
        record |= {"context": dict(self.context)} if self.context else {}
        return record | {"request_id": self.request_id or uuid4().hex}


@dataclass(frozen=True)
class Event:
    """Something that a user did with an item."""

    user_id: Id
    item_id: Id
    action: str | None = None  # None: the default one of the data
    time_s: int | None = None  # None: when it arrives
    request_id: str | None = None  # of the answer that brought the item
    event_id: str = field(default_factory=lambda: uuid4().hex)  # the same one again is ignored

    def body(self) -> dict[str, Any]:
        """Return what is sent."""
        return {name: value for name, value in vars(self).items() if value is not None}


def recommend(ask: Request) -> Call[Recommended]:
    """Recommend to one person."""
    return Call("POST", "/v1/recommend", Recommended.of, ask.body())


def recommend_batch(asks: Sequence[Request]) -> Call[list[Recommended]]:
    """Recommend to several people."""
    body = {"requests": [ask.body() for ask in asks]}
    return Call("POST", "/v1/recommend/batch", lambda record: [Recommended.of(one) for one in record["answers"]], body)


def events(done: Sequence[Event]) -> Call[Appended]:
    """Tell what users did."""
    body = {"events": [event.body() for event in done]}
    return Call("POST", "/v1/events", lambda record: from_record(Appended, record), body)


def user(user_id: Id) -> Call[UserState]:
    """Ask what is kept of a user."""
    return Call("GET", f"/v1/users/{path_segment(user_id)}", UserState.of)


def follow(user_id: Id, follows: Sequence[str]) -> Call[UserState]:
    """State what a user follows."""
    return Call("PUT", f"/v1/users/{path_segment(user_id)}", UserState.of, {"follows": to_list("follows", follows)})


def forget(user_id: Id) -> Call[bool]:
    """Forget a user."""
    return Call("DELETE", f"/v1/users/{path_segment(user_id)}", lambda record: bool(record["known"]))


def similar(item_id: Id, n: int) -> Call[list[SimilarItem]]:
    """Ask for the neighbours of an item."""
    path = f"/v1/items/{path_segment(item_id)}/similar"
    return Call(
        "GET", path, lambda record: [from_record(SimilarItem, one) for one in record["candidates"]], params={"n": n}
    )


def releases() -> Call[list[ReleaseState]]:
    """Ask what was published."""
    return Call("GET", "/v1/releases", lambda record: [from_record(ReleaseState, one) for one in record["versions"]])


def path_segment(given: Id) -> str:
    """Return the segment of an address that names an id: its JSON, percent-encoded."""
    return quote(_json(given), safe="")


def bearer_header(key: str) -> str:
    """Return the header of a key; the line break at the end of a file is none of it.

    Raises:
        UsageError: no key can be so.
    """
    if not re.fullmatch(r"[\x21-\x7e]+", key.strip()):  # and no message shows what was given
        raise UsageError("key: holds what no key has; expected one as `multitudes key` shows it")
    return f"Bearer {key.strip()}"


def to_list(name: str, given: Sequence[Any]) -> list[Any]:
    """Return a list.

    Raises:
        UsageError: a text is given.
    """
    reject_text(name, given)
    return list(given)


def _json(given: object) -> str:
    try:
        # Integers of NumPy, which are none to the standard library, are sent as what they are.
        text = json.dumps(given, ensure_ascii=False, allow_nan=False, default=index)
        text.encode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"this cannot be sent: {error}; give ids as integers or texts, and finite numbers") from None
    return text
