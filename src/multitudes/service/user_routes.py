"""``POST /v1/events``: what users did; it is in their next answer, and in the next training.

``/v1/users/{id}``: what a user follows, what is kept of them, and forgetting them entirely.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from fastapi import APIRouter
from starlette.responses import Response

from multitudes.ids import Id
from multitudes.logs.schemas import LoggedEvent
from multitudes.service import schemas
from multitudes.service.dependencies import Dependencies
from multitudes.service.errors import ApiError, json_response
from multitudes.service.id_types import check_id_types, parse_id
from multitudes.service.openapi import responses
from multitudes.state.protocol import Event, UserState


def events_router(parts: Dependencies) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["events"])

    @routes.post("/v1/events", response_model=schemas.Appended, responses=responses("events"))
    async def events(body: schemas.Events) -> Response:
        """Take events in. They are on the disk when this answers; sent again, they are known already."""
        check_id_types(parts, [event.user_id for event in body.events], [event.item_id for event in body.events])
        now_s = int(time.time())
        done = [_engagement(event, now_s) for event in body.events]
        returned = _erased_users(parts, done)
        appended = await parts.states.append([Event(*one[:5]) for one in done])
        forgotten, pairs = _erased_users(parts, done), zip(done, appended.new, strict=True)
        # What is known already is logged again, since it may be what the log did not take; its id tells the copy. But
        # of who was forgotten only what is new since they returned: neither what is from before, which is not new
        # either, nor what came while they asked may come back by way of the log.
        logged = [e for e, new in pairs if e.user_id not in forgotten or (new and e.user_id in returned)]
        if not parts.logs.log_events(logged):
            raise ApiError(503, "the events cannot be written down; send them again later", retry_after_s=10)
        new = sum(appended.new)
        return json_response({"new": new, "repeated": len(done) - new, "cut": appended.clamped})

    return routes


def _erased_users(parts: Dependencies, done: Sequence[LoggedEvent]) -> set[Id]:
    return {user_id for user_id in {one.user_id for one in done} if parts.states.is_erased(user_id)}


def _engagement(event: schemas.Event, now_s: int) -> LoggedEvent:
    time_s = now_s if event.time_s is None else event.time_s
    return LoggedEvent(event.event_id, event.user_id, event.item_id, time_s, event.action, event.request_id)


_READ_S = 5.0


def users_router(parts: Dependencies) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["users"])

    @routes.get("/v1/users/{id:path}", response_model=schemas.UserState, responses=responses("user"))
    async def read(id: str) -> Response:  # noqa: A002
        """Return what is kept of a user beside what the release holds of them."""
        return json_response(_state_record((await parts.states.read([_user_id(parts, id)], _READ_S))[0]))

    @routes.put("/v1/users/{id:path}", response_model=schemas.UserState, responses=responses("user"))
    async def follow(id: str, body: schemas.User) -> Response:  # noqa: A002
        """State which topics a user follows, in place of those before."""
        user_id = _user_id(parts, id)
        await parts.states.set_followed_topics(user_id, body.follows)
        return json_response(_state_record((await parts.states.read([user_id], _READ_S))[0]))

    @routes.delete("/v1/users/{id:path}", response_model=schemas.Forgotten, responses=responses("forgotten"))
    async def forget(id: str) -> Response:  # noqa: A002
        """Forget a user: their events, their follows, and their rows in the logs. It is done when this answers."""
        user_id = _user_id(parts, id)
        try:
            known = await parts.states.erase(user_id)  # first, so that nothing more of them is served or logged
            parts.get_retriever().forget(user_id)  # the vectors of their last answer
            await asyncio.to_thread(parts.logs.erase_user, user_id)
        except OSError as error:
            logging.getLogger(__name__).error("a user is not forgotten entirely", exc_info=error)
            raise ApiError(503, "the disk does not take that a user is forgotten; send it again later", 10) from None
        return json_response({"user_id": user_id, "known": known})

    return routes


def _user_id(parts: Dependencies, text: str) -> Id:
    user_id = parse_id(text)
    check_id_types(parts, [user_id], ())
    return user_id


def _state_record(person: UserState) -> dict[str, object]:
    return {
        "user_id": person.user_id,
        "follows": person.followed_topics,
        "events": [
            {"event_id": e.event_id, "item_id": e.item_id, "time_s": e.time_s, "action": e.action}
            for e in person.events
        ],
        "forgotten": person.erased,
    }
