"""Error responses: a code for programs, one line for people, and the id of the request."""

from collections.abc import Mapping
from math import ceil
from typing import Final

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from multitudes.api import TEXT_CHARACTERS, ErrorDetail, ErrorResponse
from multitudes.errors import DataError, UnavailableError, UsageError
from multitudes.service.admission import OverloadError

# The code of each status: what programs compare, and the description in ``/openapi.json``.
ERROR_CODES: Final[dict[int, str]] = {
    400: "malformed",
    401: "no_key",
    403: "wrong_scope",
    404: "not_found",
    405: "wrong_method",
    408: "too_slow",
    413: "too_large",
    415: "no_json",
    421: "wrong_host",
    422: "invalid",
    429: "overloaded",
    500: "defect",
    503: "unavailable",
}
_ROUTING_MESSAGES: Final = {  # of the statuses that Starlette and FastAPI raise by themselves
    400: "the body is not JSON; send one JSON object in UTF-8",
    404: "no such path; /openapi.json lists all paths",
    405: "this path does not accept that method; /openapi.json lists its methods",
}
_UNION_MEMBERS = ("constrained-", "function-")  # how pydantic names a member of a union in the location of an error
_MAX_SHOWN = 80  # characters of a wrong value that a message repeats


class ApiError(Exception):
    """A rejected or failed request. The message is one line: what was given, what was expected, what to do."""

    def __init__(self, status: int, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


# All others are defects, which ``RequestContextMiddleware`` answers.
ANSWERED_ERRORS: Final = (ApiError, RequestValidationError, HTTPException, UsageError, DataError, UnavailableError)


def json_response(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response; dataclasses become objects, tuples lists."""
    return raw_json_response(orjson.dumps(content), status, headers)


def raw_json_response(content: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response of JSON that is written already."""
    return Response(content, status, headers, "application/json")


def error_response(error: ApiError, request_id: str, *, close: bool = False) -> Response:
    """Return the response of an error; ``close``: end the connection, since the body was not read to its end."""
    detail = ErrorDetail(ERROR_CODES[error.status], " ".join(str(error).split()))
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, ceil(error.retry_after_s)))
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if close or error.status in {408, 413}:  # the rest of the body is not read
        headers["connection"] = "close"
    return json_response(ErrorResponse(detail, request_id), error.status, headers)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error that a request can cause; ``RequestContextMiddleware`` answers all others with 500."""

    async def respond(request: Request, error: Exception) -> Response:
        return error_response(to_api_error(error), request.state.request_id)

    for kind in ANSWERED_ERRORS:
        app.add_exception_handler(kind, respond)


def to_api_error(error: Exception) -> ApiError:
    """Return the error response for an error; an unexpected error reveals nothing of the service."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        return _from_validation(error)
    if isinstance(error, HTTPException):
        status = error.status_code
        return ApiError(status if status in ERROR_CODES else 500, _ROUTING_MESSAGES.get(status, str(error.detail)))
    if isinstance(error, (UsageError, DataError)):
        return ApiError(422, str(error))
    if isinstance(error, OverloadError):
        return ApiError(429, str(error), error.retry_after_s)
    if isinstance(error, UnavailableError):
        return ApiError(503, str(error), retry_after_s=1)
    return ApiError(500, "the service failed on this request; its journal has the reason under the request_id")


def _from_validation(error: RequestValidationError) -> ApiError:
    """Return an error that names the first problem."""
    problem = error.errors()[0]
    # In a union, pydantic adds the name of the member to the location; callers do not know these names.
    location = [str(part) for part in problem["loc"]]
    where = ".".join(part for part in location if not part.startswith(_UNION_MEMBERS))
    if problem["type"] == "json_invalid":
        return ApiError(400, f"the body is not JSON: {problem['ctx']['error'].lower()}; send one JSON object in UTF-8")
    if problem["type"] == "extra_forbidden":
        return ApiError(422, f"{where}: no such field; /openapi.json lists those of this request")
    if problem["type"] == "missing":
        return ApiError(422, f"{where}: missing; /openapi.json lists the fields of this request")
    given = ascii(problem["input"])
    shown = given if len(given) <= _MAX_SHOWN else given[: _MAX_SHOWN - 3] + "..."
    message = problem["msg"].removeprefix("Value error, ")
    if location[:2] == ["body", "context"] and len(location) > 3:
        message = (
            f"expected a text of up to {TEXT_CHARACTERS} characters, an int64, a finite number, true, false or null"
        )
    elif any(part.startswith("constrained-") for part in location):
        message = "expected an integer within int64, or a text that is neither empty nor too long"
    return ApiError(422, f"{where} = {shown}: {message[0].lower()}{message[1:]}")
