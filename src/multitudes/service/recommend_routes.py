"""``POST /v1/recommend`` and ``/v1/recommend/batch``: state → engine → log → answer.

``GET /v1/items/{id}/similar``: the neighbours of an item.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Annotated, Any, NamedTuple
from uuid import uuid4

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from multitudes.errors import StateError
from multitudes.ids import Id
from multitudes.logs.schemas import ServedResponse
from multitudes.retrieval import request as retrieval
from multitudes.retrieval.retriever import SimilarItem, similar_items
from multitudes.service import schemas
from multitudes.service.admission import OverloadError
from multitudes.service.dependencies import Dependencies
from multitudes.service.errors import ApiError, json_response
from multitudes.service.id_types import check_id_types, parse_id
from multitudes.service.openapi import responses
from multitudes.service.request_context import Deadline, DeadlineHeader
from multitudes.service.request_queue import EngineAnswer
from multitudes.state.protocol import UserState

_STATE_SHARE = 0.5  # share of the time left that reading the state may take: the rest is for an answer without it


class StateLookup(NamedTuple):
    """What the state says of the users of some requests."""

    users: Mapping[Id, UserState]
    failure: str  # why it says nothing, or empty
    ms: float


def recommend_router(parts: Dependencies) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["recommend"])
    deadlines = parts.settings.deadlines

    @routes.post("/v1/recommend", response_model=schemas.Recommended, responses=responses("recommend"))
    async def recommend(body: schemas.Ask, request: Request, deadline_ms: DeadlineHeader = None) -> Response:
        """Recommend to a user, or to somebody described by a history and followed topics."""
        name = request.state.request_id = body.request_id or request.state.request_id
        check_id_types(parts, *_ids(body))
        deadline = Deadline(request, deadline_ms, deadlines.default_ms, deadlines)
        known = await _look_up_states(parts, [body], deadline.remaining_s())
        try:
            answered = await parts.engine.answer(
                _retrieval_request(body, name, known), deadline.remaining_s(), "interactive"
            )
        except OverloadError as error:
            parts.metrics.count_shed("interactive", error.reason)
            raise
        record = _log_and_count(parts, body, answered, name, known)
        return _respond(parts, request, [record], record)

    @routes.post("/v1/recommend/batch", response_model=schemas.BatchAnswer, responses=responses("batch"))
    async def recommend_batch(body: schemas.Batch, request: Request, deadline_ms: DeadlineHeader = None) -> Response:
        """Recommend to several people, all or none; a batch gives way to those who ask for one person."""
        for one in body.requests:
            check_id_types(parts, *_ids(one))
        names = [one.request_id or uuid4().hex for one in body.requests]
        deadline = Deadline(request, deadline_ms, deadlines.batch_ms, deadlines)
        known = await _look_up_states(parts, body.requests, deadline.remaining_s())
        asks = [_retrieval_request(one, name, known) for one, name in zip(body.requests, names, strict=True)]
        try:
            answered = await parts.engine.answer_batch(asks, deadline.remaining_s(), "batch")
        except OverloadError as error:
            parts.metrics.count_shed("batch", error.reason, len(asks))
            raise
        rows = zip(body.requests, answered, names, strict=True)
        records = [_log_and_count(parts, *row, known) for row in rows]
        return _respond(parts, request, records, {"answers": records})

    return routes


def _ids(body: schemas.Ask) -> tuple[Sequence[Id], Sequence[Id]]:
    """Return the ids of users and those of items in a request."""
    return [] if body.user_id is None else [body.user_id], [*(body.history or ()), *body.exclude]


async def _look_up_states(parts: Dependencies, asks: Sequence[schemas.Ask], time_s: float) -> StateLookup:
    """Read the state of all users that are asked for in one call; without it, an answer is still possible."""
    users = list({ask.user_id: None for ask in asks if ask.user_id is not None})
    start_s = perf_counter()
    persons, why = list[UserState](), ""
    if users:
        try:
            persons = await parts.states.read(users, _STATE_SHARE * time_s)
        except StateError as error:
            why = str(error)
            persons = [UserState(user, erased=True) for user in users if parts.states.is_erased(user)]
    return StateLookup({person.user_id: person for person in persons}, why, (perf_counter() - start_s) * 1e3)


def _retrieval_request(body: schemas.Ask, request_id: str, known: StateLookup) -> retrieval.Request:
    return retrieval.Request(
        user_id=body.user_id,
        user_state=None if body.user_id is None else known.users.get(body.user_id),
        history=body.history,
        followed_topics=body.follows,
        n=body.n,
        exclude=body.exclude,
        mute_topics=body.mute_topics,
        boost_topics=body.boost_topics,
        mute_interests=body.mute_interests,
        boost_interests=body.boost_interests,
        request_id=request_id,
        time_s=int(time.time()),
        state_error="" if body.user_id is None else known.failure,
    )


def _log_and_count(
    parts: Dependencies, body: schemas.Ask, answered: EngineAnswer, request_id: str, known: StateLookup
) -> dict[str, Any]:
    """Log and count an answer, and return it as it goes out."""
    answer, start_s = answered.recommendation, perf_counter()
    if not _erased_meanwhile(parts, body.user_id, known) and not parts.logs.log_served(
        _served_record(answered, request_id)
    ):
        parts.metrics.count_unlogged()  # a full disk must not keep an answer from a person
    if body.context:
        parts.journal.log_context(request_id, body.context)
    log_s = perf_counter() - start_s
    stages = {"state": known.ms / 1e3, "wait": answered.waited_s, **answered.stage_s, "log": log_s}
    parts.metrics.record_stages(stages)
    parts.metrics.record_answer(answer, body.n)
    return {
        "request_id": request_id,
        "user_id": answer.user_id,
        "release": answer.release,
        "degraded": answer.degraded,
        "reason": answer.reason,
        "candidates": answer.records(),
        "interests": answer.interests,
        "unknown_items": answer.unknown_items,
        "unknown_topics": answer.unknown_topics,
        "timings_ms": {name: round(s * 1e3, 3) for name, s in stages.items()},
    }


def _erased_meanwhile(parts: Dependencies, user_id: Id | None, known: StateLookup) -> bool:
    """Tell whether a user asked to be forgotten after their state was read: no row may come behind that."""
    if user_id is None or not parts.states.is_erased(user_id):
        return False
    person = known.users.get(user_id)
    return person is None or not person.erased


def _respond(parts: Dependencies, request: Request, records: Sequence[Mapping[str, Any]], content: object) -> Response:
    """Return answers as JSON, and note what the journal says of them."""
    request.state.told = parts.journal.summary(records)
    start_s = perf_counter()
    response = json_response(content)
    parts.metrics.record_stages({"json": perf_counter() - start_s})
    return response


def _served_record(answered: EngineAnswer, request_id: str) -> ServedResponse:
    answer = answered.recommendation
    return ServedResponse.from_candidates(
        answer.candidates,
        request_id=request_id,
        user_id=answer.user_id,
        time_s=int(time.time()),
        release=answer.release,
        degraded=answer.degraded,
    )


_SEARCH_THREADS = 2  # searches beside those of the engine, which has the machine


def similar_router(parts: Dependencies) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["items"])
    # A search that nobody waits for any more goes on to its end, and keeps its thread until then.
    deadlines, threads = parts.settings.deadlines, ThreadPoolExecutor(_SEARCH_THREADS, "similar")

    @routes.get("/v1/items/{id:path}/similar", response_model=schemas.Similar, responses=responses("similar"))
    async def similar_items(
        id: str,  # noqa: A002
        request: Request,
        n: Annotated[int, Query(ge=1, le=schemas.MAX_N, description="How many neighbours.")] = 20,
        deadline_ms: DeadlineHeader = None,
    ) -> Response:
        """Return the items that lie nearest to one, nearest first."""
        item_id = parse_id(id)
        check_id_types(parts, (), [item_id])
        deadline = Deadline(request, deadline_ms, deadlines.default_ms, deadlines)
        try:
            async with asyncio.timeout(deadline.remaining_s()):
                search = asyncio.get_running_loop().run_in_executor(threads, _find_similar, parts, item_id, n)
                version, found = await search
        except TimeoutError:
            parts.metrics.count_shed("similar", "time")
            raise OverloadError("no time for this search before its deadline; come again later", 1.0) from None
        if found is None:
            raise ApiError(404, f"item {item_id!r} is not in release {version}; ask for one that is")
        return json_response({"item_id": item_id, "release": version, "candidates": found})

    return routes


def _find_similar(parts: Dependencies, item_id: Id, n: int) -> tuple[str, list[SimilarItem] | None]:
    release = parts.get_retriever().release
    return release.version, similar_items(release, item_id, n)
