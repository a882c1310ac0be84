"""The service as one ASGI application: the middlewares in the order in which a request passes them, and the routes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware import Middleware

from multitudes.service.auth import EXPLORER_PATH, AuthMiddleware
from multitudes.service.errors import add_error_handlers
from multitudes.service.explorer_routes import explorer_router
from multitudes.service.http_protocol import SHEDDER
from multitudes.service.load_shedding import LoadShedder, LoadSheddingMiddleware
from multitudes.service.openapi import INTRODUCTION, openapi_builder
from multitudes.service.recommend_routes import recommend_router, similar_router
from multitudes.service.request_context import RequestContextMiddleware
from multitudes.service.request_limits import RequestLimitsMiddleware
from multitudes.service.settings import LOOPBACK_HOSTS
from multitudes.service.startup import Dependencies
from multitudes.service.status_routes import health_router, releases_router
from multitudes.service.user_routes import events_router, users_router
from multitudes.service.watchdog import Watchdog


def create_app(
    deps: Dependencies, on_shutdown: Callable[[], None] = lambda: None, *, own_names_only: bool = False
) -> FastAPI:
    """Return the application over open dependencies.

    ``on_shutdown`` is called after the last answer, to close them; by default the caller does. ``own_names_only``:
    answer to the names of this machine only, also with keys: no proxy is before the service.
    """
    is_open = deps.keys is None and deps.settings.server.host in LOOPBACK_HOSTS
    own_hosts = LOOPBACK_HOSTS if own_names_only or is_open else None
    shedder = LoadShedder(deps, own_hosts)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, LoadShedder]]:
        deps.loop_lag.start()
        watchdog = Watchdog()
        watchdog.start()
        yield {SHEDDER: shedder}
        watchdog.stop()
        deps.loop_lag.stop()
        await asyncio.to_thread(on_shutdown)

    app = FastAPI(
        title="multitudes",
        version=version("multitudes"),
        summary="Candidates for a person, from several vectors, one per interest.",
        description=INTRODUCTION,
        lifespan=lifespan,
        middleware=middlewares(deps, shedder, own_hosts),
        docs_url=None,  # its page loads scripts from other hosts; docs/http.md shows the same
        redoc_url=None,
        redirect_slashes=False,
    )
    routers = [recommend_router, events_router, similar_router, users_router, releases_router, health_router]
    for router in [*routers, explorer_router] if deps.settings.explorer.enabled else routers:
        app.include_router(router(deps))
    add_error_handlers(app)
    app.openapi = openapi_builder(app)  # type: ignore[method-assign]
    return app


def middlewares(deps: Dependencies, shedder: LoadShedder, own_hosts: frozenset[str] | None) -> list[Middleware]:
    """Return the middlewares, outermost first: a request passes them from top to bottom, its answer from bottom to top.

    No byte of a body is read before the key is checked and there is time for the request.
    """
    settings = deps.settings
    return [
        # 429: so many requests are in flight that this one would miss its deadline.
        Middleware(LoadSheddingMiddleware, shedder=shedder),
        # Gives the request its id and its clock, counts and logs it; answers 500 if anything below fails.
        Middleware(RequestContextMiddleware, metrics=deps.metrics, journal=deps.journal, loop_lag=deps.loop_lag),
        # 401, 403, 421: the key is missing, unknown or of the wrong scope, or the host is not this machine.
        Middleware(
            AuthMiddleware,
            keys=deps.keys,
            own_hosts=own_hosts,
            metrics=deps.metrics,
            records=deps.access_records,
            pages=frozenset({EXPLORER_PATH} if settings.explorer.enabled else ()),
        ),
        # 408, 413, 415: the body is too slow, too large or not JSON. 429: so many events are being stored already. From
        # here on a request is in flight: a client that sends its body slowly delays no other.
        Middleware(RequestLimitsMiddleware, http=settings.http, metrics=deps.metrics, in_flight=deps.in_flight),
    ]
