"""The service as one ASGI application: the frame around every request, the doors, the routers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from time import monotonic

from fastapi import FastAPI

from multitudes.service import events, health, items, recommend, releases, users
from multitudes.service.attend import attended
from multitudes.service.body import bounded
from multitudes.service.crowd import counted, crowd_of, thinned
from multitudes.service.documents import described
from multitudes.service.door import LOOPBACK, guarded
from multitudes.service.parts import Parts
from multitudes.service.refusals import answer_errors


def nothing() -> None:
    """Do nothing at the end."""


def build(parts: Parts, at_end: Callable[[], None] = nothing) -> FastAPI:
    """Return the application.

    Args:
        parts: what it works with, open.
        at_end: called when the server has answered everything, to close them; by default who opened them does.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        parts.heartbeat.start()
        yield
        parts.heartbeat.stop()
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
    settings, crowd = parts.settings, crowd_of(parts.settings)
    # The outermost is added last: nothing is read of a body before the door has opened, and there is time for it.
    app.add_middleware(counted, crowd=crowd, clock=monotonic)
    app.add_middleware(bounded, http=settings.http)
    app.add_middleware(thinned, crowd=crowd, settings=settings, measures=parts.measures)
    own_hosts = LOOPBACK if parts.keys is None and settings.server.host in LOOPBACK else None
    app.add_middleware(guarded, keys=parts.keys, own_hosts=own_hosts)
    app.add_middleware(attended, measures=parts.measures, journal=parts.journal)
    for room in (recommend, events, items, users, releases, health):
        app.include_router(room.router(parts))
    answer_errors(app)
    app.openapi = described(app)  # type: ignore[method-assign]
    return app
