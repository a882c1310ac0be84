"""Pydantic models of the requests and answers in ``multitudes.api``: they check bodies, and describe ``/openapi.json``.

Requests are strict: no unknown field, no number in a text, no NaN. Large bodies are parsed outside the event loop: a
megabyte of JSON would hold up every other request. One thread parses for all, so that the event loop competes with no
more than one for the interpreter.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Union, get_args, get_origin

import orjson
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, ValidationError, create_model, model_validator
from starlette.responses import Response

from multitudes import api, records
from multitudes.errors import UsageError

LARGE_BYTES: Final = 16_384  # parsed in about a millisecond
_THREAD: Final = ThreadPoolExecutor(1, "bodies")
_EXAMPLES: Final[Mapping[type[Any], list[Any]]] = {
    api.RecommendRequest: [
        api.RecommendRequest(user_id="ann", n=2, exclude=[105], mute_topics=["Crime"], context={"page": "home"}),
        api.RecommendRequest(history=[101, 102], followed_topics=["Drama"], n=3),
    ],
    api.RecommendBatchRequest: [
        api.RecommendBatchRequest([api.RecommendRequest("ann", n=2, rows=3), api.RecommendRequest(history=[101], n=2)])
    ],
    api.EventsRequest: [api.EventsRequest([api.Event("ann", 105, "view", event_id="e-1")])],
    api.FollowRequest: [api.FollowRequest(["Drama"])],
    api.ExploreRequest: [
        api.ExploreRequest("ann", added=[105], n=2, interest_shares=[api.InterestShare(1, 0.5)]),
        api.ExploreRequest(history=[101, 102], followed_topics=["Drama"], n=3),
    ],
}


class RequestModel(BaseModel):
    """Base of the models of requests."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class _CheckedModel(RequestModel):
    """A request whose record checks more than its types express."""

    record: ClassVar[type[Any]]

    @model_validator(mode="after")
    def _check(self) -> "_CheckedModel":
        try:
            self.record(**vars(self)).check()
        except UsageError as error:
            raise ValueError(str(error)) from None
        return self


class AnswerModel(BaseModel):
    """Base of the models of answers, which describe them and check nothing."""

    model_config = ConfigDict(extra="forbid")


@records.cache_by_type
def request_model(kind: Any) -> type[BaseModel]:  # noqa: ANN401
    """Return the strict model of a request, under the name of its record."""
    is_checked = hasattr(kind, "check")
    model = _model(kind, _CheckedModel if is_checked else RequestModel, request_model, {"event_id"})
    if is_checked:
        model.record = kind  # type: ignore[attr-defined]
    model.model_config["json_schema_extra"] = {"examples": [records.to_body(one) for one in _EXAMPLES.get(kind, ())]}
    return model


@records.cache_by_type
def answer_model(kind: Any) -> type[BaseModel]:  # noqa: ANN401
    """Return the model of an answer, under the name of its record."""
    return _model(kind, AnswerModel, answer_model, set())


def _model(kind: type[Any], base: type[BaseModel], to_model: Any, required: set[str]) -> type[BaseModel]:  # noqa: ANN401
    defaults = records.field_defaults(kind)
    types, is_answer = records.field_types(kind), base is AnswerModel
    definitions = {  # fields that HTTP requires beyond the record come first
        name: (_json_type(types[name], to_model), _default(types[name], defaults[name], name in required or is_answer))
        for name in sorted(types, key=lambda name: name not in required)
    }
    return create_model(kind.__name__, __base__=base, __doc__=kind.__doc__, **definitions)  # type: ignore[call-overload, no-any-return]


def _default(hint: Any, default: Any, required: bool) -> Any:  # noqa: ANN401
    if default is MISSING:
        return {} if Mapping in records.origins(hint) and not required else ...
    return [] if default == () else default


def _json_type(hint: Any, to_model: Any) -> Any:  # noqa: ANN401
    """Return the JSON type of a hint: lists for sequences and tuples, dicts for mappings, models for records."""
    if records.is_record(hint):
        return to_model(hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return Annotated[(_json_type(inner[0], to_model), *inner[1:])]
    if origin is tuple or origin is Sequence:
        return list[_json_type(inner[0], to_model)]  # type: ignore[misc]
    if origin is Mapping:
        return dict[_json_type(inner[0], to_model), _json_type(inner[1], to_model)]  # type: ignore[misc]
    if origin in {Union, UnionType}:
        return Union[tuple(_json_type(one, to_model) for one in inner)]  # noqa: UP007
    return hint


# The bodies of the routes. At run time these are models; their fields are those of the records.
if TYPE_CHECKING:
    RecommendRequest = api.RecommendRequest
    RecommendBatchRequest = api.RecommendBatchRequest
    EventsRequest = api.EventsRequest
    FollowRequest = api.FollowRequest
    ExploreRequest = api.ExploreRequest
else:
    RecommendRequest = request_model(api.RecommendRequest)
    RecommendBatchRequest = request_model(api.RecommendBatchRequest)
    EventsRequest = request_model(api.EventsRequest)
    FollowRequest = request_model(api.FollowRequest)
    ExploreRequest = request_model(api.ExploreRequest)


class LargeBodyRoute(APIRoute):
    """A route whose large bodies are parsed and checked in a thread."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of the route."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        model: Any = self.body_field.field_info.annotation

        async def parse_and_handle(request: Request) -> Response:
            body = await request.body()
            if len(body) > LARGE_BYTES:
                # What ``request.json`` returns; FastAPI accepts a body that is a model already as it is.
                request._json = await asyncio.get_running_loop().run_in_executor(_THREAD, _parse, model, body)
            return await handle(request)

        return parse_and_handle


def _parse(model: type[BaseModel], body: bytes) -> BaseModel:
    """Return the body as a model, or raise what FastAPI raises for a smaller one."""
    try:
        return model.model_validate(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        problem = {"type": "json_invalid", "loc": ("body", error.pos), "input": {}, "ctx": {"error": error.msg}}
        raise RequestValidationError([problem]) from None
    except ValidationError as error:
        problems = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False)]
        raise RequestValidationError(problems) from None
