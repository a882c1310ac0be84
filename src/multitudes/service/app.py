"""The service as one ASGI application: the frame around every request, the doors, the routers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from time import monotonic

from fastapi import FastAPI

from multitudes.service import recommend_routes, status_routes, user_routes
from multitudes.service.auth import LOOPBACK_HOSTS, AuthMiddleware
from multitudes.service.dependencies import Dependencies
from multitudes.service.errors import add_error_handlers
from multitudes.service.load_shedding import InFlightMiddleware, LoadSheddingMiddleware, in_flight_requests
from multitudes.service.openapi import openapi_builder
from multitudes.service.request_context import RequestContextMiddleware
from multitudes.service.request_limits import RequestLimitsMiddleware


def do_nothing() -> None:
    """Do nothing at the end."""


def create_app(parts: Dependencies, at_end: Callable[[], None] = do_nothing) -> FastAPI:
    """Return the application.

    Args:
        parts: what it works with, open.
        at_end: called when the server has answered everything, to close them; by default who opened them does.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        parts.loop_lag.start()
        yield
        parts.loop_lag.stop()
        await asyncio.to_thread(at_end)

    app = FastAPI(
        title="multitudes",
        version=version("multitudes"),
        summary="Candidates for a person, from several vectors, one per interest.",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    settings, crowd = parts.settings, in_flight_requests(parts.settings)
    # The outermost is added last: nothing is read of a body before the door has opened, and there is time for it.
    app.add_middleware(InFlightMiddleware, crowd=crowd, clock=monotonic)
    app.add_middleware(RequestLimitsMiddleware, http=settings.http)
    app.add_middleware(LoadSheddingMiddleware, crowd=crowd, settings=settings, measures=parts.metrics)
    own_hosts = LOOPBACK_HOSTS if parts.keys is None and settings.server.host in LOOPBACK_HOSTS else None
    app.add_middleware(AuthMiddleware, keys=parts.keys, own_hosts=own_hosts)
    app.add_middleware(RequestContextMiddleware, measures=parts.metrics, journal=parts.journal)
    for room in (recommend_routes, user_routes, recommend_routes, user_routes, status_routes, status_routes):
        app.include_router(room.router(parts))
    add_error_handlers(app)
    app.openapi = openapi_builder(app)  # type: ignore[method-assign]
    return app
