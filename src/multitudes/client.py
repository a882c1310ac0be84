"""A typed client of the service: each method is one call, which is retried until its deadline if that can help.

Every call may be repeated: a change carries the id of its event or request, or states the new value in full. Of the
library the client needs ids, errors and the schema (``multitudes.api``) alone. Its errors are::

    UsageError
    └── CallError          the call is wrong; status and code say how
        ├── AuthError      no key, or one without the scope
        └── NotFoundError  the item does not exist
    UnavailableError
    └── NoAnswerError      no answer, or not in time
        └── BusyError      the service has no time; ``retry_after_s`` says when to retry
"""

import json
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from operator import index
from types import TracebackType
from typing import Any, TypeVar
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
    VectorsResponse,
)
from multitudes.errors import UnavailableError, UsageError, missing_extra
from multitudes.ids import Id
from multitudes.records import from_record, to_body

try:
    import httpx
except ImportError:  # pragma: no cover
    raise missing_extra("httpx", "client") from None

__all__ = [
    "AuthError",
    "BusyError",
    "CallError",
    "Client",
    "Event",
    "NoAnswerError",
    "NotFoundError",
    "RecommendRequest",
]
T = TypeVar("T")
_FIRST_PAUSE_S = 0.05  # doubled at each attempt; each pause is drawn between half of it and all of it
_FORGET_S = 60.0  # the service rewrites its logs
_MAX_DEADLINE_S = 3_600.0  # the longest that the service accepts


class CallError(UsageError):
    """The service rejected the call; the message is that of the service."""

    def __init__(self, message: str, status: int, code: str, request_id: str) -> None:
        super().__init__(message)
        self.status, self.code, self.request_id = status, code, request_id


class AuthError(CallError):
    """The service requires a key, or a key with another scope."""


class NotFoundError(CallError):
    """The subject of the call does not exist."""


class NoAnswerError(UnavailableError):
    """The service does not answer, or not in time."""


class BusyError(NoAnswerError):
    """The service has no time, or cannot do its work now."""

    def __init__(self, message: str, retry_after_s: float, request_id: str) -> None:
        super().__init__(message)
        self.retry_after_s, self.request_id = retry_after_s, request_id


