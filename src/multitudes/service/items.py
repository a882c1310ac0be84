"""``GET /v1/items/{id}/similar``: the neighbours of an item."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from multitudes.ids import Id
from multitudes.retrieve.similar import Neighbour, similar
from multitudes.service import schemas
from multitudes.service.admission import OverloadError
from multitudes.service.deadlines import Deadline, DeadlineHeader
from multitudes.service.documents import answers
from multitudes.service.kinds import check_kinds
from multitudes.service.parts import Parts
from multitudes.service.paths import id_of
from multitudes.service.refusals import RefusalError, json_answer

_AT_ONCE = 2  # searches beside those of the engine, which has the machine


def router(parts: Parts) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["items"])
    # A search that nobody waits for any more goes on to its end, and keeps its thread until then.
    deadlines, threads = parts.settings.deadlines, ThreadPoolExecutor(_AT_ONCE, "similar")

    @routes.get("/v1/items/{id:path}/similar", response_model=schemas.Similar, responses=answers("similar"))
    async def similar_items(
        id: str,  # noqa: A002
        request: Request,
        n: Annotated[int, Query(ge=1, le=schemas.MAX_N, description="How many neighbours.")] = 20,
        deadline_ms: DeadlineHeader = None,
    ) -> Response:
        """Return the items that lie nearest to one, nearest first."""
        item_id = id_of(id)
        check_kinds(parts, (), [item_id])
        deadline = Deadline(request, deadline_ms, deadlines.default_ms, deadlines)
        try:
            async with asyncio.timeout(deadline.left_s()):
                search = asyncio.get_running_loop().run_in_executor(threads, _find, parts, item_id, n)
                version, found = await search
        except TimeoutError:
            parts.measures.shed("similar", "time")
            raise OverloadError("no time for this search before its deadline; come again later", 1.0) from None
        if found is None:
            raise RefusalError(404, f"item {item_id!r} is not in release {version}; ask for one that is")
        return json_answer({"item_id": item_id, "release": version, "candidates": found})

    return routes


def _find(parts: Parts, item_id: Id, n: int) -> tuple[str, list[Neighbour] | None]:
    release = parts.current().release
    return release.version, similar(release, item_id, n)
