"""``POST /v1/events``: what users did; it is in their next answer, and in the next training."""

import time

from fastapi import APIRouter
from starlette.responses import Response

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
        times = [now_s if event.time_s is None else event.time_s for event in body.events]
        pairs = list(zip(body.events, times, strict=True))
        # The log first: should the state then fail, the caller comes again, and a copy in the log is told by its id.
        if not parts.logs.engaged(
            [Engaged(e.event_id, e.user_id, e.item_id, t, e.action, e.request_id) for e, t in pairs]
        ):
            raise RefusalError(503, "the events cannot be written down; send them again later", retry_after_s=10)
        appended = await parts.states.append([Event(e.event_id, e.user_id, e.item_id, t, e.action) for e, t in pairs])
        new = sum(appended.new)
        return json_answer({"new": new, "repeated": len(pairs) - new, "cut": appended.cut})

    return routes
