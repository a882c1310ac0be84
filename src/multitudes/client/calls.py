"""The calls of the service as values: the request to send, and the function that parses the answer. No I/O."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import index
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

from multitudes.api import (
    Event,
    EventsRequest,
    EventsResponse,
    FollowRequest,
    ForgetResponse,
    RecommendBatchRequest,
    RecommendBatchResponse,
    RecommendRequest,
    RecommendResponse,
    ReleasesResponse,
    ReleaseVersion,
    SimilarItem,
    SimilarResponse,
    UserResponse,
)
from multitudes.errors import UsageError
from multitudes.ids import Id
from multitudes.records import from_record, to_body

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call.

    Every call may be repeated: a change carries the id of its event or request, or states the new value in full.
    """

    method: str
    path: str
    parse: Callable[[Any], T]  # from the JSON of the answer
    body: Mapping[str, Any] | None = None
    params: Mapping[str, int] = field(default_factory=dict)

    def content(self) -> bytes | None:
        """Return the body as it is sent.

        Raises:
            UsageError: a value cannot be written as JSON.
        """
        return None if self.body is None else _json(self.body).encode()


def recommend(request: RecommendRequest) -> Call[RecommendResponse]:
    """Recommend to one user."""
    return Call("POST", "/v1/recommend", lambda record: from_record(RecommendResponse, record), _body_with_id(request))


def recommend_batch(requests: Sequence[RecommendRequest]) -> Call[list[RecommendResponse]]:
    """Recommend to several users.

    Raises:
        UsageError: the requests ask for too many candidates together.
    """
    RecommendBatchRequest(requests).check()
    body = {"requests": [_body_with_id(request) for request in requests]}
    return Call(
        "POST",
        "/v1/recommend/batch",
        lambda record: list(from_record(RecommendBatchResponse, record).answers),
        body,
    )


def events(new: Sequence[Event]) -> Call[EventsResponse]:
    """Send what users did."""
    return Call("POST", "/v1/events", lambda record: from_record(EventsResponse, record), to_body(EventsRequest(new)))


def user(user_id: Id) -> Call[UserResponse]:
    """Read the user state."""
    return Call("GET", f"/v1/users/{path_segment(user_id)}", lambda record: from_record(UserResponse, record))


def follow(user_id: Id, followed_topics: Sequence[str]) -> Call[UserResponse]:
    """Set the topics that a user follows."""
    body = to_body(FollowRequest(followed_topics))
    return Call("PUT", f"/v1/users/{path_segment(user_id)}", lambda record: from_record(UserResponse, record), body)


def forget(user_id: Id) -> Call[bool]:
    """Forget a user."""
    path = f"/v1/users/{path_segment(user_id)}"
    return Call("DELETE", path, lambda record: bool(from_record(ForgetResponse, record).known))


def similar(item_id: Id, n: int) -> Call[list[SimilarItem]]:
    """Read the neighbours of an item."""
    path = f"/v1/items/{path_segment(item_id)}/similar"
    return Call("GET", path, lambda record: list(from_record(SimilarResponse, record).candidates), params={"n": n})


def releases() -> Call[list[ReleaseVersion]]:
    """Read the published versions."""
    return Call("GET", "/v1/releases", lambda record: list(from_record(ReleasesResponse, record).versions))


def path_segment(given: Id) -> str:
    """Return the segment of a URL that names an id: its JSON, percent-encoded."""
    return quote(_json(given), safe="")


def bearer_header(key: str) -> str:
    """Return the header of a key; a line break at the end, as files have it, is dropped.

    Raises:
        UsageError: the key has characters that are not allowed.
    """
    if not re.fullmatch(r"[\x21-\x7e]+", key.strip()):  # the message must not show the key
        raise UsageError("key: has characters that are not allowed; expected a key as `multitudes keys add` shows it")
    return f"Bearer {key.strip()}"


def _body_with_id(request: RecommendRequest) -> dict[str, Any]:
    """Return the body of a request with a ``request_id``, so that a repeated call is the same request."""
    return {**to_body(request), "request_id": request.request_id or uuid4().hex}


def _json(given: object) -> str:
    try:
        # The standard library does not accept NumPy's integers; ``index`` converts them.
        text = json.dumps(given, ensure_ascii=False, allow_nan=False, default=index)
        text.encode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"this cannot be sent: {error}; give ids as integers or texts, and finite numbers") from None
    return text
