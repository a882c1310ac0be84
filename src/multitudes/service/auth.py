"""Authentication and authorization: an API key with the right scope; without keys, requests of this machine only."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multitudes.service.access_records import AccessRecords
from multitudes.service.api_keys import ApiKeys, KeyScope, sufficient_scopes
from multitudes.service.errors import ApiError, error_response
from multitudes.service.metrics import Metrics

PUBLIC_PATHS: Final = frozenset({"/healthz", "/readyz"})  # for load balancers, which have no key
EXPLORER_PATH: Final = "/"  # a page without data; a browser asks for the key and sends it with what the page asks for
_PROXY_HEADERS: Final = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"})
_POST_SCOPES: Final[dict[str, KeyScope]] = {
    "/v1/recommend": "recommend",
    "/v1/recommend/batch": "recommend",
    "/v1/vectors": "recommend",
    "/v1/events": "events",
    "/v1/explore": "read",
}


class AuthMiddleware:
    """Answers 401 or 403 to a request without a key of the right scope, and 421 to one of another machine.

    A request with two Host headers gets 400: a proxy may have looked at the other one.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: ApiKeys | None,
        own_hosts: frozenset[str] | None,
        metrics: Metrics,
        records: AccessRecords | None,
        pages: frozenset[str] = frozenset(),
    ) -> None:
        """Wrap ``app``; without keys, none is required, and the paths of ``pages``, which have no data, never need one.

        ``own_hosts`` are the values of the Host header that are accepted; None: all. Without keys, a service on
        loopback accepts its own names only: a page in a browser could otherwise reach it under the page's own name (DNS
        rebinding). It rejects what a proxy has forwarded, since that comes from anybody.
        """
        self._app, self._keys, self._own_hosts = app, keys, own_hosts
        self._metrics, self._records = metrics, records
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an authorized request on; the name of its key, and whether it may read, are in ``scope["state"]``."""
        if scope["type"] != "http" or scope["path"] in PUBLIC_PATHS:
            await self._app(scope, receive, send)
            return
        needed = required_scope(scope["method"], scope["path"])
        if needed == "admin":
            await self._answer_and_audit(scope, receive, send)
        else:
            await self._answer(needed, scope, receive, send)

    async def _answer(self, needed: KeyScope, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            check_host(scope["headers"], self._own_hosts)
            if scope["path"] not in self._pages or scope["method"] != "GET":
                self._check_key(scope, needed)
        except ApiError as error:
            await error_response(error, scope["state"]["request_id"])(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check_key(self, scope: Scope, needed: KeyScope) -> None:
        if self._keys is None:
            return
        given = bearer_token(dict(scope["headers"]))
        if not given:
            self._metrics.rejected_keys.labels("", "missing").inc()
            raise ApiError(401, "no API key; send the header authorization: Bearer KEY")
        key = self._keys.find(given)
        if key is None:
            self._metrics.rejected_keys.labels("", "unknown").inc()
            raise ApiError(401, "this API key is not known; ask who runs the service for one")
        scope["state"].update(key=key.name, may_read=key.allows("read"))
        if key.is_expired:
            self._metrics.rejected_keys.labels(key.name, "expired").inc()
            raise ApiError(401, f"this API key expired on {key.expires}; ask who runs the service for a new one")
        if self._records is not None:
            self._records.record_use(key.name)
        if not key.allows(needed):
            self._metrics.rejected_keys.labels(key.name, "wrong_scope").inc()
            wanted = " or ".join(sufficient_scopes(needed))
            has = ", ".join(sorted(key.scopes))
            raise ApiError(403, f"this needs a key of scope {wanted}; the key given has {has}")

    async def _answer_and_audit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record the request before its answer begins: what was acknowledged is on record, and what failed midway.

        Who has no valid key is not recorded, and so cannot fill the disk.
        """
        has_begun = False

        async def record_and_send(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                if message["status"] not in {400, 401, 421}:
                    await self._record(scope, message["status"])
            await send(message)

        try:
            await self._answer("admin", scope, receive, record_and_send)
        except Exception:
            if not has_begun:  # ``RequestContextMiddleware`` answers
                await self._record(scope, 500)
            raise

    async def _record(self, scope: Scope, status: int) -> None:
        if self._records is not None:
            await asyncio.to_thread(self._records.record_request, scope, status)


def required_scope(method: str, path: str) -> KeyScope:
    """Return the scope that a request needs; unknown paths need one too, so that 404 does not reveal the known ones."""
    if method in {"GET", "HEAD"}:
        return "metrics" if path == "/metrics" else "recommend" if path.startswith("/v1/items/") else "read"
    if method == "DELETE":
        return "admin"
    return _POST_SCOPES.get(path, "write")


def may_read(request: Request) -> bool:
    """Return whether the sender of a request may see what users did: with a key, if it has the scope read."""
    return bool(getattr(request.state, "may_read", True))


def bearer_token(headers: Mapping[bytes, bytes]) -> str:
    """Return the key that a request has; empty: none."""
    scheme, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def check_host(header_list: Sequence[tuple[bytes, bytes]], own_hosts: frozenset[str] | None) -> None:
    """Check that a request names one host, which is in ``own_hosts`` unless that is None.

    Raises:
        ApiError: it does not, or a proxy forwarded it to a service without keys.
    """
    headers = dict(header_list)
    if [name for name, _ in header_list].count(b"host") > 1:
        raise ApiError(400, "two Host headers; send one")
    if own_hosts is not None and _host(headers.get(b"host", b"")) not in own_hosts:
        raise ApiError(421, "the host of this request is not this machine; call it by 127.0.0.1 or localhost")
    if own_hosts is not None and not _PROXY_HEADERS.isdisjoint(headers):
        raise ApiError(
            421, "a proxy forwarded this request to a service without keys; make keys, or set [keys] open = true"
        )


def _host(header: bytes) -> str:
    """Return the host of a Host header without its port."""
    text = header.decode("latin-1").lower()
    return text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]
