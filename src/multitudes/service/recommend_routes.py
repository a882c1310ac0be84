"""``POST /v1/recommend``, ``POST /v1/recommend/batch``, ``POST /v1/vectors`` and ``GET /v1/items/{id}/similar``.

A recommendation: read the user states → ask the engine → log → answer.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from time import perf_counter
from typing import Annotated, Any, TypeAlias, cast
from uuid import uuid4

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from multitudes import api
from multitudes.ids import Id
from multitudes.logs.schemas import ServedResponse
from multitudes.records import to_record
from multitudes.retrieval.request import Request as RetrievalRequest
from multitudes.retrieval.retriever import similar_items as find_similar_items
from multitudes.service import schemas
from multitudes.service.admission import OverloadError, Priority
from multitudes.service.auth import may_read
from multitudes.service.errors import ApiError, json_response, raw_json_response
from multitudes.service.id_types import ItemIdPath, parse_id
from multitudes.service.in_flight import PLACE_BYTES
from multitudes.service.openapi import answers_with
from multitudes.service.request_context import Deadline, DeadlineHeader, client_name
from multitudes.service.request_queue import EngineAnswer
from multitudes.service.schemas import LargeBodyRoute
from multitudes.service.startup import Dependencies
from multitudes.service.state_guard import StateLookup, look_up_states

# Each body with its answer, its request id and the states of the users.
Answers: TypeAlias = AsyncGenerator[tuple[api.RecommendRequest, EngineAnswer, str, StateLookup], None]
# Each of these takes a place; two batches of the largest size have all places, a usual single request has one.
_PLACE_USERS, _PLACE_CANDIDATES = 4, 400
_STATE_SHARE = 0.5  # of the remaining time, for reading the user states; the rest is for an answer without them


def recommend_router(deps: Dependencies) -> APIRouter:
    """Return the routes that recommend."""
    routes = APIRouter(tags=["recommend"], route_class=LargeBodyRoute)

    @routes.post("/v1/recommend", **answers_with(api.RecommendResponse))
    async def recommend(
        body: schemas.RecommendRequest, request: Request, deadline_ms: DeadlineHeader = None
    ) -> Response:
        """Recommend to a user, or to an anonymous user with a history and followed topics."""
        (answer,) = await _write(deps, request, _ask(deps, request, [body], deadline_ms, "interactive"))
        return raw_json_response(answer)

    @routes.post("/v1/recommend/batch", **answers_with(api.RecommendBatchResponse))
    async def recommend_batch(
        body: schemas.RecommendBatchRequest, request: Request, deadline_ms: DeadlineHeader = None
    ) -> Response:
        """Recommend to several users, all or none; single requests take precedence."""
        answers = await _write(deps, request, _ask(deps, request, body.requests, deadline_ms, "batch"))
        return raw_json_response(b'{"answers":[' + b",".join(answers) + b"]}")

    @routes.post("/v1/vectors", **answers_with(api.VectorsResponse))
    async def vectors(body: schemas.RecommendRequest, request: Request, deadline_ms: DeadlineHeader = None) -> Response:
        """Return the vectors of a user, for a search in a vector store: what it finds goes to /v1/recommend."""
        asked = _ask(deps, request, [body], deadline_ms, "interactive", vectors_only=True)
        async with aclosing(asked) as answers:
            _, answer, *_ = await anext(answers)
        search = cast("api.VectorsResponse", answer.recommendation.search)
        return json_response(to_record(search if may_read(request) else replace(search, exclude=())))

    return routes


async def _write(deps: Dependencies, request: Request, asked: Answers) -> list[bytes]:
    """Return each of the answers as JSON, logged and counted."""
    written, summary = list[bytes](), dict[str, Any]()
    async with aclosing(asked) as answers:
        async for body, answer, request_id, lookup in answers:
            if written:
                await asyncio.sleep(0)  # other requests are answered between two users of a batch
            record = _log_and_count(deps, body, answer, request_id, lookup)
            if body.context:
                deps.journal.log_context(request.state.request_id, body.context)
            if not may_read(request):
                _hide_history(record)
            deps.journal.add_to_summary(summary, record)
            start_s = perf_counter()
            written.append(orjson.dumps(record))
            deps.metrics.record_stages({"json": perf_counter() - start_s})
    request.state.summary = summary
    return written


async def _ask(
    deps: Dependencies,
    request: Request,
    bodies: Sequence[api.RecommendRequest],
    deadline_ms: int | None,
    priority: Priority,
    *,
    vectors_only: bool = False,
) -> Answers:
    """Read the user states, ask the engine, and yield each body with its answer, its request id and the states."""
    for body in bodies:
        deps.get_retriever().release.check_id_types(*_ids(body))
    deadlines, is_batch = deps.settings.deadlines, priority == "batch"
    deadline = Deadline(request, deadline_ms, deadlines.batch_ms if is_batch else deadlines.default_ms, deadlines)
    request_ids = [body.request_id or (uuid4().hex if is_batch else request.state.request_id) for body in bodies]
    user_ids, asked_of = [body.user_id for body in bodies], list(zip(bodies, request_ids, strict=True))
    try:
        places = _places(bodies, len(await request.body())) - request.state.places  # these are counted already
        with deps.in_flight.hold(priority, client_name(request.scope), places):
            lookup = await look_up_states(deps.states, user_ids, _STATE_SHARE * deadline.remaining_s())
            asked, waiting = [_retrieval_request(body, lookup, vectors_only) for body in bodies], iter(asked_of)
            async for answer in deps.engine.answer(asked, deadline.remaining_s(), priority):
                body, request_id = next(waiting)
                yield body, answer, request_id, lookup
    except OverloadError as error:
        deps.metrics.shed.labels(priority, error.reason).inc(len(bodies))
        raise


def similar_router(deps: Dependencies) -> APIRouter:
    """Return the route of an item's neighbours."""
    routes = APIRouter(tags=["items"])
    # A search whose request has timed out runs to its end, and occupies its thread until then.
    deadlines, threads = deps.settings.deadlines, ThreadPoolExecutor(1, "similar")

    @routes.get("/v1/items/{id:path}/similar", **answers_with(api.SimilarResponse))
    async def similar_items(
        id: ItemIdPath,  # noqa: A002
        request: Request,
        n: Annotated[int, Query(ge=1, le=api.MAX_N, description="How many neighbours.")] = 20,
        deadline_ms: DeadlineHeader = None,
    ) -> Response:
        """Return the nearest neighbours of an item, nearest first."""
        item_id, release = parse_id(id), deps.get_retriever().release
        release.check_id_types((), [item_id])
        deadline = Deadline(request, deadline_ms, deadlines.default_ms, deadlines)
        try:
            async with asyncio.timeout(deadline.remaining_s()):
                search = asyncio.get_running_loop().run_in_executor(threads, find_similar_items, release, item_id, n)
                neighbours = await search
        except TimeoutError:
            deps.metrics.shed.labels("similar", "time").inc()
            raise OverloadError("this search would miss its deadline; try again later", 1.0) from None
        if neighbours is None:
            raise ApiError(404, f"item {item_id!r} is not in release {release.version}; ask for one that is")
        return json_response(api.SimilarResponse(item_id, release.version, tuple(neighbours)))

    return routes


