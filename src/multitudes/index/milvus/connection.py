"""What a failure of the client library means, as one typed line: which server, what was asked, what to do.

One connection to a Milvus server: every request has one deadline, and every failure is one typed line.

The client library repeats a failed call by itself, for up to twice the time that it was given, opens the channel anew
meanwhile, and logs a traceback for each failure. The channel that it gets here raises an exception of ours instead,
which it lets pass: nothing is repeated that this module did not decide to repeat, and nothing beyond the deadline.
"""

import os
import time
from collections.abc import Callable
from contextvars import ContextVar
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import urlsplit

from multitudes.errors import UnavailableError
from multitudes.index.milvus.client_library import MilvusClient, MilvusException, grpc
from multitudes.index.milvus.config import MilvusConfig

_NO_COLLECTION, _NOT_LOADED = 100, 101  # the server's codes
_STATE_MESSAGES = {
    _NO_COLLECTION: "the collection is gone; publish again, or roll back",
    _NOT_LOADED: "the collection is not loaded; load it, or publish again",
}


class CallFailedError(Exception):
    """The server, or the way to it, answered a call with a gRPC status that is not OK."""

    def __init__(self, code: grpc.StatusCode, details: str | None) -> None:
        super().__init__(details or code.name)
        self.code = code


def is_transient(error: Exception) -> bool:
    """Return whether a failure may be over in a moment: a broken connection, or a collection not served yet."""
    refusal = _find_failed_call(error)
    if refusal is not None:
        return bool(refusal.code == grpc.StatusCode.UNAVAILABLE)
    return getattr(error, "code", None) not in _STATE_MESSAGES


def unavailable_error(error: Exception, asked: str, timeout_s: float, variable: str) -> UnavailableError:
    """Return the error for a person.

    Args:
        error: what the library raised.
        asked: the server and the request in words.
        timeout_s: the time that it was given.
        variable: the environment variable of the token; its content is never shown.
    """
    refusal = _find_failed_call(error)
    if refusal is None:
        reason = str(getattr(error, "message", error)).splitlines()[0]
        state = _STATE_MESSAGES.get(getattr(error, "code", 0))
        return UnavailableError(f"{asked}: {state or f'failed: {reason}; look into the log of the server'}")
    if refusal.code in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}:
        return UnavailableError(f"{asked}: refused; the token in ${variable} is wrong, missing or may not do this")
    if refusal.code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return UnavailableError(f"{asked}: no answer within {timeout_s:g} s; try again, or give more in [index.milvus]")
    if refusal.code == grpc.StatusCode.UNAVAILABLE:
        return UnavailableError(f"{asked}: cannot be reached; start the server, or correct uri in [index.milvus]")
    return UnavailableError(f"{asked}: failed: {str(refusal).splitlines()[0]} ({refusal.code.name})")


def _find_failed_call(error: BaseException | None) -> CallFailedError | None:
    """Return the refusal that an exception of the library stands for."""
    while error is not None and not isinstance(error, CallFailedError):
        # The library raises errors from themselves, upon which only their context tells where they came from.
        error = error.__context__ if error.__cause__ is error else error.__cause__
    return error


T = TypeVar("T")
_RATE_LIMITED = 8  # answered with a status, upon which the library would wait and repeat
_PAUSE_S = 0.05  # before the one retry: a new collection's first search may come before its node is known
_CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),  # by default a channel rests for up to two minutes after failures
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


class Deadline:
    """``with within(seconds)``: what is asked inside ends by then, or by the deadline around it if that is sooner."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._end = time.monotonic() + timeout_s

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline."""
        return self._end - time.monotonic()

    def __enter__(self) -> "Deadline":
        around = _current_deadline.get()
        sooner = self if around is None or self._end < around._end else around
        self._before = _current_deadline.set(sooner)
        return sooner

    def __exit__(self, *_: object) -> None:
        _current_deadline.reset(self._before)


_current_deadline: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


class _DeadlineInterceptor(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc] # grpc has no types
    """Gives every call what is left until the deadline, and turns its failure into ``CallFailedError``."""

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:  # noqa: ANN401
        deadline = _current_deadline.get()
        if deadline is not None:
            if deadline.remaining_s <= 0:
                raise CallFailedError(grpc.StatusCode.DEADLINE_EXCEEDED, None)
            client_call_details = client_call_details._replace(timeout=deadline.remaining_s)
        call = continuation(client_call_details, request)
        failure = call.exception()
        if failure is not None:
            raise CallFailedError(call.code(), call.details())
        reply = call.result()
        if getattr(getattr(reply, "status", reply), "code", 0) == _RATE_LIMITED:
            raise CallFailedError(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests")
        return call


class Connection:
    """Talks to one server as one user. Made when first used, and again in a process that was forked."""

    def __init__(self, config: MilvusConfig, timeout_s: float | None = None) -> None:
        self.config = config
        self.timeout_s = timeout_s or config.timeout_s
        self._client: MilvusClient | None = None
        self._pid = 0
        self._opening = Lock()

    def call(self, what: str, request: Callable[[MilvusClient], T], *, again: bool = True) -> T:
        """Return the answer to ``request``, within ``timeout_s`` or what is left of the ``Deadline`` around it.

        Args:
            what: the request in words, for the error.
            request: the calls to make.
            again: repeat once what failed before the deadline; only for what may be done twice.

        Raises:
            UnavailableError: no answer in time, the server cannot be reached, or it refuses.
        """
        with Deadline(self.timeout_s) as limit:
            for last in (False, True):
                try:
                    return request(self._open_client())
                except (MilvusException, grpc.RpcError, CallFailedError) as error:
                    if last or not again or not limit.remaining_s > _PAUSE_S or not is_transient(error):
                        asked = f"{self.config.uri}: {what}"
                        raise unavailable_error(error, asked, limit.timeout_s, self.config.token_variable) from None
                time.sleep(_PAUSE_S)
        raise AssertionError("unreachable")

    def _open_client(self) -> MilvusClient:
        with self._opening:
            if self._client is None or self._pid != os.getpid():
                uri, token = self.config.uri, os.environ.get(self.config.token_variable, "")
                # The library keeps a channel that it is given, and closes it with a client that could not be made.
                self._client = MilvusClient(uri, token=token, channel=_open_channel(uri), dedicated=True)
                self._pid = os.getpid()
            return self._client

    def close(self) -> None:
        """Give the connection back; the next request opens it again."""
        if self._client is not None and self._pid == os.getpid():
            self._client.close()
        self._client = None


def _open_channel(uri: str) -> grpc.Channel:
    parts = urlsplit(uri)
    address = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 19530)}"
    if parts.scheme == "https":
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(), options=_CHANNEL_OPTIONS)
    else:
        channel = grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)
    return grpc.intercept_channel(channel, _DeadlineInterceptor())
