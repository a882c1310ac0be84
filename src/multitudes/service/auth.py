"""Authentication and authorization: an API key with the right scope; without keys, requests of this machine only."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from multitudes.service.api_keys import ApiKeys, KeyScope
from multitudes.service.errors import ApiError, error_response

PUBLIC_PATHS: Final = frozenset({"/healthz", "/readyz"})  # for load balancers, which have no key
LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_PROXY_HEADERS: Final = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"})


class AuthMiddleware:
    """Answers 401 or 403 to a request without a key of the right scope, and 421 to one of another machine.

    A request with two Host headers gets 400: a proxy may have looked at the other one.
    """

    def __init__(self, app: ASGIApp, keys: ApiKeys | None, own_hosts: frozenset[str] | None) -> None:
        """Wrap ``app``.

        Args:
            app: the next middleware.
            keys: the keys that are accepted; None: no key is required.
            own_hosts: the values of the Host header that are accepted; None: all. Without keys, a service on loopback
                accepts its own names only: a page in a browser could otherwise reach it under the page's own name (DNS
                rebinding). It rejects what a proxy has forwarded, since that comes from anybody.
        """
        self._app, self._keys, self._own_hosts = app, keys, own_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an authorized request on; the name of its key is in ``scope["state"]``."""
        if scope["type"] == "http" and scope["path"] not in PUBLIC_PATHS:
            try:
                _authorize(scope, self._keys, self._own_hosts)
            except ApiError as error:
                await error_response(error, scope["state"]["request_id"])(scope, receive, send)
                return
        await self._app(scope, receive, send)


def required_scope(method: str, path: str) -> KeyScope:
    """Return the scope that a request needs; unknown paths need one too, so that 404 does not reveal the known ones."""
    if method in {"GET", "HEAD"} or path.startswith("/v1/recommend"):
        return "read"
    return "admin" if method == "DELETE" else "write"


def _authorize(scope: Scope, keys: ApiKeys | None, own_hosts: frozenset[str] | None) -> None:
    headers = dict(scope["headers"])
    if sum(name == b"host" for name, _ in scope["headers"]) > 1:
        raise ApiError(400, "two Host headers; send one")
    if own_hosts is not None and _host(headers.get(b"host", b"")) not in own_hosts:
        raise ApiError(421, "the host of this request is not this machine; call it by 127.0.0.1 or localhost")
    if own_hosts is not None and not _PROXY_HEADERS.isdisjoint(headers):
        raise ApiError(
            421, "a proxy forwarded this request to a service without keys; make keys, or set [keys] open = true"
        )
    if keys is None:
        return
    scheme, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not given:
        raise ApiError(401, "no API key; send the header authorization: Bearer KEY")
    key = keys.find(given.strip())
    if key is None:
        raise ApiError(401, "this API key is not known; ask who runs the service for one")
    scope["state"]["key"] = key.name
    needed = required_scope(scope["method"], scope["path"])
    if needed not in key.scopes:
        raise ApiError(403, f"this needs a key of scope {needed}; the key given has {', '.join(sorted(key.scopes))}")


def _host(header: bytes) -> str:
    """Return the host of a Host header without its port."""
    text = header.decode("latin-1").lower()
    return text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]
