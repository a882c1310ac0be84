"""The client: each method is a call of the service, sent again while there is time and it helps."""

import json
import random
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypeVar

from multitudes.client import calls
from multitudes.client.answers import Appended, Recommended, ReleaseState, SimilarItem, UserState
from multitudes.client.calls import Call, Event, Request
from multitudes.client.errors import BusyError, NoAnswerError, error_from_response
from multitudes.errors import UsageError, missing_extra
from multitudes.ids import Id

try:
    import httpx
except ImportError:  # pragma: no cover
    raise missing_extra("httpx", "client") from None

T = TypeVar("T")
_FIRST_PAUSE_S = 0.05  # doubled at each attempt, and drawn between half of it and the whole
_FORGET_S = 60.0  # rewriting the logs takes its time
_MOST_S = 3_600.0  # the longest deadline that the service takes


class Client:
    """Speaks to one service. Threads may share it; use it as a context manager, or call ``close``.

    Every method raises ``CallError`` where the call is wrong, and ``NoAnswerError`` where the service does not answer
    in time; see ``client.failures``.
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
        """Set up; nothing is sent yet.

        Args:
            url: of the service, such as ``http://127.0.0.1:8000``.
            key: an API key, where the service asks for one.
            deadline_s: how long a call may take with all its attempts; the service is told, and degrades to keep it.
            transport: in place of the network.
            clock: a steady clock, in seconds.
            sleep: waits between attempts.

        Raises:
            UsageError: the address is none, the key is none, or the deadline is not within 0 and an hour.
        """
        self._deadline_s, self._clock, self._sleep = _check_deadline(deadline_s), clock, sleep
        headers = {"content-type": "application/json"} | (
            {} if key is None else {"authorization": calls.bearer_header(key)}
        )
        base = _parse_url(url)
        self._url = base.copy_with(userinfo=b"")  # as messages show it: without a password
        self._http = httpx.Client(base_url=base, headers=headers, transport=transport, follow_redirects=False)

    def recommend(self, ask: Request, *, deadline_s: float | None = None) -> Recommended:
        """Recommend to a user, or to somebody described."""
        return self.send(calls.recommend(ask), deadline_s)

    def recommend_batch(self, asks: Sequence[Request], *, deadline_s: float | None = None) -> list[Recommended]:
        """Recommend to several people, all or none; gives way to those who ask for one."""
        return self.send(calls.recommend_batch(asks), deadline_s)

    def events(self, done: Sequence[Event], *, deadline_s: float | None = None) -> Appended:
        """Tell what users did; it is on the disk, and in their next answer, when this returns."""
        return self.send(calls.events(done), deadline_s)

    def user(self, user_id: Id) -> UserState:
        """Return what is kept of a user beside what a release holds."""
        return self.send(calls.user(user_id))

    def follow(self, user_id: Id, follows: Sequence[str]) -> UserState:
        """State which topics a user follows, in place of those before."""
        return self.send(calls.follow(user_id, follows))

    def forget(self, user_id: Id, *, deadline_s: float = _FORGET_S) -> bool:
        """Forget a user entirely; return whether anything was kept of them."""
        return self.send(calls.forget(user_id), deadline_s)

    def similar(self, item_id: Id, *, n: int = 20) -> list[SimilarItem]:
        """Return the neighbours of an item, nearest first."""
        return self.send(calls.similar(item_id, n))

    def releases(self) -> list[ReleaseState]:
        """Return what was published, and which version answers."""
        return self.send(calls.releases())

    def send(self, call: Call[T], deadline_s: float | None = None) -> T:
        """Send a call until it is answered or its time is over.

        Raises:
            UsageError: the call cannot be sent, or ``deadline_s`` is not within 0 and an hour.
            CallError: the call is wrong; it is not sent again.
            NoAnswerError: the last attempt found nobody, or took too long.
            BusyError: the service had no time, also at the last attempt that fitted.
        """
        allowed_s = self._deadline_s if deadline_s is None else _check_deadline(deadline_s)
        content = call.content()
        until_s, pause_s = self._clock() + allowed_s, _FIRST_PAUSE_S
        while True:
            try:
                return self._attempt(call, content, until_s)
            except NoAnswerError as error:
                wait_s = pause_s * random.uniform(0.5, 1.0)
                wait_s = max(wait_s, error.retry_after_s) if isinstance(error, BusyError) else wait_s
                if self._clock() + wait_s >= until_s:
                    raise
                self._sleep(wait_s)
                pause_s *= 2

    def _attempt(self, call: Call[T], content: bytes | None, until_s: float) -> T:
        left_s = max(until_s - self._clock(), 1e-3)  # a sleep may have been longer than it was to be
        headers = {"x-deadline-ms": str(int(left_s * 1e3))}
        request = self._http.build_request(
            call.method, call.path, content=content, params=dict(call.params), headers=headers, timeout=left_s
        )
        try:
            response, body = self._send_streaming(request, until_s)
        except httpx.TimeoutException:
            raise NoAnswerError(f"{self._url}: no answer within {left_s:.3g} s") from None
        except httpx.RequestError as error:
            raise NoAnswerError(f"{self._url}: cannot be reached ({error}); is the service running?") from None
        try:
            record = json.loads(body)
            if response.status_code == 200:
                return call.answer(record)
        except (ValueError, KeyError, TypeError) as error:
            raise NoAnswerError(f"{self._url}: no answer of this service ({error!r})") from None
        raise error_from_response(response.status_code, record, response.headers.get("retry-after"))

    def _send_streaming(self, request: httpx.Request, until_s: float) -> tuple[httpx.Response, bytes]:
        """Return an answer and its body, and wait for none of its pieces when time is over: httpx times each alone."""
        response, parts, late = self._http.send(request, stream=True), list[bytes](), False
        try:
            for part in response.iter_bytes():
                if late:
                    raise httpx.ReadTimeout("the answer goes on after its deadline", request=request)
                parts.append(part)
                late = self._clock() >= until_s
        finally:
            response.close()
        return response, b"".join(parts)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> "Client":
        """Return the client, which is closed at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()


def _check_deadline(deadline_s: float) -> float:
    if not 0 < deadline_s <= _MOST_S:
        raise UsageError(f"deadline_s = {deadline_s}: expected seconds above 0, {_MOST_S:.0f} at most")
    return deadline_s


def _parse_url(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise UsageError(f"url {url!r}: {error}; expected one such as http://127.0.0.1:8000") from None
    if address.scheme not in {"http", "https"} or not address.host:
        raise UsageError(f"url {url!r}: no address of HTTP; expected one such as http://127.0.0.1:8000")
    return address