class Client(AbstractContextManager["Client"]):
    """A client of one service. Threads may share it; use it as a context manager, or call ``close``.

    Every method raises ``UsageError`` if the call cannot be sent, ``CallError`` if the service rejects it, and
    ``NoAnswerError`` if there is no answer in time; see ``multitudes.client``.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        deadline_s: float = 2.0,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Create a client; it connects on the first call.

        Args:
            url: of the service, such as ``http://127.0.0.1:8000``.
            key: an API key, if the service requires one.
            deadline_s: seconds that a call may take with all its attempts; the service reads it
                from a header, and degrades an answer rather than send it late.
            transport: replaces the network, for tests.
            clock: a steady clock, in seconds.
            sleep: waits between attempts.

        Raises:
            UsageError: ``url`` or ``key`` is invalid, or ``deadline_s`` is not above 0 and at most an hour.
        """
        self._deadline_s, self._clock, self._sleep = _check_deadline(deadline_s), clock, sleep
        headers = {"content-type": "application/json"}
        if key is not None:
            headers["authorization"] = bearer_header(key)
        base = _parse_url(url)
        self._url = base.copy_with(userinfo=b"")  # for messages: without the password
        self._http = httpx.Client(base_url=base, headers=headers, transport=transport, follow_redirects=False)

    def recommend(self, request: RecommendRequest, *, deadline_s: float | None = None) -> RecommendResponse:
        """Return candidates for the user of a request, within ``deadline_s`` seconds; None: as the client was told."""
        return self._send("POST", "/v1/recommend", RecommendResponse, _body_with_id(request), deadline_s)

    def recommend_batch(
        self, requests: Sequence[RecommendRequest], *, deadline_s: float | None = None
    ) -> list[RecommendResponse]:
        """Return candidates for several users, for all or none; single requests take precedence in the service.

        Args:
            requests: up to ``multitudes.api.MAX_BATCH``, for up to ``MAX_BATCH_CANDIDATES`` candidates together.
            deadline_s: seconds with all attempts; None: that of the client.

        Returns:
            One answer for each request, in order.

        Raises:
            UsageError: the requests ask for too many candidates together.
        """
        RecommendBatchRequest(requests).check()
        body = {"requests": [_body_with_id(request) for request in requests]}
        return list(self._send("POST", "/v1/recommend/batch", RecommendBatchResponse, body, deadline_s).answers)

    def vectors(self, request: RecommendRequest, *, deadline_s: float | None = None) -> VectorsResponse:
        """Return the vectors of a user, for a search in a vector store with the item vectors of the release.

        Args:
            request: as for ``recommend``, which makes the list of what was ``found``.
            deadline_s: seconds with all attempts; None: that of the client.
        """
        return self._send("POST", "/v1/vectors", VectorsResponse, _body_with_id(request), deadline_s)

    def events(self, new: Sequence[Event], *, deadline_s: float | None = None) -> EventsResponse:
        """Send new events within ``deadline_s`` seconds; when this returns, they are on disk and in the next answers.

        Returns:
            How many events were new, how many were sent before and are ignored, and which items the release does not
            know.
        """
        return self._send("POST", "/v1/events", EventsResponse, to_body(EventsRequest(new)), deadline_s)

    def user(self, user_id: Id) -> UserResponse:
        """Return the user state: what the service stored of a user in addition to the release."""
        return self._send("GET", _user_path(user_id), UserResponse)

    def follow(self, user_id: Id, followed_topics: Sequence[str]) -> UserResponse:
        """Replace the topics that a user follows by ``followed_topics``, and return the user state."""
        return self._send("PUT", _user_path(user_id), UserResponse, to_body(FollowRequest(followed_topics)))

    def forget(self, user_id: Id, *, deadline_s: float = _FORGET_S) -> bool:
        """Erase a user within ``deadline_s`` seconds; return whether the service held anything of them."""
        return self._send("DELETE", _user_path(user_id), ForgetResponse, deadline_s=deadline_s).known

    def similar(self, item_id: Id, *, n: int = 20) -> list[SimilarItem]:
        """Return the ``n`` neighbours of an item, nearest first."""
        path = f"/v1/items/{path_segment(item_id)}/similar?n={n}"
        return list(self._send("GET", path, SimilarResponse).candidates)

    def releases(self) -> list[ReleaseVersion]:
        """Return the published versions; one of them serves."""
        return list(self._send("GET", "/v1/releases", ReleasesResponse).versions)

    def _send(
        self,
        method: str,
        path: str,
        kind: type[T],
        body: Mapping[str, Any] | None = None,
        deadline_s: float | None = None,
    ) -> T:
        """Send a call, and again until it is answered with a ``kind`` or its deadline has passed."""
        time_limit_s = self._deadline_s if deadline_s is None else _check_deadline(deadline_s)
        content = None if body is None else _to_json(body).encode()
        until_s, pause_s = self._clock() + time_limit_s, _FIRST_PAUSE_S
        while True:
            try:
                return self._attempt(method, path, kind, content, until_s)
            except NoAnswerError as error:
                wait_s = pause_s * random.uniform(0.5, 1.0)
                wait_s = max(wait_s, error.retry_after_s) if isinstance(error, BusyError) else wait_s
                if self._clock() + wait_s >= until_s:
                    raise
                self._sleep(wait_s)
                pause_s *= 2

    def _attempt(self, method: str, path: str, kind: type[T], content: bytes | None, until_s: float) -> T:
        left_s = max(until_s - self._clock(), 1e-3)  # a sleep may take longer than requested
        headers = {"x-deadline-ms": str(int(left_s * 1e3))}
        request = self._http.build_request(method, path, content=content, headers=headers, timeout=left_s)
        try:
            response, answer = self._read_until(request, until_s)
        except httpx.TimeoutException:
            raise NoAnswerError(f"{self._url}: no answer within {left_s:.3g} s") from None
        except httpx.RequestError as error:
            raise NoAnswerError(f"{self._url}: cannot be reached ({error}); is the service running?") from None
        try:
            record = json.loads(answer)
            if response.status_code == 200:
                return from_record(kind, record)
        except (ValueError, KeyError, TypeError) as error:
            raise NoAnswerError(
                f"{self._url}: the answer is not one of this service ({error!r}); is the URL right?"
            ) from None
        raise _response_error(response.status_code, record, response.headers.get("retry-after"))

    def _read_until(self, request: httpx.Request, until_s: float) -> tuple[httpx.Response, bytes]:
        """Send a request and read the answer, at most until the deadline; httpx limits only the time of each chunk."""
        response, chunks, late = self._http.send(request, stream=True), list[bytes](), False
        try:
            for chunk in response.iter_bytes():
                if late:
                    raise httpx.ReadTimeout("the answer goes on after its deadline", request=request)
                chunks.append(chunk)
                late = self._clock() >= until_s
        finally:
            response.close()
        return response, b"".join(chunks)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()


