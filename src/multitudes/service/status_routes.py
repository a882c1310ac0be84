"""``/healthz``: the process is alive. ``/readyz``: it can answer. ``/metrics`` and ``/v1/releases``."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Literal

from fastapi import APIRouter
from starlette.responses import Response

from multitudes import api
from multitudes.errors import ArtefactError, StateError, UnavailableError
from multitudes.release.manifest import read_manifest
from multitudes.release.store import ReleaseStore
from multitudes.service.errors import json_response
from multitudes.service.openapi import answers_with, error_responses
from multitudes.service.startup import Dependencies
from multitudes.state.erasure_requests import DamagedRequestsError

_METRICS_RESPONSE = {"content": {"text/plain": {"example": 'multitudes_requests_total{route="/healthz"} 1.0'}}}


def health_router(deps: Dependencies) -> APIRouter:
    """Return the routes of health and metrics."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", **answers_with(api.HealthResponse))
    async def alive() -> Response:
        """Answer at once: a process that does not answer may be restarted."""
        return json_response(api.HealthResponse("ok", {}))

    @routes.get("/readyz", **answers_with(api.HealthResponse))
    async def ready() -> Response:
        """Report which release answers.

        Item updates, user states, logs or an index that are damaged, full or away are reported (``degraded``). The
        service stays ready: all replicas share the store, and without it they answer from the release. Where nobody
        knows who asked to be erased, every request of a user is rejected, and this one with 503.
        """
        retriever = deps.get_retriever()
        release = retriever.release
        stores = {"state": "ok", "logs": deps.logs.problem() or "ok"}
        try:
            await deps.states.ping()
        except DamagedRequestsError:
            raise
        except StateError as error:
            stores["state"] = str(error)
        if retriever.problem:  # clients must not see paths of this machine
            stores["item_updates"] = f"{release.version}.log is damaged: serving without it; the journal says why"
        try:
            items = await asyncio.to_thread(len, release.index)
        except UnavailableError:  # nor the address of its server
            items, stores["index"] = 0, "its server does not answer: popular items"
        status: Literal["ok", "degraded"] = "ok" if set(stores.values()) == {"ok"} else "degraded"
        return json_response(api.HealthResponse(status, {"release": release.version, "items": items, **stores}))

    @routes.get("/metrics", response_class=Response, responses={200: _METRICS_RESPONSE, **error_responses()})
    async def metrics() -> Response:
        """Return the metrics of all processes of this service."""
        page = await asyncio.to_thread(deps.metrics.render)
        return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes


def releases_router(deps: Dependencies) -> APIRouter:
    """Return the route of releases."""
    routes = APIRouter(tags=["releases"])

    @routes.get("/v1/releases", **answers_with(api.ReleasesResponse))
    async def releases() -> Response:
        """List the releases. The service follows the folder's CURRENT: it switches after a publish or a rollback."""
        return json_response(await asyncio.to_thread(_list_versions, deps.get_retriever().release.path))

    return routes


def _list_versions(serving: Path) -> api.ReleasesResponse:
    """Return all versions in the folder of the one that serves; that one alone if it is not in a folder of releases."""
    store, current = ReleaseStore(serving.parent.parent), None
    try:
        versions = store.versions()
        current = store.current()
    except ArtefactError:  # not in a folder of releases, or CURRENT is damaged; the release serves regardless
        versions = [serving.name]
    return api.ReleasesResponse(
        serving.name, current, tuple(_release_version(serving.parent / version, serving.name) for version in versions)
    )


def _release_version(folder: Path, serving: str) -> api.ReleaseVersion:
    found = partial(api.ReleaseVersion, version=folder.name, serves=folder.name == serving)
    try:
        manifest = read_manifest(folder)
    except ArtefactError as error:
        return found(counts={}, problem=str(error).replace(f"{folder}/", ""))  # without paths of this machine
    return found(created_at=manifest.created_at.isoformat(), method=manifest.method, counts=manifest.counts)
