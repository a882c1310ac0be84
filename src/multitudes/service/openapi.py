"""What ``/openapi.json`` says beside the schemas: an example of every answer, and what each refusal means."""

from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI

from multitudes.service.errors import ERROR_CODES
from multitudes.service.schemas import Refused

Responses = dict[int | str, dict[str, Any]]

_CANDIDATE: Final = {
    "item_id": 112,
    "title": "Film 112",
    "score": 4.5,
    "rank": 1,
    "source": "explicit",
    "interest": 2,
    "interest_name": "Crime",
    "found_by": [1, 2],
}
_INTEREST: Final = {
    "number": 1,
    "kind": "implicit",
    "name": "Drama",
    "share": 0.45,
    "items": ["Film 111", "Film 104"],
    "n_items": 4,
    "age_days": 0.5,
}
_RECOMMENDED: Final = {
    "request_id": "r-1",
    "user_id": "ann",
    "release": "0001",
    "degraded": False,
    "reason": "",
    "candidates": [_CANDIDATE],
    "interests": [_INTEREST],
    "unknown_items": 0,
    "unknown_topics": 0,
    "timings_ms": {"state": 0.3, "wait": 0.1, "people": 0.1, "tower": 0.6, "search": 1.2, "blend": 0.2, "log": 0.1},
}
_MESSAGES: Final = {
    400: "the body is no JSON: expected value; send one JSON object in UTF-8",
    401: "no API key; send the header authorization: Bearer KEY",
    403: "this needs a key of scope write; the key given has read",
    404: "item 7 is not in release 0001; ask for one that is",
    408: "the body did not arrive within 10 s; send it faster",
    413: "the body is larger than 1,048,576 bytes; send less in one request",
    415: "the body is not said to be JSON; send the header content-type: application/json",
    421: "the host of this request is not this machine; call it by 127.0.0.1 or localhost",
    422: "body.n = 100000: input should be less than or equal to 1000",
    429: "12 requests wait and there is no time for another; come again in 1 s",
    500: "the service failed on this request; its journal has the reason under the request_id",
    503: "the store of user states does not answer; come again in 1 s",
}
_EXAMPLES: Final[dict[str, Any]] = {
    "recommend": _RECOMMENDED,
    "batch": {"answers": [_RECOMMENDED]},
    "events": {"new": 1, "repeated": 0, "cut": 0},
    "user": {
        "user_id": "ann",
        "follows": ["Drama"],
        "events": [{"event_id": "e-1", "item_id": 105, "time_s": 1_750_000_000, "action": "view"}],
        "forgotten": False,
    },
    "forgotten": {"user_id": "ann", "known": True},
    "similar": {
        "item_id": 101,
        "release": "0001",
        "candidates": [{"item_id": 102, "title": "Film 102", "score": 0.9, "rank": 1}],
    },
    "releases": {
        "serving": "0001",
        "current": "0001",
        "versions": [
            {
                "version": "0001",
                "serves": True,
                "created_at": "2026-01-01T00:00:00+00:00",
                "method": "joint",
                "counts": {"users": 3, "items": 20, "topics": 2},
            }
        ],
    },
    "health": {"status": "ok", "checks": {"release": "0001"}},
}


def responses(example: str) -> Responses:
    """Return how an endpoint answers: its example, and every refusal."""
    return {200: {"content": _json_example(_EXAMPLES[example])}, **error_responses()}


def error_responses() -> Responses:
    """Return every refusal: a door or a bound may close before any address."""
    return {
        status: {"model": Refused, "description": ERROR_CODES[status], "content": _json_example(_error_example(status))}
        for status in _MESSAGES
    }


def openapi_builder(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return what makes the description of an application; the framework's own, and how a key is sent."""
    plain = app.openapi

    def describe() -> dict[str, Any]:
        description = plain()  # made once, and kept by the application
        scheme = {"type": "http", "scheme": "bearer", "description": "A key made by `multitudes key`."}
        description["components"]["securitySchemes"] = {"key": scheme}
        description["security"] = [{"key": []}]
        return description

    return describe


def _error_example(status: int) -> dict[str, Any]:
    return {"error": {"code": ERROR_CODES[status], "message": _MESSAGES[status]}, "request_id": "r-1"}


def _json_example(example: object) -> dict[str, Any]:
    return {"application/json": {"example": example}}
