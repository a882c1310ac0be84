"""``/``: the page of the explorer, and ``/v1/explore…``: what it shows. Nothing is stored, or logged as served."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Annotated, Final, TypeVar
from weakref import ReferenceType, ref

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from multitudes import api
from multitudes.errors import ArtefactError, UsageError
from multitudes.explorer.explorer import Explorer, OtherReleases
from multitudes.explorer.images import read_images
from multitudes.explorer.page import live_page
from multitudes.records import to_record
from multitudes.release.release import Release
from multitudes.retrieval.release_trial import ReleaseTrial
from multitudes.service import schemas
from multitudes.service.admission import OverloadError
from multitudes.service.auth import EXPLORER_PATH
from multitudes.service.errors import ApiError, json_response, raw_json_response
from multitudes.service.metrics import Metrics
from multitudes.service.openapi import answers_with
from multitudes.service.request_context import client_name
from multitudes.service.schemas import LargeBodyRoute
from multitudes.service.startup import Dependencies
from multitudes.service.state_guard import look_up_states

_TIME_LIMIT_S: Final = 30.0  # an older release may have no map, which takes long to lay out
_STATE_S: Final = 1.0
_OPEN_S: Final = 600  # that a release which nobody asks for stays open beside the one that serves
_REST: Final = 3.0  # times as long as it worked, the explorer rests: it takes a quarter of a core
_MAX_REST_S: Final = 5.0
_MAX_WAITING: Final = 16  # requests at a time, each of up to a megabyte
_MAX_WAITING_CLIENT: Final = 8  # of one client, so that others need not wait for long
_MAX_OPENING_CLIENT: Final = 2  # of them, requests for a release that is not open
_BUSY: Final = "the explorer has no time for this now; try again later"
T = TypeVar("T")
Count = Annotated[int, Query(ge=1, le=api.MAX_EXPLORED, description="How many, at most.")]


class ExplorerThread:
    """Runs work of the explorer, one request after the other, with rests: it must not slow down the recommendations.

    It works in Python, which the engine's thread waits for, so the time that counts is that of the clock.
    """

    def __init__(
        self,
        metrics: Metrics,
        max_waiting_client: int = _MAX_WAITING_CLIENT,
        clock: Callable[[], float] = monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._max_waiting_client = max_waiting_client
        self._metrics, self._executor, self._waiting = metrics, ThreadPoolExecutor(1, "explorer"), Counter[str]()
        self._clock, self._sleep, self._rests_until_s = clock, sleep, 0.0

    async def run(self, request: Request, function: Callable[[], T]) -> T:
        """Return what a function returns. Clients share the places equally, and each has one at least.

        Raises:
            OverloadError: it takes too long, or the client of the request has its share.
        """
        client = client_name(request.scope)
        share = min(_MAX_WAITING // len(self._waiting.keys() | {client}), self._max_waiting_client)
        if self._waiting[client] >= max(share, 1):
            self._metrics.shed.labels("explore", "in_flight").inc()
            raise OverloadError(_BUSY, 1.0, "in_flight")
        self._waiting[client] += 1
        try:
            async with asyncio.timeout(_TIME_LIMIT_S):
                return await asyncio.get_running_loop().run_in_executor(self._executor, self._rest_and_call, function)
        except TimeoutError:
            raise OverloadError(_BUSY, 1.0) from None
        finally:
            self._waiting[client] -= 1
            self._waiting += Counter()  # without those that have none

    def _rest_and_call(self, function: Callable[[], T]) -> T:
        """Rest for the work before, and call a function: who asks for little does not wait."""
        start_s = self._clock()
        if start_s < self._rests_until_s:
            self._sleep(self._rests_until_s - start_s)
            start_s = self._clock()
        try:
            return function()
        finally:
            end_s = self._clock()
            self._rests_until_s = end_s + min(_REST * (end_s - start_s), _MAX_REST_S)

    async def answer(self, request: Request, function: Callable[[], object]) -> Response:
        """Answer with the record that a function returns."""
        return raw_json_response(await self.run(request, lambda: _write(function())))


class _Others:
    """The other releases: a thread of their own opens them, and they are freed when nobody asks for one."""

    def __init__(self, deps: Dependencies) -> None:
        releases = deps.settings.releases
        trial = ReleaseTrial(releases.trial_s, releases.trial_gb, releases.trust)
        self._releases = OtherReleases(deps.get_retriever, deps.beside, trial, releases.trust)
        self._thread = ExplorerThread(deps.metrics, _MAX_OPENING_CLIENT)
        self._is_on = deps.settings.explorer.compare
        self._timer: asyncio.TimerHandle | None = None

    def names(self) -> tuple[str, ...]:
        """Return the names of the releases."""
        return self._releases.names() if self._is_on else ()

    async def explorer(self, request: Request, name: str) -> Explorer:
        """Return the explorer of a release, which is opened off the path of requests for those that are open.

        Raises:
            ApiError: there is no such release, or it is damaged.
            OverloadError: it takes too long, and goes on; or the client of the request waits for others already.
        """
        if not self._is_on:
            raise ApiError(404, "this service shows the release that serves, and no other: [explorer] compare is off")
        if self._timer is not None:  # those that are open are freed when none was asked for in a while
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_OPEN_S, self._releases.close)
        found = self._releases.find(name)
        if found is not None:
            return found
        try:
            return await self._thread.run(request, lambda: self._releases.open(name))
        except UsageError as error:
            raise ApiError(404, str(error)) from None
        except ArtefactError as error:
            raise ApiError(503, str(error)) from None


def _map_writer(deps: Dependencies, explorer: Explorer) -> Callable[[], bytes]:
    """Return a function that writes the map once for a release: its 3,000 items take longer than many answers."""
    written: tuple[ReferenceType[Release], bytes] | None = None

    def write() -> bytes:
        nonlocal written
        release = deps.get_retriever().release
        if written is None or written[0]() is not release:
            written = ref(release), _write(explorer.map())
        return written[1]

    return write


def explorer_router(deps: Dependencies) -> APIRouter:
    """Return the routes of the explorer."""
    routes = APIRouter(tags=["explorer"], route_class=LargeBodyRoute)
    images = read_images(deps.settings.explorer.images)
    explorer = Explorer(deps.get_retriever, images=images.urls)
    page, thread, others = live_page(images.origins), ExplorerThread(deps.metrics), _Others(deps)
    write_map = _map_writer(deps, explorer)

    @routes.get(EXPLORER_PATH, include_in_schema=False)
    async def show_page() -> Response:
        """Return the page; it contains no data."""
        headers = {"content-security-policy": page.policy}
        return Response(page.html, media_type="text/html; charset=utf-8", headers=headers)

    @routes.get("/v1/explore/map", **answers_with(api.ExploreMapResponse))
    async def show_map(request: Request) -> Response:
        """Return the map of the items, and what the page needs to know of the release."""
        return raw_json_response(await thread.run(request, write_map))

    @routes.get("/v1/explore/releases", **answers_with(api.ExploreReleasesResponse))
    async def list_releases(request: Request) -> Response:
        """List the releases that can be shown beside the one that serves."""
        names = await thread.run(request, others.names)
        beside = None if deps.beside is None else deps.beside.name
        return json_response(api.ExploreReleasesResponse(deps.get_retriever().release.version, names, beside))

    @routes.get("/v1/explore/users", **answers_with(api.ExploreUsersResponse))
    async def draw_users(request: Request, n: Count = 1) -> Response:
        """Draw users of the release at random."""
        drawn = await thread.run(request, lambda: explorer.draw_users(n))
        return json_response(api.ExploreUsersResponse(tuple(user for user in drawn if not deps.states.is_erased(user))))

    @routes.get("/v1/explore/items", **answers_with(api.ExploreItemsResponse))
    async def search_items(
        request: Request,
        text: Annotated[
            str,
            Query(
                min_length=1, max_length=api.TEXT_CHARACTERS, description="Part of a title or id.", examples=["film"]
            ),
        ],
        n: Count = 10,
    ) -> Response:
        """Search items by their titles."""
        return await thread.answer(request, lambda: explorer.search_items(text, n))

    @routes.post("/v1/explore", **answers_with(api.ExploreResponse))
    async def explore(body: schemas.ExploreRequest, request: Request) -> Response:
        """Return a user's history, interests and candidates, and what one vector would give."""
        users = [] if body.user_id is None else [body.user_id]
        deps.get_retriever().release.check_id_types(users, [*(body.history or ()), *body.added])
        lookup = await look_up_states(deps.states, users, _STATE_S)
        state, failure = lookup.of(body.user_id), lookup.failure

        answering = explorer if body.release is None else await others.explorer(request, body.release)

        def answer() -> api.ExploreResponse:
            found = answering.explore(body, state, failure)
            if found is None:
                release = body.release or deps.get_retriever().release.version
                raise ApiError(
                    404, f"user {body.user_id!r:.80} is not in release {release}; draw another, or build a history"
                )
            return found

        return await thread.answer(request, answer)

    return routes


def _write(answer: object) -> bytes:
    return orjson.dumps(to_record(answer))
