"""``/healthz``: the process lives. ``/readyz``: it can answer. ``/metrics``: how it did, for Prometheus."""

import asyncio

from fastapi import APIRouter
from starlette.responses import Response

from multitudes.errors import StateError
from multitudes.service import schemas
from multitudes.service.documents import answers, refusals
from multitudes.service.parts import Parts
from multitudes.service.refusals import json_answer

_PAGE = {"content": {"text/plain": {"example": 'multitudes_requests_total{route="/healthz"} 1.0'}}}


def router(parts: Parts) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", response_model=schemas.Health, responses=answers("health"))
    async def alive() -> Response:
        """Answer at once: whoever gets no answer may start this process again."""
        return json_answer({"status": "ok", "checks": {}})

    @routes.get("/readyz", response_model=schemas.Health, responses=answers("health"))
    async def ready() -> Response:
        """Say which release answers.

        A store of user states that does not answer is told, and is no reason to take the service away: all replicas
        share the store, and without it they answer from the release.
        """
        release = parts.current().release
        checks = {"release": release.version, "items": len(release.index)}
        try:
            await parts.states.ping()
            state = "ok"
        except StateError as error:
            state = str(error)
        return json_answer({"status": "ok", "checks": checks | {"state": state}})

    @routes.get("/metrics", response_class=Response, responses={200: _PAGE, **refusals()})
    async def metrics() -> Response:
        """Return the measures of all processes that serve here."""
        page = await asyncio.to_thread(parts.measures.page)
        return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes
