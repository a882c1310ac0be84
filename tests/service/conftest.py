"""The tiny release, the service in front of it, and a caller that holds every answer to the published description."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from typing import Any

import httpx
import jsonschema
import pytest
from fastapi import FastAPI

from multitudes.retrieval.retriever import Retriever
from multitudes.service.app import create_app
from multitudes.service.in_flight import InFlightRequests
from multitudes.service.journal import Journal
from multitudes.service.metrics import Metrics
from multitudes.service.settings import JournalConfig, ServeConfig
from multitudes.service.startup import Dependencies
from tests.service.fakes import DictStates, ListLogs, PlainEngine

Call = Callable[..., httpx.Response]
_DESCRIPTIONS: list[dict[str, Any]] = []


def patient(**sections) -> ServeConfig:
    """Return settings, given as keys by section, with a deadline that a busy machine keeps unless one is given."""
    return ServeConfig.model_validate({"deadlines": {"default_ms": 20_000, "batch_ms": 20_000}} | sections)


@pytest.fixture
def written() -> StringIO:
    """What the service wrote into its journal."""
    return StringIO()


def dependencies(retriever: Retriever, written: StringIO) -> Dependencies:
    """Return dependencies in memory, which write the journal into ``written``."""
    engine, journal = PlainEngine(retriever), Journal(JournalConfig(), written)
    return Dependencies(patient(), lambda: retriever, engine, DictStates(), ListLogs(), Metrics(), journal)


@pytest.fixture
def deps(retriever: Retriever, written: StringIO) -> Dependencies:
    return dependencies(retriever, written)


@pytest.fixture(scope="session")
def plain_app(retriever: Retriever) -> FastAPI:
    """An application for tests that look at nothing behind it."""
    return create_app(dependencies(retriever, StringIO()))


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody have place among the requests in flight, by so many seconds."""
    monkeypatch.setattr(InFlightRequests, "excess_s", lambda *_: 2.4)
    monkeypatch.setattr(InFlightRequests, "is_full", True)


@pytest.fixture
def call(deps: Dependencies) -> Call:
    app = create_app(deps)
    return lambda method, path, **request: ask(app, method, path, **request)


@pytest.fixture
def plain_call(plain_app: FastAPI) -> Call:
    return lambda method, path, **request: ask(plain_app, method, path, **request)


def with_settings(deps: Dependencies, **sections) -> Dependencies:
    """Return the dependencies under other settings, given as keys by section."""
    return replace(deps, settings=patient(**sections))


def ask(app: FastAPI, method: str, path: str, **request) -> httpx.Response:
    """Ask without a socket, and hold the answer to ``/openapi.json``."""
    base = request.pop("base", "http://127.0.0.1")

    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            return await client.request(method, path, **request)

    response = asyncio.run(once())
    check_described(_description(app), method, path.partition("?")[0], response)
    return response


def _description(app: FastAPI) -> dict[str, Any]:
    """Return the published description; it is the same for all, and takes a while to make."""
    if not _DESCRIPTIONS:
        _DESCRIPTIONS.append(app.openapi())
    return _DESCRIPTIONS[0]


def check_described(description: dict[str, Any], method: str, path: str, response: httpx.Response) -> None:
    """Check an answer against the description of its address; what is no address has the shape of a refusal."""
    assert response.headers["x-request-id"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "server" not in response.headers
    if not response.headers["content-type"].startswith("application/json") or path == "/openapi.json":
        return
    schema: dict[str, Any] = {"$ref": "#/components/schemas/ErrorResponse"}
    for template, methods in description["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", ".+", template), path) and method.lower() in methods:
            answer = methods[method.lower()]["responses"][str(response.status_code)]
            schema = answer["content"]["application/json"]["schema"]
    jsonschema.validate(response.json(), {**schema, "components": description["components"]})


def refusal(response: httpx.Response) -> tuple[int, str, str]:
    """Return status, code and message, and check that the message is one line that tells nothing of the inside."""
    record = response.json()
    message = record["error"]["message"]
    assert record["request_id"] == response.headers["x-request-id"]
    assert "\n" not in message
    assert len(message) < 300
    assert not re.search(r"Traceback|File \"|/home/|\.py\b|0x[0-9a-f]{6}", message)
    return response.status_code, record["error"]["code"], message