def _places(bodies: Sequence[api.RecommendRequest], body_bytes: int) -> int:
    """Return how much of the memory and the time of all one takes."""
    candidates = sum(body.n * (body.rows or 1) for body in bodies)
    return math.ceil(len(bodies) / _PLACE_USERS + candidates / _PLACE_CANDIDATES + body_bytes / PLACE_BYTES)


def _ids(body: api.RecommendRequest) -> tuple[Sequence[Id], Sequence[Id]]:
    """Return the user ids and the item ids of a request."""
    found = (item_id for one in body.found or () for item_id in one.item_ids)
    return [] if body.user_id is None else [body.user_id], [*(body.history or ()), *body.exclude, *found]


def _retrieval_request(body: api.RecommendRequest, lookup: StateLookup, vectors_only: bool) -> RetrievalRequest:
    state_error = "" if body.user_id is None else lookup.failure
    # Not the name that an answer gets where the request has none: equal requests draw equal topics.
    given = vars(body) | {"request_id": body.request_id or "", "time_s": int(time.time()), "state_error": state_error}
    return RetrievalRequest(**given, user_state=lookup.of(body.user_id), vectors_only=vectors_only)


def _log_and_count(
    deps: Dependencies, body: api.RecommendRequest, answer: EngineAnswer, request_id: str, lookup: StateLookup
) -> dict[str, Any]:
    """Log and count an answer, and return the fields of its ``RecommendResponse``."""
    recommendation, start_s = answer.recommendation, perf_counter()
    is_erased = _is_newly_erased(deps, body.user_id, lookup)
    served = ServedResponse.from_candidates(
        recommendation.candidates,
        request_id=request_id,
        user_id=recommendation.user_id,
        time_s=int(time.time()),
        release=recommendation.release,
        degraded=recommendation.degraded,
    )
    if not is_erased and not deps.logs.log_served(served):
        deps.metrics.unlogged.inc()  # the user still gets the answer, for example if the disk is full
    log_s = perf_counter() - start_s
    stages = {"state": lookup.ms / 1e3, "wait": answer.waited_s, **answer.stage_s, "log": log_s}
    deps.metrics.record_stages(stages)
    deps.metrics.record_answer(recommendation, max(body.n, len(recommendation.candidates)))
    response = api.RecommendResponse(
        request_id=request_id,
        user_id=recommendation.user_id,
        release=recommendation.release,
        degraded=recommendation.degraded,
        reason=recommendation.reason,
        candidates=cast("Any", recommendation.records()),  # JSON would write named tuples as lists
        interests=recommendation.interests,
        unknown_items=recommendation.unknown_items[: api.MAX_UNKNOWN],
        unknown_topics=recommendation.unknown_topics[: api.MAX_UNKNOWN],
        timings_ms={stage: round(seconds * 1e3, 3) for stage, seconds in stages.items()},
        rows=cast("Any", recommendation.row_records()),
    )
    return vars(response)


def _hide_history(record: dict[str, Any]) -> None:
    """Leave the items and the times of the history out of an answer."""
    record["interests"] = tuple(replace(interest, items=(), age_days=None) for interest in record["interests"])
    record["candidates"] = [candidate | {"because": []} for candidate in record["candidates"]]
    if record["user_id"] is not None:
        record["unknown_items"] = ()


def _is_newly_erased(deps: Dependencies, user_id: Id | None, lookup: StateLookup) -> bool:
    """Return whether a user was erased after their state was read: then nothing may be logged for them."""
    if user_id is None or not deps.states.is_erased(user_id):
        return False
    state = lookup.users.get(user_id)
    return state is None or not state.erased
