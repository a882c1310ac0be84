"""``POST /v1/events``: what users did; it is in their next answer, and in the next training."""

import time
from collections.abc import Sequence

from fastapi import APIRouter
from starlette.responses import Response

from multitudes.ids import Id
from multitudes.logs.records import Engaged
from multitudes.service import schemas
from multitudes.service.documents import answers
from multitudes.service.kinds import check_kinds
from multitudes.service.parts import Parts
from multitudes.service.refusals import RefusalError, json_answer
from multitudes.state.records import Event


def router(parts: Parts) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["events"])

    @routes.post("/v1/events", response_model=schemas.Appended, responses=answers("events"))
    async def events(body: schemas.Events) -> Response:
        """Take events in. They are on the disk when this answers; sent again, they are known already."""
        check_kinds(parts, [event.user_id for event in body.events], [event.item_id for event in body.events])
        now_s = int(time.time())
        done = [_engaged(event, now_s) for event in body.events]
        returned = _forgotten(parts, done)
        appended = await parts.states.append([Event(*one[:5]) for one in done])
        forgotten, pairs = _forgotten(parts, done), zip(done, appended.new, strict=True)
        # What is known already is logged again, since it may be what the log did not take; its id tells the copy. But
        # of who was forgotten only what is new since they returned: neither what is from before, which is not new
        # either, nor what came while they asked may come back by way of the log.
        logged = [e for e, new in pairs if e.user_id not in forgotten or (new and e.user_id in returned)]
        if not parts.logs.engaged(logged):
            raise RefusalError(503, "the events cannot be written down; send them again later", retry_after_s=10)
        new = sum(appended.new)
        return json_answer({"new": new, "repeated": len(done) - new, "cut": appended.cut})

    return routes


def _forgotten(parts: Parts, done: Sequence[Engaged]) -> set[Id]:
    return {user_id for user_id in {one.user_id for one in done} if parts.states.forgot(user_id)}


def _engaged(event: schemas.Event, now_s: int) -> Engaged:
    time_s = now_s if event.time_s is None else event.time_s
    return Engaged(event.event_id, event.user_id, event.item_id, time_s, event.action, event.request_id)
