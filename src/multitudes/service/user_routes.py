"""``POST /v1/events`` and ``/v1/users/{id}``: what users do, which topics they follow, and their erasure."""

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from multitudes import api
from multitudes.ids import Id
from multitudes.logs.schemas import LoggedEvent
from multitudes.release.id_mapping import unknown_ids
from multitudes.service import schemas
from multitudes.service.auth import may_read
from multitudes.service.errors import ApiError, json_response
from multitudes.service.id_types import UserIdPath, parse_id
from multitudes.service.openapi import answers_with
from multitudes.service.request_context import client_name
from multitudes.service.schemas import LargeBodyRoute
from multitudes.service.startup import Dependencies
from multitudes.state.protocol import Event, UserState

_READ_S = 5.0
# Erasures wait here for each other, and not where they would hold up all else that runs in a thread.
_ERASING: Final = ThreadPoolExecutor(32, "erasures")


def events_router(deps: Dependencies) -> APIRouter:
    """Return the route of events."""
    routes = APIRouter(tags=["events"], route_class=LargeBodyRoute)

    @routes.post("/v1/events", **answers_with(api.EventsResponse))
    async def events(body: schemas.EventsRequest, request: Request) -> Response:
        """Store events. They are on disk when this answers; a repeated event is ignored."""
        release, items = deps.get_retriever().release, [event.item_id for event in body.events]
        release.check_id_types([event.user_id for event in body.events], items)
        now_s = int(time.time())
        received = [_logged_event(event, now_s) for event in body.events]
        erased_before = _erased_users(deps, received)
        result = await deps.states.append([Event(*event[:5]) for event in received], client_name(request.scope))
        erased = _erased_users(deps, received)
        # A repeated event is logged again: the log may have rejected it the first time, and its id reveals the copy. Of
        # an erased user, only events that are new after the erasure are logged. Events from before the erasure are not
        # new to the store, and events that arrived during it must not return through the log.
        to_log = [
            event
            for event, is_new in zip(received, result.new, strict=True)
            if event.user_id not in erased or (is_new and event.user_id in erased_before)
        ]
        if not deps.logs.log_events(to_log):
            raise ApiError(503, "the events could not be logged; send them again later", retry_after_s=10)
        new = sum(result.new)
        unknown = unknown_ids(items, release.item_names.numbers(items))
        deps.metrics.unknown_items.inc(len(unknown))
        repeated, named = len(received) - new, unknown[: api.MAX_UNKNOWN]
        return json_response(api.EventsResponse(new, repeated, cut=result.clamped, unknown_items=named))

    return routes


def users_router(deps: Dependencies) -> APIRouter:
    """Return the routes of user states."""
    routes = APIRouter(tags=["users"], route_class=LargeBodyRoute)

    @routes.get("/v1/users/{id:path}", **answers_with(api.UserResponse))
    async def read(id: UserIdPath) -> Response:  # noqa: A002
        """Return the user state: what the service stored of a user in addition to the release."""
        return json_response(_user_response((await deps.states.read([_user_id(deps, id)], _READ_S))[0]))

    @routes.put("/v1/users/{id:path}", **answers_with(api.UserResponse))
    async def follow(id: UserIdPath, body: schemas.FollowRequest, request: Request) -> Response:  # noqa: A002
        """Set the topics that a user follows, in place of the former ones; events are shown to a key that reads."""
        user_id = _user_id(deps, id)
        await deps.states.set_followed_topics(user_id, body.followed_topics, client_name(request.scope))
        (state,) = await deps.states.read([user_id], _READ_S)
        return json_response(_user_response(state if may_read(request) else state._replace(events=())))

    @routes.delete("/v1/users/{id:path}", **answers_with(api.ForgetResponse))
    async def forget(id: UserIdPath) -> Response:  # noqa: A002
        """Forget a user: events, topics and rows in the logs; rows of the last minute leave the logs within another."""
        user_id = _user_id(deps, id)
        try:
            try:
                known = await deps.states.erase(user_id)  # first: from now on nothing of them is served or logged
            finally:  # also if the store does not answer: the sender comes again, and finds less to do
                if deps.states.is_erased(user_id):
                    deps.get_retriever().vector_cache.remove(user_id)
                    await asyncio.get_running_loop().run_in_executor(_ERASING, deps.logs.erase_user, user_id)
        except OSError as error:
            logging.getLogger(__name__).error("a user is not erased completely", exc_info=error)
            raise ApiError(
                503, "the user is not erased completely: the logs cannot be written; try again later", 10
            ) from None
        return json_response(api.ForgetResponse(user_id, known))

    return routes


def _erased_users(deps: Dependencies, events: Sequence[LoggedEvent]) -> set[Id]:
    return {user_id for user_id in {event.user_id for event in events} if deps.states.is_erased(user_id)}


def _logged_event(event: api.Event, now_s: int) -> LoggedEvent:
    time_s = now_s if event.time_s is None else event.time_s
    return LoggedEvent(event.event_id, event.user_id, event.item_id, time_s, event.action, event.request_id)


def _user_id(deps: Dependencies, text: str) -> Id:
    user_id = parse_id(text)
    deps.get_retriever().release.check_id_types([user_id], ())
    return user_id


def _user_response(state: UserState) -> api.UserResponse:
    events = tuple(api.StoredEvent(e.event_id, e.item_id, e.time_s, e.action) for e in state.events)
    topics = state.followed_topics
    return api.UserResponse(state.user_id, topics, events, forgotten=state.erased)
