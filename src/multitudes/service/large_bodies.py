"""Parses large bodies outside the event loop: a megabyte of JSON would hold up every other request.

One thread parses for all, so that the event loop competes with no more than one for the interpreter. FastAPI accepts a
body that is a model already as it is.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import orjson
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

LARGE_BYTES: Final = 16_384  # parsed in about a millisecond
_THREAD: Final = ThreadPoolExecutor(1, "bodies")


class LargeBodyRoute(APIRoute):
    """A route whose large bodies are parsed and checked in a thread."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of the route."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        model: Any = self.body_field.field_info.annotation

        async def parse_and_handle(request: Request) -> Response:
            body = await request.body()
            if len(body) > LARGE_BYTES:
                # What ``request.json`` returns:
                request._json = await asyncio.get_running_loop().run_in_executor(_THREAD, _parse, model, body)
            return await handle(request)

        return parse_and_handle


def _parse(model: type[BaseModel], body: bytes) -> BaseModel:
    """Return the body as a model.

    Raises:
        RequestValidationError: it is not JSON, or not what the model describes.
    """
    try:
        return model.model_validate(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        problem = {"type": "json_invalid", "loc": ("body", error.pos), "input": {}, "ctx": {"error": error.msg}}
        raise RequestValidationError([problem]) from None
    except ValidationError as error:
        problems = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False)]
        raise RequestValidationError(problems) from None
