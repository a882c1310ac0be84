"""What is refused, as JSON: a code for programs, one line for people, and the request that it belongs to."""

from collections.abc import Mapping
from math import ceil
from typing import Final

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from multitudes.errors import DataError, UnavailableError, UsageError
from multitudes.service.admission import OverloadError
from multitudes.api import TEXT_CHARACTERS

# What a status means when nobody said more, and the code that programs tell it by.
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
_CHOICE = ("constrained-", "function-")
_MAX_SHOWN = 80  # characters of a wrong value that a message repeats


class ApiError(Exception):
    """A request that is not answered; the message is one line: given, expected, what to do."""

    def __init__(self, status: int, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


def json_response(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response of JSON: dataclasses and tuples are written as they are."""
    return Response(orjson.dumps(content), status, headers, "application/json")


def error_response(refusal: ApiError, request_id: str, *, close: bool = False) -> Response:
    """Return the response that says no; ``close``: the connection ends with it, as where a body was not read whole."""
    record = {"code": ERROR_CODES[refusal.status], "message": " ".join(str(refusal).split())}
    headers = {}
    if refusal.retry_after_s is not None:
        headers["retry-after"] = str(max(1, ceil(refusal.retry_after_s)))
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    if close or refusal.status in {408, 413}:  # the rest of the body is not read
        headers["connection"] = "close"
    return json_response({"error": record, "request_id": request_id}, refusal.status, headers)


def add_error_handlers(app: FastAPI) -> None:
    """Give every error that a request can cause the one shape; any other is a defect, see ``attend``."""

    async def refusal(request: Request, error: Exception) -> Response:
        return error_response(to_api_error(error), request.state.request_id)

    for kind in (ApiError, RequestValidationError, HTTPException, UsageError, DataError, UnavailableError):
        app.add_exception_handler(kind, refusal)


def to_api_error(error: Exception) -> ApiError:
    """Return how an error is answered; one that nobody foresaw tells nothing of the inside."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        return _from_validation(error)
    if isinstance(error, HTTPException):
        return _from_http(error)
    if isinstance(error, (UsageError, DataError)):
        return ApiError(422, str(error))
    if isinstance(error, OverloadError):
        return ApiError(429, str(error), error.retry_after_s)
    if isinstance(error, UnavailableError):
        return ApiError(503, str(error), retry_after_s=1)
    return ApiError(500, "the service failed on this request; its journal has the reason under the request_id")


def _from_http(error: HTTPException) -> ApiError:
    if error.status_code == 404:
        return ApiError(404, "no such address; /openapi.json lists all")
    if error.status_code == 405:
        return ApiError(405, "this address does not take that method; /openapi.json lists all")
    if error.status_code == 400:
        return ApiError(400, "the body is no JSON; send one JSON object in UTF-8")
    return ApiError(error.status_code if error.status_code in ERROR_CODES else 500, str(error.detail))


def _from_validation(error: RequestValidationError) -> ApiError:
    """Name the first thing that is wrong."""
    problem = error.errors()[0]
    # A place within a choice of types is named by pydantic's word for the type, which no caller knows.
    parts = [str(part) for part in problem["loc"]]
    where = ".".join(part for part in parts if not part.startswith(_CHOICE))
    if problem["type"] == "json_invalid":
        return ApiError(400, f"the body is no JSON: {problem['ctx']['error'].lower()}; send one JSON object in UTF-8")
    if problem["type"] == "extra_forbidden":
        return ApiError(422, f"{where}: no such field; /openapi.json lists those of this request")
    if problem["type"] == "missing":
        return ApiError(422, f"{where}: missing; /openapi.json lists the fields of this request")
    given = ascii(problem["input"])
    shown = given if len(given) <= _MAX_SHOWN else given[: _MAX_SHOWN - 3] + "..."
    message = problem["msg"].removeprefix("Value error, ")
    if parts[:2] == ["body", "context"] and len(parts) > 3:
        message = (
            f"expected a text of up to {TEXT_CHARACTERS} characters, an int64, a finite number, true, false or null"
        )
    elif any(part.startswith("constrained-") for part in parts):
        message = "expected an integer within int64, or a text that is neither empty nor too long"
    return ApiError(422, f"{where} = {shown}: {message[0].lower()}{message[1:]}")
