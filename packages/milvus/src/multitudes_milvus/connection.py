"""A connection to a Milvus server: every call has a deadline, and every failure is one ``UnavailableError``.

The client library retries a failed call itself, for up to twice its timeout, reopens the channel meanwhile, and logs a
traceback for each failure. The channel made here raises ``CallFailedError`` instead, which the library does not catch:
only this module decides what is retried, and nothing is retried after the deadline.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc
from pymilvus import MilvusClient, MilvusException

from multitudes.errors import UnavailableError
from multitudes_milvus.config import MilvusConfig

logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # failures are raised, so their tracebacks need no log

T = TypeVar("T")
_NO_COLLECTION, _NOT_LOADED = 100, 101  # the server's codes
_STATE_MESSAGES = {
    _NO_COLLECTION: "the collection is gone; publish again, or roll back",
    _NOT_LOADED: "the collection is not loaded; load it, or publish again",
}
_RATE_LIMITED = 8  # a status of a reply; the library would wait and retry
_PAUSE_S = 0.05  # before the one retry: a new collection may be searched before its node is known
_CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),  # by default a channel pauses for up to two minutes after failures
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # a server that is reached and says nothing has so long to greet
    # A connection that hangs, as behind a firewall that forgot it, is found and opened again.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
]


class CallFailedError(Exception):
    """A call ended with a gRPC status other than OK. It never leaves this module."""

    def __init__(self, code: grpc.StatusCode, details: str | None) -> None:
        super().__init__(details or code.name)
        self.code = code


_deadline: ContextVar[float] = ContextVar("deadline", default=inf)  # of the monotonic clock


@contextmanager
def deadline(timeout_s: float) -> Iterator[None]:
    """Limit the time of all calls in a block; an enclosing deadline that is earlier holds."""
    token = _deadline.set(min(_deadline.get(), time.monotonic() + timeout_s))
    try:
        yield
    finally:
        _deadline.reset(token)


def remaining_s() -> float:
    """Return the seconds until the deadline."""
    return _deadline.get() - time.monotonic()


class _DeadlineInterceptor(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc] # grpc has no types
    """Limits every call to the time until the deadline, and raises ``CallFailedError`` if it fails."""

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:  # noqa: ANN401
        left_s = remaining_s()
        if left_s <= 0:
            raise CallFailedError(grpc.StatusCode.DEADLINE_EXCEEDED, None)
        if left_s < inf:
            client_call_details = client_call_details._replace(timeout=left_s)
        call = continuation(client_call_details, request)
        failure = call.exception()
        if failure is not None:
            raise CallFailedError(call.code(), call.details())
        reply = call.result()
        if getattr(getattr(reply, "status", reply), "code", 0) == _RATE_LIMITED:
            raise CallFailedError(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests")
        return call


class Connection:
    """A connection to one server as one user. It opens on first use, and again in a forked process."""

    def __init__(self, config: MilvusConfig, timeout_s: float | None = None) -> None:
        self.config = config
        self.timeout_s = timeout_s or config.timeout_s
        self._client: MilvusClient | None = None
        self._pid = 0
        self._lock = Lock()

    def call(self, what: str, request: Callable[[MilvusClient], T], *, retry: bool = True) -> T:
        """Return the result of ``request``, within ``timeout_s`` and the enclosing ``deadline``.

        Args:
            what: the request in words, for the error message.
            request: makes the calls.
            retry: once, if it failed before the deadline; only for requests that may be done twice.

        Raises:
            UnavailableError: the server did not answer in time, cannot be reached, or rejects the request.
        """
        with deadline(self.timeout_s):
            for is_last in (False, True):
                try:
                    return request(self._open_client())
                except (MilvusException, grpc.RpcError, CallFailedError) as error:
                    if is_last or not retry or not remaining_s() > _PAUSE_S or not is_transient(error):
                        subject, variable = f"{self.config.uri}: {what}", self.config.token_variable
                        raise unavailable_error(error, subject, self.timeout_s, variable) from None
                time.sleep(_PAUSE_S)
        raise AssertionError("unreachable")

    def _open_client(self) -> MilvusClient:
        with self._lock:
            if self._client is None or self._pid != os.getpid():
                uri, token = self.config.uri, os.environ.get(self.config.token_variable, "")
                # The library keeps the channel, and closes it if the client cannot be made.
                self._client = MilvusClient(uri, token=token, channel=_open_channel(uri), dedicated=True)
                self._pid = os.getpid()
            return self._client

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
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


def is_transient(error: Exception) -> bool:
    """Return whether a retry may succeed: after a broken connection, or for a collection that is not served yet."""
    failed_call = _find_failed_call(error)
    if failed_call is not None:
        return bool(failed_call.code == grpc.StatusCode.UNAVAILABLE)
    return getattr(error, "code", None) not in _STATE_MESSAGES


def unavailable_error(error: Exception, subject: str, timeout_s: float, variable: str) -> UnavailableError:
    """Return the error with cause and remedy; ``subject`` is the server and the request in words.

    It names the ``variable`` of the environment that has the token, and never shows its value.
    """
    failed_call = _find_failed_call(error)
    if failed_call is None:
        reason = str(getattr(error, "message", error)).splitlines()[0]
        state = _STATE_MESSAGES.get(getattr(error, "code", 0))
        return UnavailableError(f"{subject}: {state or f'failed: {reason}; see the log of the server'}")
    code = failed_call.code
    if code in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}:
        return UnavailableError(f"{subject}: rejected; the token in ${variable} is wrong, missing or may not do this")
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        advice = "try again, or give more in [index.options]"
        return UnavailableError(f"{subject}: no answer within {timeout_s:g} s; {advice}")
    if code == grpc.StatusCode.UNAVAILABLE:
        return UnavailableError(
            f"{subject}: cannot be reached; start the server, or correct its address: MILVUS_URI, or uri in"
            " [index.options] to publish"
        )
    return UnavailableError(f"{subject}: failed: {str(failed_call).splitlines()[0]} ({code.name})")


def _find_failed_call(error: BaseException | None) -> CallFailedError | None:
    """Return the failed call that caused an exception of the library."""
    while error is not None and not isinstance(error, CallFailedError):
        # The library raises errors from themselves; then only the context has the cause.
        error = error.__context__ if error.__cause__ is error else error.__cause__
    return error
