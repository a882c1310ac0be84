"""``/healthz``: the process lives. ``/readyz``: it can answer. ``/metrics``: how it did, for Prometheus.

``GET /v1/releases``: what was published, and what answers here.
"""

import asyncio
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from multitudes.errors import ArtefactError, StateError
from multitudes.release import manifest
from multitudes.release.store import ReleaseStore
from multitudes.service import schemas
from multitudes.service.dependencies import Dependencies
from multitudes.service.errors import json_response
from multitudes.service.openapi import error_responses, responses

_METRICS_RESPONSE = {"content": {"text/plain": {"example": 'multitudes_requests_total{route="/healthz"} 1.0'}}}


def health_router(parts: Dependencies) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", response_model=schemas.Health, responses=responses("health"))
    async def alive() -> Response:
        """Answer at once: whoever gets no answer may start this process again."""
        return json_response({"status": "ok", "checks": {}})

    @routes.get("/readyz", response_model=schemas.Health, responses=responses("health"))
    async def ready() -> Response:
        """Say which release answers.

        A store of user states that does not answer is told, and is no reason to take the service away: all replicas
        share the store, and without it they answer from the release.
        """
        release = parts.get_retriever().release
        checks = {"release": release.version, "items": len(release.index)}
        try:
            await parts.states.ping()
            state = "ok"
        except StateError as error:
            state = str(error)
        return json_response({"status": "ok", "checks": checks | {"state": state}})

    @routes.get("/metrics", response_class=Response, responses={200: _METRICS_RESPONSE, **error_responses()})
    async def metrics() -> Response:
        """Return the measures of all processes that serve here."""
        page = await asyncio.to_thread(parts.metrics.render)
        return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes


def releases_router(parts: Dependencies) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["releases"])

    @routes.get("/v1/releases", response_model=schemas.Releases, responses=responses("releases"))
    async def releases() -> Response:
        """List the releases. The folder's CURRENT is followed: publish or roll back, and the service switches."""
        return json_response(await asyncio.to_thread(_list_versions, parts.get_retriever().release.path))

    return routes


def _list_versions(serving: Path) -> dict[str, Any]:
    """Describe the versions beside the one that serves; one alone where it lies in no folder of releases."""
    store, current = ReleaseStore(serving.parent.parent), None
    try:
        versions = store.versions()
        current = store.current()
    except ArtefactError:  # nobody publishes here, or CURRENT is damaged; what serves goes on
        versions = [serving.name]
    return {
        "serving": serving.name,
        "current": current,
        "versions": [_version_record(serving.parent / version, serving.name) for version in versions],
    }


def _version_record(folder: Path, serving: str) -> dict[str, Any]:
    record: dict[str, Any] = {"version": folder.name, "serves": folder.name == serving}
    try:
        found = manifest.read_manifest(folder)
    except ArtefactError as error:
        problem = str(error).replace(f"{folder}/", "")  # where it lies is nobody's business outside
        return record | {"created_at": None, "method": None, "counts": {}, "problem": problem}
    described = {"created_at": found.created_at.isoformat(), "method": found.method, "counts": found.counts}
    return record | described | {"problem": None}
