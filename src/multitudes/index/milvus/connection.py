"""One connection to a Milvus server: every request has one deadline, and every failure is one typed line.

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

from multitudes.index.milvus.config import MilvusConfig
from multitudes.index.milvus.library import MilvusClient, MilvusException, grpc
from multitudes.index.milvus.refusals import Refused, passing, typed

T = TypeVar("T")
_RATE_LIMITED = 8  # answered with a status, upon which the library would wait and repeat
_PAUSE_S = 0.05  # before the one retry: a new collection's first search may come before its node is known
_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),  # by default a channel rests for up to two minutes after failures
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


class within:  # noqa: N801 (reads as a word of the with statement)
    """``with within(seconds)``: what is asked inside ends by then, or by the deadline around it if that is sooner."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._end = time.monotonic() + timeout_s

    @property
    def left_s(self) -> float:
        """Seconds until the deadline."""
        return self._end - time.monotonic()

    def __enter__(self) -> "within":
        around = _deadline.get()
        sooner = self if around is None or self._end < around._end else around
        self._before = _deadline.set(sooner)
        return sooner

    def __exit__(self, *_: object) -> None:
        _deadline.reset(self._before)


_deadline: ContextVar[within | None] = ContextVar("deadline", default=None)


class _Deadlines(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc] # grpc has no types
    """Gives every call what is left until the deadline, and turns its failure into ``Refused``."""

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:  # noqa: ANN401
        deadline = _deadline.get()
        if deadline is not None:
            if deadline.left_s <= 0:
                raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, None)
            client_call_details = client_call_details._replace(timeout=deadline.left_s)
        call = continuation(client_call_details, request)
        failure = call.exception()
        if failure is not None:
            raise Refused(call.code(), call.details())
        reply = call.result()
        if getattr(getattr(reply, "status", reply), "code", 0) == _RATE_LIMITED:
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests")
        return call


class Connection:
    """Talks to one server as one user. Made when first used, and again in a process that was forked."""

    def __init__(self, config: MilvusConfig, timeout_s: float | None = None) -> None:
        self.config = config
        self.timeout_s = timeout_s or config.timeout_s
        self._client: MilvusClient | None = None
        self._pid = 0
        self._opening = Lock()

    def ask(self, what: str, request: Callable[[MilvusClient], T], *, again: bool = True) -> T:
        """Return the answer to ``request``, within ``timeout_s`` or what is left of the ``within`` around it.

        Args:
            what: the request in words, for the error.
            request: the calls to make.
            again: repeat once what failed before the deadline; only for what may be done twice.

        Raises:
            UnavailableError: no answer in time, the server cannot be reached, or it refuses.
        """
        with within(self.timeout_s) as limit:
            for last in (False, True):
                try:
                    return request(self._connected())
                except (MilvusException, grpc.RpcError, Refused) as error:
                    if last or not again or not limit.left_s > _PAUSE_S or not passing(error):
                        asked = f"{self.config.uri}: {what}"
                        raise typed(error, asked, limit.timeout_s, self.config.token_variable) from None
                time.sleep(_PAUSE_S)
        raise AssertionError("unreachable")

    def _connected(self) -> MilvusClient:
        with self._opening:
            if self._client is None or self._pid != os.getpid():
                uri, token = self.config.uri, os.environ.get(self.config.token_variable, "")
                # The library keeps a channel that it is given, and closes it with a client that could not be made.
                self._client = MilvusClient(uri, token=token, channel=_channel(uri), dedicated=True)
                self._pid = os.getpid()
            return self._client

    def close(self) -> None:
        """Give the connection back; the next request opens it again."""
        if self._client is not None and self._pid == os.getpid():
            self._client.close()
        self._client = None


def _channel(uri: str) -> grpc.Channel:
    parts = urlsplit(uri)
    address = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 19530)}"
    if parts.scheme == "https":
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(), options=_CHANNEL)
    else:
        channel = grpc.insecure_channel(address, options=_CHANNEL)
    return grpc.intercept_channel(channel, _Deadlines())
