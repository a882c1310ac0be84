"""CPU time of a request by stage: the parts of the service, called one after another in one thread.

The cost of HTTP, its framework and hand-over between threads is not included; it is the rest of the CPU time of a
service, see ``run``.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from benchmarks.service.releases import STORE
from benchmarks.timing import StageClock, spread
from multitudes.ids import Id
from multitudes.logs.logs import Logs
from multitudes.logs.schemas import IdTypes, ServedResponse
from multitudes.retrieval.request import Request
from multitudes.retrieval.retriever import Retriever
from multitudes.service import schemas
from multitudes.service.errors import json_response
from multitudes.service.metrics import Metrics
from multitudes.state.protocol import UserStateStore
from multitudes.state.store import open_state_store

# In the order in which a request meets them; "users" to "names" are what a retriever says of itself.
STAGES = ("body", "state", "users", "tower", "search", "blend", "names", "log", "measures", "json")
_WARM = 20


def measure(folder: str, method: str, requests: int, rounds: int, n: int) -> dict[str, Any]:
    """Return the CPU milliseconds of each stage of a request: the spread of the means of the rounds."""
    retriever = Retriever.open(Path(folder) / method)
    with (
        TemporaryDirectory() as scratch,
        closing(open_state_store(Path(folder) / STORE)) as states,
        closing(Logs(Path(scratch), IdTypes("int64", "int64"))) as logs,
    ):
        parts = _Pipeline(retriever, states, logs)
        users = (np.arange(requests) * 7919 % retriever.release.n_users + 1).tolist()
        for user in users[:_WARM]:
            parts.answer(user, n)
        ms = [parts.mean_ms(users, n) for _ in range(rounds)]
    return {
        "stages": {stage: spread([one[stage] for one in ms]) for stage in STAGES},
        "all": spread([sum(one.values()) for one in ms]),
        "answer_bytes": parts.answer_bytes,
    }


class _Pipeline:
    """The parts of the service in the order of a request, with a clock."""

    def __init__(self, retriever: Retriever, states: UserStateStore, logs: Logs) -> None:
        self._retriever, self._states, self._logs, self._measures = retriever, states, logs, Metrics()
        self._clock = StageClock(STAGES)
        self._body = TypeAdapter(schemas.RecommendRequest)
        self.answer_bytes = 0

    def mean_ms(self, users: Sequence[Id], n: int) -> dict[str, float]:
        """Recommend to users in turn, and return the mean milliseconds of each stage."""
        self._clock = StageClock(STAGES)
        for user in users:
            self.answer(user, n)
        return {stage: 1e3 * seconds / len(users) for stage, seconds in self._clock.seconds.items()}

    def answer(self, user: Id, n: int) -> None:
        """Answer one request as the service does."""
        clock = self._clock
        clock.start()
        body = self._body.validate_json(f'{{"user_id": {user}, "n": {n}}}')
        clock.end("body")
        (person,) = self._states.read([user])
        clock.end("state")
        ask = Request(body.user_id, user_state=person, n=body.n, request_id="benchmark")
        (answer,) = self._retriever.answer([ask], timer=clock.end)
        given = {"request_id": ask.request_id, "user_id": user, "release": answer.release}
        self._logs.log_served(ServedResponse.from_candidates(answer.candidates, time_s=int(time.time()), **given))  # type: ignore[arg-type]
        clock.end("log")
        self._measures.record_answer(answer, n)
        clock.end("measures")
        written = json_response({**given, "candidates": answer.records(), "interests": answer.interests})
        clock.end("json")
        self.answer_bytes = len(written.body)