def _body_with_id(request: RecommendRequest) -> dict[str, Any]:
    """Return the body of a request with a ``request_id``, so that a repeated call is the same request."""
    return {**to_body(request), "request_id": request.request_id or uuid4().hex}


def _user_path(user_id: Id) -> str:
    return f"/v1/users/{path_segment(user_id)}"


def _check_deadline(deadline_s: float) -> float:
    if not 0 < deadline_s <= _MAX_DEADLINE_S:
        raise UsageError(f"deadline_s = {deadline_s}: expected seconds above 0, {_MAX_DEADLINE_S:.0f} at most")
    return deadline_s


def _parse_url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, TypeError) as error:
        raise UsageError(f"url {text!r}: {error}; expected one such as http://127.0.0.1:8000") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise UsageError(f"url {text!r}: not an HTTP URL; expected one such as http://127.0.0.1:8000")
    return url


def _response_error(status: int, record: object, retry_after: str | None) -> CallError | NoAnswerError:
    """Return the error that a response with a status other than 200 stands for; its JSON may be anything."""
    error = record.get("error") if isinstance(record, dict) else None
    if not isinstance(record, dict) or not isinstance(error, dict):
        return NoAnswerError(f"something other than the service answered, with status {status}; is the URL right?")
    message, code, request_id = str(error.get("message")), str(error.get("code")), str(record.get("request_id"))
    if status in {429, 503}:
        seconds = float(retry_after) if retry_after is not None and retry_after.isdigit() else 1.0
        return BusyError(message, seconds, request_id)
    if status >= 500:
        return NoAnswerError(f"{message} (request {request_id})")
    kind = {401: AuthError, 403: AuthError, 404: NotFoundError}.get(status, CallError)
    return kind(message, status, code, request_id)


def path_segment(given: Id) -> str:
    """Return the segment of a URL that names an id: its JSON, percent-encoded."""
    return quote(_to_json(given), safe="")


def bearer_header(key: str) -> str:
    """Return the header of a key; a line break at the end, as files have it, is dropped.

    Raises:
        UsageError: the key has characters that are not allowed.
    """
    if not re.fullmatch(r"[\x21-\x7e]+", key.strip()):  # the message must not show the key
        raise UsageError("key: has characters that are not allowed; expected a key as `multitudes keys add` shows it")
    return f"Bearer {key.strip()}"


def _to_json(given: object) -> str:
    """Return a value as JSON; NumPy's integers, which the standard library rejects, are integers."""
    try:
        text = json.dumps(given, ensure_ascii=False, allow_nan=False, default=index)
        text.encode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"this cannot be sent: {error}; give ids as integers or texts, and finite numbers") from None
    return text
