"""Releases change a hundred times under load: nobody fails, and each answer is of one release, the one that it names.

Two releases of the same users and items answer differently. What each of them says to a user is asked beforehand, so
an answer that names one and holds scores of the other, or of neither, is seen. The control joins the user tower of one
with the index of the other, as a service would for a moment that replaces its components one by one; that of the time
until a release answers again is a service that looks for one every 20 s.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

from multitudes.ids import Id
from multitudes.progress import Progress
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.request import Request
from multitudes.retrieval.retriever import Retriever
from reliability.claims import TrialResult, at_most, at_scale
from reliability.connection import Connection, post, run
from reliability.server import UNHURRIED, serving
from reliability.world import World, publish_world

_CLIENTS, _USERS, _N = 4, 20, 20
_PATIENCE_S = 60.0
_TAKEN_UP = (("longest_s", 5.0, "has served"), ("first_s", 10.0, "is new to the service"))
_SELDOM = "from multitudes.retrieval import release_watcher; release_watcher._POLL_INTERVAL_S = 20.0"
_CLOSE = 1e-3  # scores of one release that differ by rounding alone; those of two differ by more
Scores = dict[Id, float]
Expected = Mapping[tuple[str, int], Scores]  # by version and user


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Change between two releases, and hold every answer to the one that it names."""
    world, swaps = World(items=at_scale(5_000, scale, 200), users=_USERS), at_scale(100, scale, 2)
    versions = [publish_world(folder / "releases", seed, world) for seed in (0, 1)]
    retrievers = {version: Retriever.open(folder / "releases" / "versions" / version) for version in versions}
    expected = {(v, user): _scores(r, user) for v, r in retrievers.items() for user in range(1, _USERS + 1)}
    seen = run(_swap_releases(folder / "releases", folder / "service", versions, swaps, expected, progress))
    seldom = run(_swap_releases(folder / "releases", folder / "seldom", versions, 2, expected, progress, _SELDOM))
    first, second = retrievers.values()
    joined = Retriever(replace(first.release, index=second.release.index), first.config)
    control = sum(_is_mixed(_scores(joined, user), expected[versions[0], user]) for user in range(1, _USERS + 1))
    said = "the tower of one with the index of the other"
    return TrialResult(
        [
            at_most(0, "answers that failed", seen["failed"], "a service that stops for each release", seen["stopped"]),
            at_most(0, "answers that mix releases", seen["mixed"], said, control),
            *(
                at_most(
                    most_s,
                    f"longest time until a release answers that {which}, s",
                    seen[name],
                    "looks seldom",
                    seldom[name],
                )
                for name, most_s, which in _TAKEN_UP
            ),
        ],
        {"swaps": swaps, **seen},
    )


async def _swap_releases(
    releases: Path,
    folder: Path,
    versions: list[str],
    swaps: int,
    expected: Expected,
    progress: Progress,
    before: str = "",
) -> dict[str, Any]:
    """Let clients ask while the releases change, and then while the service ends."""
    with serving(releases, folder, UNHURRIED, before=before) as server:
        users = Clients(server.port, expected)
        clients = [asyncio.create_task(users.client(number)) for number in range(_CLIENTS)]
        store, took_s = ReleaseStore(releases), list[float]()
        for swap in range(swaps):
            version, begun_s = store.rollback(to=versions[swap % 2]), monotonic()
            async with asyncio.timeout(_PATIENCE_S):
                await users.wait_for(version)
            took_s.append(monotonic() - begun_s)
            progress(swap + 1, swaps, f"{users.answered:,} answers, {users.failed} failed, {users.mixed} mixed")
        seen: dict[str, Any] = {"answers": users.answered, "failed": users.failed, "mixed": users.mixed}
        # The first release is tried before it serves; the others have served here before.
        seen |= {"first_s": round(took_s[0], 2), "longest_s": round(max(took_s[1:]), 2)}
        seen |= {"median_s": round(median(took_s[1:]), 2)}
        await asyncio.to_thread(server.end)
        await asyncio.sleep(0.1)
        users.over = True
        await asyncio.gather(*clients)
        return seen | {"stopped": users.failed - seen["failed"]}


class Clients:
    """Clients that ask for one user after another, and hold each answer to what its release says."""

    def __init__(self, port: int, expected: Expected) -> None:
        self._port, self._expected = port, expected
        self._version, self._changed = "", asyncio.Event()
        self.answered = self.failed = self.mixed = 0
        self.over = False

    async def client(self, number: int) -> None:
        """Ask until it is over; a connection that fails is counted and made anew."""
        connection = None
        while not self.over:
            number += 1
            try:
                connection = connection or await Connection.to(self._port)
                answer = await connection.ask(post("/v1/recommend", {"user_id": 1 + number % _USERS, "n": _N}))
                self._hold(json.loads(answer.body) if answer.status == 200 else None)
            except OSError:
                self._hold(None)
                connection = None
                await asyncio.sleep(0.01)
        if connection is not None:
            connection.close()

    async def wait_for(self, version: str) -> None:
        """Return when a release has answered."""
        while self._version != version:
            self._changed.clear()
            await self._changed.wait()

    def _hold(self, record: dict[str, Any] | None) -> None:
        if record is None:
            self.failed += 1
            return
        self.answered += 1
        found = {one["item_id"]: float(one["score"]) for one in record["candidates"]}
        self.failed += record["degraded"]
        self.mixed += _is_mixed(found, self._expected[record["release"], record["user_id"]])
        if record["release"] != self._version:
            self._version = record["release"]
            self._changed.set()


def _scores(retriever: Retriever, user: int) -> Scores:
    return {one.item_id: one.score for one in retriever.answer([Request(user_id=user, n=_N)])[0].candidates}


def _is_mixed(found: Scores, expected: Scores) -> bool:
    """Tell whether an answer is another than expected, by more than the order of what is equal but for rounding."""
    both = found.keys() & expected.keys()
    return len(both) < 0.9 * len(expected) or any(abs(found[item] - expected[item]) > _CLOSE for item in both)
