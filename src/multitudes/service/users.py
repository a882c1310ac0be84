"""``/v1/users/{id}``: what a user follows, what is kept of them, and forgetting them entirely."""

import asyncio
import logging

from fastapi import APIRouter
from starlette.responses import Response

from multitudes.ids import Id
from multitudes.service import schemas
from multitudes.service.documents import answers
from multitudes.service.kinds import check_kinds
from multitudes.service.parts import Parts
from multitudes.service.paths import id_of
from multitudes.service.refusals import RefusalError, json_answer
from multitudes.state.records import Person

_READ_S = 5.0


def router(parts: Parts) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["users"])

    @routes.get("/v1/users/{id:path}", response_model=schemas.UserState, responses=answers("user"))
    async def read(id: str) -> Response:  # noqa: A002
        """Return what is kept of a user beside what the release holds of them."""
        return json_answer(_state((await parts.states.read([_user(parts, id)], _READ_S))[0]))

    @routes.put("/v1/users/{id:path}", response_model=schemas.UserState, responses=answers("user"))
    async def follow(id: str, body: schemas.User) -> Response:  # noqa: A002
        """State which topics a user follows, in place of those before."""
        user_id = _user(parts, id)
        await parts.states.follow(user_id, body.follows)
        return json_answer(_state((await parts.states.read([user_id], _READ_S))[0]))

    @routes.delete("/v1/users/{id:path}", response_model=schemas.Forgotten, responses=answers("forgotten"))
    async def forget(id: str) -> Response:  # noqa: A002
        """Forget a user: their events, their follows, and their rows in the logs. It is done when this answers."""
        user_id = _user(parts, id)
        try:
            known = await parts.states.forget(user_id)  # first, so that nothing more of them is served or logged
            parts.current().forget(user_id)  # the vectors of their last answer
            await asyncio.to_thread(parts.logs.forget, user_id)
        except OSError as error:
            logging.getLogger(__name__).error("a user is not forgotten entirely", exc_info=error)
            raise RefusalError(
                503, "the disk does not take that a user is forgotten; send it again later", 10
            ) from None
        return json_answer({"user_id": user_id, "known": known})

    return routes


def _user(parts: Parts, text: str) -> Id:
    user_id = id_of(text)
    check_kinds(parts, [user_id], ())
    return user_id


def _state(person: Person) -> dict[str, object]:
    return {
        "user_id": person.user_id,
        "follows": person.follows,
        "events": [
            {"event_id": e.event_id, "item_id": e.item_id, "time_s": e.time_s, "action": e.action}
            for e in person.events
        ],
        "forgotten": person.forgotten,
    }
