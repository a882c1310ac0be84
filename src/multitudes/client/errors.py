"""The errors of a call to the service.

::

    UsageError
    └── CallError          the call is wrong; status and code say how
        ├── AuthError      no key, or one without the scope
        └── NotFoundError  the item does not exist
    UnavailableError
    └── NoAnswerError      no answer, or not in time
        └── BusyError      the service has no time; ``retry_after_s`` says when to retry
"""

from multitudes.errors import UnavailableError, UsageError


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


def error_from_response(status: int, record: object, retry_after: str | None) -> CallError | NoAnswerError:
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
