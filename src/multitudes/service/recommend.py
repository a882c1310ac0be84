"""``POST /v1/recommend`` and ``/v1/recommend/batch``: state → engine → log → answer."""

import time
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, NamedTuple
from uuid import uuid4

from fastapi import APIRouter, Request
from starlette.responses import Response

from multitudes.errors import StateError
from multitudes.ids import Id
from multitudes.logs.records import Served
from multitudes.retrieve import ask as retrieval
from multitudes.service import schemas
from multitudes.service.admission import OverloadError
from multitudes.service.deadlines import Deadline, DeadlineHeader
from multitudes.service.documents import answers
from multitudes.service.kinds import check_kinds
from multitudes.service.parts import Parts
from multitudes.service.refusals import json_answer
from multitudes.service.tickets import Answered
from multitudes.state.records import Person

_OF_STATE = 0.5  # share of the time left that reading the state may take: the rest is for an answer without it


class Known(NamedTuple):
    """What the state says of the users of some requests."""

    persons: Mapping[Id, Person]
    stateless: str  # why it says nothing, or empty
    ms: float


def router(parts: Parts) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["recommend"])
    deadlines = parts.settings.deadlines

    @routes.post("/v1/recommend", response_model=schemas.Recommended, responses=answers("recommend"))
    async def recommend(body: schemas.Ask, request: Request, deadline_ms: DeadlineHeader = None) -> Response:
        """Recommend to a user, or to somebody described by a history and followed topics."""
        name = request.state.request_id = body.request_id or request.state.request_id
        check_kinds(parts, *_ids(body))
        deadline = Deadline(request, deadline_ms, deadlines.default_ms, deadlines)
        known = await _known(parts, [body], deadline.left_s())
        try:
            answered = await parts.engine.answer(_ask(body, name, known), deadline.left_s(), "interactive")
        except OverloadError as error:
            parts.measures.shed("interactive", error.reason)
            raise
        record = _served(parts, body, answered, name, known)
        return _written(parts, request, [record], record)

    @routes.post("/v1/recommend/batch", response_model=schemas.BatchAnswer, responses=answers("batch"))
    async def recommend_batch(body: schemas.Batch, request: Request, deadline_ms: DeadlineHeader = None) -> Response:
        """Recommend to several people, all or none; a batch gives way to those who ask for one person."""
        for one in body.requests:
            check_kinds(parts, *_ids(one))
        names = [one.request_id or uuid4().hex for one in body.requests]
        deadline = Deadline(request, deadline_ms, deadlines.batch_ms, deadlines)
        known = await _known(parts, body.requests, deadline.left_s())
        asks = [_ask(one, name, known) for one, name in zip(body.requests, names, strict=True)]
        try:
            answered = await parts.engine.answer_all(asks, deadline.left_s(), "batch")
        except OverloadError as error:
            parts.measures.shed("batch", error.reason, len(asks))
            raise
        rows = zip(body.requests, answered, names, strict=True)
        records = [_served(parts, *row, known) for row in rows]
        return _written(parts, request, records, {"answers": records})

    return routes


def _ids(body: schemas.Ask) -> tuple[Sequence[Id], Sequence[Id]]:
    """Return the ids of users and those of items in a request."""
    return [] if body.user_id is None else [body.user_id], [*(body.history or ()), *body.exclude]


async def _known(parts: Parts, asks: Sequence[schemas.Ask], time_s: float) -> Known:
    """Read the state of all users that are asked for in one call; without it, an answer is still possible."""
    users = list({ask.user_id: None for ask in asks if ask.user_id is not None})
    start_s = perf_counter()
    persons, why = list[Person](), ""
    if users:
        try:
            persons = await parts.states.read(users, _OF_STATE * time_s)
        except StateError as error:
            why = str(error)
            persons = [Person(user, forgotten=True) for user in users if parts.states.forgot(user)]
    return Known({person.user_id: person for person in persons}, why, (perf_counter() - start_s) * 1e3)


def _ask(body: schemas.Ask, request_id: str, known: Known) -> retrieval.Ask:
    return retrieval.Ask(
        user_id=body.user_id,
        person=None if body.user_id is None else known.persons.get(body.user_id),
        history=body.history,
        follows=body.follows,
        n=body.n,
        exclude=body.exclude,
        mute_topics=body.mute_topics,
        boost_topics=body.boost_topics,
        mute_interests=body.mute_interests,
        boost_interests=body.boost_interests,
        request=request_id,
        time_s=int(time.time()),
        stateless="" if body.user_id is None else known.stateless,
    )


def _served(parts: Parts, body: schemas.Ask, answered: Answered, request_id: str, known: Known) -> dict[str, Any]:
    """Log and count an answer, and return it as it goes out."""
    answer, start_s = answered.recommendation, perf_counter()
    if not _left(parts, body.user_id, known) and not parts.logs.served(_record(answered, request_id)):
        parts.measures.unlogged()  # a full disk must not keep an answer from a person
    if body.context:
        parts.journal.context(request_id, body.context)
    log_s = perf_counter() - start_s
    stages = {"state": known.ms / 1e3, "wait": answered.waited_s, **answered.stage_s, "log": log_s}
    parts.measures.stages(stages)
    parts.measures.answered(answer, body.n)
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


def _left(parts: Parts, user_id: Id | None, known: Known) -> bool:
    """Tell whether a user asked to be forgotten after their state was read: no row may come behind that."""
    if user_id is None or not parts.states.forgot(user_id):
        return False
    person = known.persons.get(user_id)
    return person is None or not person.forgotten


def _written(parts: Parts, request: Request, records: Sequence[Mapping[str, Any]], content: object) -> Response:
    """Return answers as JSON, and note what the journal says of them."""
    request.state.told = parts.journal.told(records)
    start_s = perf_counter()
    response = json_answer(content)
    parts.measures.stages({"json": perf_counter() - start_s})
    return response


def _record(answered: Answered, request_id: str) -> Served:
    answer = answered.recommendation
    return Served.of(
        answer.candidates,
        request_id=request_id,
        user_id=answer.user_id,
        time_s=int(time.time()),
        release=answer.release,
        degraded=answer.degraded,
    )
