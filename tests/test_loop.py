"""The loop: what is served is logged, what comes of it is logged, and the next training learns from both.

prepare → train → publish → serve → people engage → prepare → train → publish → serve
"""

import asyncio
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import polars as pl
import pytest
from fastapi import FastAPI

from multitudes.batches.examples import Examples
from multitudes.data.clean.attribution import FeedbackLogs as ReadLogs
from multitudes.data.planted import PlantedConfig, plant, write_world
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import PreparedData
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.publishing.publish import publish
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.retriever import Retriever
from multitudes.service.app import create_app
from multitudes.service.settings import ServeConfig
from multitudes.service.startup import open_dependencies
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.loop import train
from multitudes_lab.experiments.config import ReadoutConfig
from multitudes_lab.experiments.log_outcomes import OutcomesConfig, write_log_outcomes
from multitudes_lab.experiments.readout import analyse_experiment
from tests.batches.targets import batches
from tests.worlds import SMALL_MODEL

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shared_exports")]
USERS, ENGAGED, LENGTH = 24, 6, 10


class Engagement(NamedTuple):
    """What somebody did with an item that was served to them."""

    user: int
    item: int
    request: str


def data_of(tmp: Path) -> Path:
    world = plant(PlantedConfig(users=USERS, items=60, events=400, niches=6, topics=6, sourced_share=0))
    write_world(world, tmp / "data")
    return tmp / "data"


