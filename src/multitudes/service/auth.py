"""Who may come in: an API key of the right scope, and where none is asked for, a client that means this machine."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from multitudes.service.api_keys import ApiKeys
from multitudes.service.api_keys import KeyScope as KeyScope
from multitudes.service.errors import ApiError, error_response

PUBLIC_PATHS: Final = frozenset({"/healthz", "/readyz"})  # what a load balancer asks, which has no key
LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def required_scope(method: str, path: str) -> KeyScope:
    """Return the scope that a request needs; what is no address of the service needs one too, and tells nothing."""
    if method in {"GET", "HEAD"} or path.startswith("/v1/recommend"):
        return "read"
    return "admin" if method == "DELETE" else "write"


def AuthMiddleware(app: ASGIApp, keys: ApiKeys | None, own_hosts: frozenset[str] | None) -> ASGIApp:
    """Return the app behind a door.

    Args:
        app: what is behind it.
        keys: who may come in; None: everybody.
        own_hosts: the names that a request may call this service by, or None for any. Without keys on loopback, a page
            in somebody's browser could otherwise reach it under a name of its own.
    """

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PUBLIC_PATHS:
            try:
                _authorize(scope, keys, own_hosts)
            except ApiError as refusal:
                await error_response(refusal, scope["state"]["request_id"])(scope, receive, send)
                return
        await app(scope, receive, send)

    return run


def _authorize(scope: Scope, keys: ApiKeys | None, own_hosts: frozenset[str] | None) -> None:
    headers = dict(scope["headers"])
    if own_hosts is not None and _host(headers.get(b"host", b"")) not in own_hosts:
        raise ApiError(421, "the host of this request is not this machine; call it by 127.0.0.1 or localhost")
    if keys is None:
        return
    kind, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if kind.lower() != "bearer" or not given:
        raise ApiError(401, "no API key; send the header authorization: Bearer KEY")
    key = keys.find(given.strip())
    if key is None:
        raise ApiError(401, "this API key is not known; ask who runs the service for one")
    scope["state"]["key"] = key.name
    needed = required_scope(scope["method"], scope["path"])
    if needed not in key.scopes:
        raise ApiError(403, f"this needs a key of scope {needed}; the key given has {', '.join(sorted(key.scopes))}")


def _host(header: bytes) -> str:
    """Return the name without its port."""
    text = header.decode("latin-1").lower()
    return text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]
