"""``/``: the page of the explorer, and ``/v1/explore…``: what it shows. Nothing is stored, or logged as served."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Final, TypeVar

from fastapi import APIRouter, Query
from starlette.responses import Response

from multitudes import api
from multitudes.explorer.explorer import Explorer
from multitudes.explorer.page import live_page
from multitudes.records import to_record
from multitudes.service import schemas
from multitudes.service.admission import OverloadError
from multitudes.service.auth import EXPLORER_PATH
from multitudes.service.dependencies import Dependencies
from multitudes.service.errors import ApiError, json_response
from multitudes.service.id_types import check_id_types
from multitudes.service.large_bodies import LargeBodyRoute
from multitudes.service.openapi import responses
from multitudes.service.state_lookup import look_up_states

_TIME_LIMIT_S: Final = 30.0  # the first request may lay out the map of an older release
_STATE_S: Final = 1.0
_THREADS: Final = 1  # the explorer must not slow down the recommendations
T = TypeVar("T")
Count = Annotated[int, Query(ge=1, le=api.MAX_EXPLORED, description="How many, at most.")]


def explorer_router(deps: Dependencies) -> APIRouter:
    """Return the routes of the explorer."""
    routes = APIRouter(tags=["explorer"], route_class=LargeBodyRoute)
    explorer, threads = Explorer(deps.get_retriever), ThreadPoolExecutor(_THREADS, "explorer")
    page = live_page()

    async def run(function: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(_TIME_LIMIT_S):
                return await asyncio.get_running_loop().run_in_executor(threads, function)
        except TimeoutError:
            raise OverloadError("the explorer has no time for this now; try again later", 1.0) from None

    @routes.get(EXPLORER_PATH, include_in_schema=False)
    async def show_page() -> Response:
        """Return the page; it contains no data."""
        headers = {"content-security-policy": page.policy}
        return Response(page.html, media_type="text/html; charset=utf-8", headers=headers)

    @routes.get("/v1/explore/map", **_described(api.ExploreMapResponse))  # type: ignore[arg-type]
    async def show_map() -> Response:
        """Return the map of the items, and what the page needs to know of the release."""
        return json_response(to_record(await run(explorer.map)))

    @routes.get("/v1/explore/users", **_described(api.ExploreUsersResponse))  # type: ignore[arg-type]
    async def draw_users(n: Count = 1) -> Response:
        """Draw users of the release at random."""
        drawn = await run(lambda: explorer.draw_users(n))
        return json_response(api.ExploreUsersResponse(tuple(user for user in drawn if not deps.states.is_erased(user))))

    @routes.get("/v1/explore/items", **_described(api.ExploreItemsResponse))  # type: ignore[arg-type]
    async def search_items(
        text: Annotated[
            str,
            Query(
                min_length=1, max_length=api.TEXT_CHARACTERS, description="Part of a title or id.", examples=["film"]
            ),
        ],
        n: Count = 10,
    ) -> Response:
        """Search items by their titles."""
        return json_response(to_record(await run(lambda: explorer.search_items(text, n))))

    @routes.post("/v1/explore", **_described(api.ExploreResponse))  # type: ignore[arg-type]
    async def explore(body: schemas.ExploreRequest) -> Response:
        """Return a user's history, interests and candidates, and what one vector would give."""
        users = [] if body.user_id is None else [body.user_id]
        check_id_types(deps, users, [*(body.history or ()), *body.added])
        lookup = await look_up_states(deps.states, users, _STATE_S)
        answer = await run(lambda: explorer.explore(body, lookup.of(body.user_id), lookup.failure))
        if answer is None:
            release = deps.get_retriever().release.version
            raise ApiError(
                404, f"user {body.user_id!r:.80} is not in release {release}; draw another, or build a history"
            )
        return json_response(to_record(answer))

    return routes


def _described(kind: type[object]) -> dict[str, object]:
    return {"response_model": schemas.answer_model(kind), "responses": responses(kind)}