def released(prepared: PreparedData, tmp: Path) -> Path:
    """Train and publish; return the folder of releases."""
    model = UserTowerConfig.model_validate(SMALL_MODEL)
    run = train(prepared, RunConfig(method="joint", model=model, train=TrainConfig(epochs=1)), tmp / "run")
    # In turns, each vector brings its own items, so that topics bring some.
    turns = RetrieveConfig(blend="round_robin", unconditioned_share=0.02, explicit_share=0.5)
    publish(run.path, tmp / "releases", retrieve=turns)
    return tmp / "releases"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The tables, and what was released of them."""
    tmp = tmp_path_factory.mktemp("first")
    data = data_of(tmp)
    return data, released(prepare(data, tmp / "prepared", PrepareConfig(split="leave_one_out")), tmp)


def engaged_with(user: int, request: str, items: list[int]) -> list[Engagement]:
    """Every user takes some of what they are served, from the whole length of the list."""
    return [Engagement(user, item, request) for item in items[:: max(1, len(items) // ENGAGED)][:ENGAGED]]


def by_service(releases: Path, folder: Path) -> list[Engagement]:
    """Serve everybody once over HTTP, and send what they do."""
    sections = {
        "data": {"folder": folder.parent},
        "deadlines": {"default_ms": 30_000},
        "state": {"read_s": 20, "write_s": 20},
    }
    settings = ServeConfig.model_validate(sections)
    with open_dependencies(releases, settings) as deps:
        return asyncio.run(_over_http(create_app(deps)))


async def _over_http(app: FastAPI) -> list[Engagement]:
    transport = httpx.ASGITransport(app=app)
    engagements = []
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
        for user in range(USERS):
            body = {"user_id": user, "n": 30}
            answer = (await client.post("/v1/recommend", json=body)).json()
            assert not answer["degraded"], answer["reason"]
            items = [candidate["item_id"] for candidate in answer["candidates"]]
            engagements += engaged_with(user, answer["request_id"], items)
        events = [
            {"event_id": f"e{i}", "user_id": user, "item_id": item, "action": "save", "request_id": request}
            for i, (user, item, request) in enumerate(engagements)
        ]
        for sent in (events, events[:5]):  # some are sent twice
            assert (await client.post("/v1/events", json={"events": sent})).status_code == 200
    return engagements


def sourced(prepared: PreparedData) -> set[tuple[str, int, int]]:
    """Return (topic, user, item) of every event whose source is known."""
    at = np.flatnonzero(prepared.event_source)
    user = prepared.user_ids.gather(np.searchsorted(prepared.event_offset, at, side="right") - 1)
    item = prepared.items["item_id"].gather(prepared.event_item[at] - 1)
    topics = [prepared.topics[topic] for topic in prepared.event_source[at].tolist()]
    return set(zip(topics, user.to_list(), item.to_list(), strict=True))


def triples(prepared: PreparedData, condition: str) -> Counter[tuple[str, int]]:
    """Return how often training sees each (topic, item) in one epoch."""
    examples = Examples(prepared, history=LENGTH, window=4, condition=condition)  # type: ignore[arg-type]
    assert examples.condition == "source"
    items, seen = prepared.items["item_id"].to_list(), Counter[tuple[str, int]]()
    for batch in batches(examples, 16, seed=0, epoch=0):
        for topic, item in zip(batch.condition_BC.ravel(), batch.target_BW[:, :4].ravel(), strict=True):
            if topic:
                seen[prepared.topics[topic], items[item - 1]] += 1
    return seen


def test_what_was_served_becomes_the_triples_of_the_next_training_and_is_served_again(first, tmp_path):
    data, releases = first
    engagements = by_service(releases, tmp_path / "logs")
    logs = ReadLogs(tmp_path / "logs" / "events", tmp_path / "logs" / "served")
    again = prepare(data, tmp_path / "prepared", PrepareConfig(split="leave_one_out"), logs=logs)

    served = pl.concat([pl.read_parquet(part) for part in (tmp_path / "logs" / "served").glob("*.parquet")])
    topic = {(u, i): c for u, i, c in served.select("user_id", "item_id", "condition").rows() if c is not None}
    expected = {(topic[u, i], u, i) for u, i, _ in engagements if (u, i) in topic}
    assert len(expected) > 10
    assert len(expected) < len(engagements)  # what other interests brought has no topic
    assert sourced(again) == expected
    assert again.manifest["sources"]["by_request"] == len(engagements)

    # Of each user the last two events are held out; everything else that a topic sourced is learned from, once.
    held = {e for u in range(USERS) for e in [x for x in engagements if x.user == u][-2:]}
    learned = Counter((topic[e.user, e.item], e.item) for e in engagements if e not in held and e[:2] in topic)
    assert triples(again, "auto") == learned

    answer = Retriever.open(released(again, tmp_path)).recommend(0, n=30)
    assert {candidate.source for candidate in answer.candidates} >= {"explicit", "implicit"}
    assert not {candidate.item_id for candidate in answer.candidates} & {e.item for e in engagements if e.user == 0}


def test_control_without_what_was_served_no_engagement_has_a_source(first, tmp_path):
    data, releases = first
    by_service(releases, tmp_path / "logs")
    logs = ReadLogs(events=tmp_path / "logs" / "events")
    again = prepare(data, tmp_path / "prepared", PrepareConfig(split="leave_one_out"), logs=logs)
    assert sourced(again) == set()
    assert again.manifest["counts"]["events"] > 400


def test_the_logs_of_a_service_are_the_outcomes_of_an_experiment(first, tmp_path):
    data, releases = first
    engagements = by_service(releases, tmp_path / "logs")
    log, out = tmp_path / "logs", tmp_path / "outcomes.parquet"
    written = write_log_outcomes(log / "served", log / "events", data / "items.parquet", out, OutcomesConfig())
    assert written.users == USERS
    assert written.repeated == 5  # what was sent twice is logged twice
    total = dict(pl.read_parquet(out).group_by("metric").agg(pl.col("value").sum()).iter_rows())
    assert total["visits"] == USERS
    assert total["saves"] == total["feed_saves"] == len(engagements)
    assert sum(total[name] for name in total if name.startswith("feed_saves_")) == len(engagements)
    arms = ["control" if user % 2 else "new" for user in range(USERS)]
    since = pl.read_parquet(out)["timestamp"].min()
    pl.DataFrame({"user_id": range(USERS), "arm": arms, "timestamp": since}).write_parquet(
        tmp_path / "exposures.parquet"
    )
    found = analyse_experiment(
        tmp_path / "exposures.parquet", out, ReadoutConfig(metrics=("saves", "feed_saves/visits"))
    )
    assert set(found.metrics) == {"saves", "feed_saves/visits"}
    assert "does not vary" in str(found.metrics["saves"]["new"].reason)  # everybody took as much
    assert found.repairs == {}
