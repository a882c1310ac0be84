"""``GET /v1/releases``: what was published, and what answers here."""

import asyncio
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from multitudes.errors import ArtefactError
from multitudes.release import manifest
from multitudes.release.store import ReleaseStore
from multitudes.service import schemas
from multitudes.service.documents import answers
from multitudes.service.parts import Parts
from multitudes.service.refusals import json_answer


def router(parts: Parts) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["releases"])

    @routes.get("/v1/releases", response_model=schemas.Releases, responses=answers("releases"))
    async def releases() -> Response:
        """List the releases. The folder's CURRENT is followed: publish or roll back, and the service switches."""
        return json_answer(await asyncio.to_thread(_list, parts.current().release.path))

    return routes


def _list(serving: Path) -> dict[str, Any]:
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
        "versions": [_version(serving.parent / version, serving.name) for version in versions],
    }


def _version(folder: Path, serving: str) -> dict[str, Any]:
    record: dict[str, Any] = {"version": folder.name, "serves": folder.name == serving}
    try:
        found = manifest.read(folder)
    except ArtefactError as error:
        problem = str(error).replace(f"{folder}/", "")  # where it lies is nobody's business outside
        return record | {"created_at": None, "method": None, "counts": {}, "problem": problem}
    described = {"created_at": found.created_at.isoformat(), "method": found.method, "counts": found.counts}
    return record | described | {"problem": None}
