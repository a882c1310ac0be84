"""``/openapi.json`` beyond the schemas: an example of every answer, and the meaning of every error."""

from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI

from multitudes import api
from multitudes.records import to_record
from multitudes.service.admission import OVERLOADED
from multitudes.service.api_keys import sufficient_scopes
from multitudes.service.auth import PUBLIC_PATHS, required_scope
from multitudes.service.errors import ERROR_CODES
from multitudes.service.schemas import answer_model

Responses = dict[int | str, dict[str, Any]]

INTRODUCTION: Final = """
Requests and answers are JSON in UTF-8. Where the service has keys, the header `authorization: Bearer KEY` holds one of
the scope that the path needs; without keys it answers its own machine alone.

Ids are those of the data: 1 and "1" are different. In a path an id is its JSON, percent-encoded: `/v1/users/42`,
`/v1/users/%2242%22`; a text that is no integer and has no quote at its start may stand bare: `/v1/users/ann`.

An error is one line: what was given, what was expected, what to do. `request_id`, here and in the header
`x-request-id`, names the request in the journal of the service. After 429 and 503, `retry-after` says when to come
again.
"""
_MESSAGES: Final = {
    400: "the body is not JSON: expected value; send one JSON object in UTF-8",
    401: "no API key; send the header authorization: Bearer KEY",
    403: "this needs a key of scope events or write; the key given has recommend",
    404: "item 7 is not in release 0001; ask for one that is",
    408: "the body did not arrive within 10 s; send it faster",
    413: "the body is larger than 1,048,576 bytes; send less in one request",
    415: "the content type is not JSON; send the header content-type: application/json",
    421: "the host of this request is not this machine; call it by 127.0.0.1 or localhost",
    422: "body.n = 100000: input should be less than or equal to 1000",
    429: OVERLOADED,
    500: "the service failed on this request; its journal has the reason under the request_id",
    503: "the store of user states gave no answer within 50 ms",
}
_RECOMMENDATION: Final = api.RecommendResponse(
    request_id="r-1",
    user_id="ann",
    release="0001",
    degraded=False,
    reason="",
    candidates=(
        api.Candidate(112, "Film 112", 4.5, 1, "explicit", 2, "Crime", (1, 2), (api.HistoryItem(111, "Film 111"),)),
    ),
    interests=(api.Interest(1, "implicit", "Drama", 0.45, ("Film 111", "Film 104"), 4, 0.5),),
    unknown_items=(),
    unknown_topics=("Comedyy",),
    timings_ms={"state": 0.3, "wait": 0.1, "users": 0.1, "tower": 0.6, "search": 1.2, "blend": 0.2, "log": 0.1},
)
_VERSION: Final = api.ReleaseVersion(
    version="0001",
    serves=True,
    counts={"users": 3, "items": 20, "topics": 2},
    created_at="2026-01-01T00:00:00+00:00",
    method="joint",
)
_QUERY: Final = api.VectorQuery(2, "explicit", "Crime", 0.1, 20, (0.25, -0.5))
_PLACE: Final = api.MapItem(112, "Film 112", 0.25, 0.5, 9)
_EXAMPLES: Final[dict[type[Any], Any]] = {
    type(example): example
    for example in (
        _RECOMMENDATION,
        api.RecommendBatchResponse((_RECOMMENDATION,)),
        api.VectorsResponse("r-1", "ann", "0001", "", (_QUERY,), 120, (101, 105), ("Drama",)),
        api.EventsResponse(new=1, repeated=0, cut=0, unknown_items=(999,)),
        api.UserResponse(
            user_id="ann",
            followed_topics=("Drama",),
            events=(api.StoredEvent("e-1", 105, 1_750_000_000, "view"),),
            forgotten=False,
        ),
        api.ForgetResponse(user_id="ann", known=True),
        api.SimilarResponse(101, "0001", (api.SimilarItem(102, "Film 102", 0.9, 1),)),
        api.ReleasesResponse("0001", "0001", (_VERSION,)),
        api.HealthResponse("ok", {"release": "0001"}),
        api.ExploreMapResponse(
            "0001", "joint", 3, 20, True, ("Drama", "Crime"), (_PLACE,), (api.MapRegion("Drama", 0.5, 0.5),), 0.4
        ),
        api.ExploreItemsResponse((_PLACE,)),
        api.ExploreReleasesResponse("0003", ("0002", "0001"), "0002"),
        api.ExploreUsersResponse(("ann", "bob")),
        api.ExploreResponse(
            user_id="ann",
            release="0001",
            reason="",
            followed_topics=("Drama",),
            history=(api.ExploredEvent(_PLACE, 1_750_000_000, 1, False),),
            interests=_RECOMMENDATION.interests,
            candidates=_RECOMMENDATION.candidates,
            map=(_PLACE,),
            one_vector=_RECOMMENDATION.candidates,
            rows=(api.Row("Crime", "explicit", 2, _RECOMMENDATION.candidates),),
        ),
    )
}


def answers_with(kind: type[Any]) -> dict[str, Any]:
    """Return what describes an endpoint that answers with a ``kind``: its model, an example, and every error."""
    example: Responses = {200: {"content": _json_example(to_record(_EXAMPLES[kind]))}}
    return {"response_model": answer_model(kind), "responses": example | error_responses()}


def error_responses() -> Responses:
    """Return every error: the middlewares may answer with one before any route is known."""
    return {
        status: {
            "model": answer_model(api.ErrorResponse),
            "description": ERROR_CODES[status],
            "content": _json_example(
                to_record(api.ErrorResponse(api.ErrorDetail(ERROR_CODES[status], message), "r-1"))
            ),
        }
        for status, message in _MESSAGES.items()
    }


def openapi_builder(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return a function that builds the description of an application: FastAPI's, and which keys it takes."""
    build_plain = app.openapi

    def build() -> dict[str, Any]:
        description = build_plain()  # built once; the application keeps it
        scheme = {"type": "http", "scheme": "bearer", "description": "A key made by `multitudes keys add`."}
        description["components"]["securitySchemes"] = {"key": scheme}
        description["security"] = [{"key": []}]
        for path, methods in description["paths"].items():
            for method, operation in methods.items():
                scopes = [] if path in PUBLIC_PATHS else sufficient_scopes(required_scope(method.upper(), path))
                operation["security"] = [{"key": [scope]} for scope in scopes]  # one of them is enough
        return description

    return build


def _json_example(example: object) -> dict[str, Any]:
    return {"application/json": {"example": example}}
