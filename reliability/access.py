"""Every address without a key, with a wrong one, of a wrong scope; and bodies that no service should swallow.

A body of 100 MB comes with its length said and without, numbers that no field can hold, a million ids. The controls: a
service that asks for no key, and one that reads what it is sent.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

from benchmarks.process import peak_mib

from multitudes.progress import Progress
from multitudes.service.api_keys import SCOPES, make_key, sufficient_scopes
from multitudes.service.auth import PUBLIC_PATHS, required_scope
from reliability.claims import TrialResult, at_most
from reliability.connection import Connection, request, run
from reliability.naive import naive
from reliability.server import Server, Settings, serving
from reliability.world import World, publish_world

_LARGE = 100_000_000
_MANY = 1_000_000
_CLOSED = 0  # in place of a status: the connection was closed on who still sends, which may swallow the answer
_NOT_READ = frozenset({413, _CLOSED})
_PIECE = b"[" * (1 << 20)


class Try(NamedTuple):
    """A request, and how it is to be refused."""

    what: str
    refusals: frozenset[int]
    request: bytes
    more: int = 0  # bytes that follow, as many of them as are taken
    chunked: bool = False


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Send every request to the service and to the controls; it is the same at every scale."""
    del scale
    publish_world(folder / "releases", world=World(items=200, users=20))
    file = folder / "keys"
    keys = {scope: make_key(file, scope, (scope,)) for scope in SCOPES}
    keyed: Settings = {"keys": {"file": str(file)}}
    wide: Settings = {**keyed, "http": {"body_bytes": 16 << 20}}
    with serving(folder / "releases", folder / "service", keyed) as server:
        operations = _operations(server, keys["read"])
        unauthorised, bodies = list(_without_right(operations, keys)), list(_bodies(keys))
        progress(0, 4, f"{len(unauthorised)} requests without permission, {len(bodies)} bodies")
        grown = _grown_mib(server, _large(keys))
        opened, swallowed = _wrong_answers(server, unauthorised), _wrong_answers(server, bodies)
    with serving(folder / "releases", folder / "service", wide) as server:
        swallowed += _wrong_answers(server, list(_many(keys, frozenset({422}))))
    progress(2, 4, "controls")
    with serving(folder / "releases", folder / "open") as server:
        opened_control = _wrong_answers(server, unauthorised)
    with naive("plain", folder / "naive") as server:
        grown_control = _grown_mib(server, _large(keys))
        swallowed_control = _wrong_answers(server, bodies)
    said = "reads what it is sent"
    without = f"let in, of {len(unauthorised)} requests without right"
    return TrialResult(
        [
            at_most(0, without, len(opened), "no key is asked for", len(opened_control)),
            at_most(0, "bodies without measure, taken", len(swallowed), said, len(swallowed_control)),
            at_most(20, "memory that 100 MB bodies cost, MiB", grown, said, grown_control),
        ],
        {"addresses": len(operations), "let_in": opened, "taken": swallowed},
    )


def _operations(server: Server, key: str) -> list[tuple[str, str]]:
    """Return method and address of all that asks for a key."""
    asked = Request(f"{server.url}/openapi.json", headers={"authorization": f"Bearer {key}"})
    with urlopen(asked) as answer:
        paths: dict[str, dict[str, Any]] = json.load(answer)["paths"]
    found = [(method.upper(), path.replace("{id}", "1")) for path, methods in paths.items() for method in methods]
    return [(method, path) for method, path in found if path not in PUBLIC_PATHS]


def _without_right(operations: list[tuple[str, str]], keys: dict[Any, str]) -> Iterator[Try]:
    for method, path in [*operations, ("GET", "/nowhere"), ("GET", "/openapi.json")]:
        yield Try(f"{method} {path} without a key", frozenset({401}), _plain(method, path))
        for wrong in ("mult_wrong", keys["read"][:-1], "", "é" * 50):
            yield Try(f"{method} {path} with {wrong[:5]}…", frozenset({401}), _plain(method, path, wrong))
        for scope, key in keys.items():
            if scope not in sufficient_scopes(required_scope(method, path)):
                yield Try(f"{method} {path} with scope {scope}", frozenset({403}), _plain(method, path, key))


def _bodies(keys: dict[Any, str]) -> Iterator[Try]:
    for number in ("1e39", "-1e39", "NaN", "Infinity", "1e999", "9" * 400, "0.5", "true", '"1"', "[" * 100_000):
        for path, body in (
            ("/v1/recommend", '{"user_id": 1, "n": %s}'),
            ("/v1/recommend", '{"user_id": %s}' if number != '"1"' else '{"user_id": ""}%s'),
            ("/v1/events", '{"events": [{"event_id": "e", "user_id": 1, "item_id": 1, "time_s": %s}]}'),
        ):
            key = keys["read" if path == "/v1/recommend" else "write"]
            yield _post(f"{path} {number[:20]}", path, key, frozenset({400, 422}), (body % number).encode())
    yield from _many(keys, frozenset({413}))
    yield from _large(keys)


def _many(keys: dict[Any, str], refusals: frozenset[int]) -> Iterator[Try]:
    ids = json.dumps({"history": list(range(_MANY))}).encode()
    yield _post("a history of a million ids", "/v1/recommend", keys["read"], refusals, ids)
    excluded = json.dumps({"user_id": 1, "exclude": list(range(_MANY))}).encode()
    yield _post("a million excluded ids", "/v1/recommend", keys["read"], refusals, excluded)


def _large(keys: dict[Any, str]) -> Iterator[Try]:
    for path, key in (("/v1/recommend", keys["read"]), ("/v1/events", keys["write"])):
        head = ("content-type: application/json", f"authorization: Bearer {key}")
        said = request("POST", path, b"", *head, f"content-length: {_LARGE}")
        yield Try(f"{path} 100 MB", _NOT_READ, said, _LARGE)
        unsaid = request("POST", path, b"", *head, "transfer-encoding: chunked")
        yield Try(f"{path} 100 MB in chunks", _NOT_READ, unsaid, _LARGE, chunked=True)


def _plain(method: str, path: str, key: str | None = None) -> bytes:
    return request(method, path, b"", *([] if key is None else [f"authorization: Bearer {key}"]))


def _post(what: str, path: str, key: str, refusals: frozenset[int], body: bytes) -> Try:
    return Try(what, refusals, request("POST", path, body, f"authorization: Bearer {key}"))


def _grown_mib(server: Server, tries: Iterator[Try]) -> float:
    """Return by how much the largest memory of a service grows."""
    before = peak_mib(server.process.pid)
    _wrong_answers(server, list(tries))
    return peak_mib(server.process.pid) - before


def _wrong_answers(server: Server, tries: list[Try]) -> list[str]:
    """Return what was not refused as it should be."""
    return [f"{one.what}: {status}" for one in tries if (status := run(_status(server, one))) not in one.refusals]


async def _status(server: Server, one: Try) -> int:
    """Return the status of the answer, for which as much of the body is sent as is taken."""
    connection = await Connection.to(server.port)
    answering = asyncio.create_task(connection.answer())
    try:
        await connection.send(one.request)
        left = one.more
        while left > 0 and not answering.done():
            piece = _PIECE[:left]
            await connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if one.chunked else piece)
            left -= len(piece)
            await asyncio.sleep(0)
    except OSError:
        pass  # it is not read to its end; what counts is the answer
    try:
        async with asyncio.timeout(20):
            return (await answering).status
    except OSError:
        return _CLOSED
    except TimeoutError:
        return -1
    finally:
        connection.close()
