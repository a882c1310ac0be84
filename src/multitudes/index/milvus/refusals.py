"""What a failure of the client library means, as one typed line: which server, what was asked, what to do."""

from multitudes.errors import UnavailableError
from multitudes.index.milvus.library import grpc

_NO_COLLECTION, _NOT_LOADED = 100, 101  # the server's codes
_STATES = {
    _NO_COLLECTION: "the collection is gone; publish again, or roll back",
    _NOT_LOADED: "the collection is not loaded; load it, or publish again",
}


class Refused(Exception):  # noqa: N818 (never leaves this package)
    """The server, or the way to it, answered a call with a gRPC status that is not OK."""

    def __init__(self, code: grpc.StatusCode, details: str | None) -> None:
        super().__init__(details or code.name)
        self.code = code


def passing(error: Exception) -> bool:
    """Return whether a failure may be over in a moment: a broken connection, or a collection not served yet."""
    refusal = _refusal(error)
    if refusal is not None:
        return bool(refusal.code == grpc.StatusCode.UNAVAILABLE)
    return getattr(error, "code", None) not in _STATES


def typed(error: Exception, asked: str, timeout_s: float, variable: str) -> UnavailableError:
    """Return the error for a person.

    Args:
        error: what the library raised.
        asked: the server and the request in words.
        timeout_s: the time that it was given.
        variable: the environment variable of the token; its content is never shown.
    """
    refusal = _refusal(error)
    if refusal is None:
        reason = str(getattr(error, "message", error)).splitlines()[0]
        state = _STATES.get(getattr(error, "code", 0))
        return UnavailableError(f"{asked}: {state or f'failed: {reason}; look into the log of the server'}")
    if refusal.code in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}:
        return UnavailableError(f"{asked}: refused; the token in ${variable} is wrong, missing or may not do this")
    if refusal.code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return UnavailableError(f"{asked}: no answer within {timeout_s:g} s; try again, or give more in [index.milvus]")
    if refusal.code == grpc.StatusCode.UNAVAILABLE:
        return UnavailableError(f"{asked}: cannot be reached; start the server, or correct uri in [index.milvus]")
    return UnavailableError(f"{asked}: failed: {str(refusal).splitlines()[0]} ({refusal.code.name})")


def _refusal(error: BaseException | None) -> Refused | None:
    """Return the refusal that an exception of the library stands for."""
    while error is not None and not isinstance(error, Refused):
        # The library raises errors from themselves, upon which only their context tells where they came from.
        error = error.__context__ if error.__cause__ is error else error.__cause__
    return error
