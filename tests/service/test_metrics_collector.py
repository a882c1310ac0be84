"""What components count themselves is copied as it grows, also when a component starts again from 0."""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from multitudes.errors import StateError
from multitudes.logs.schemas import LoggedEvent
from multitudes.release.store import ReleaseStore
from multitudes.service import startup
from multitudes.service.app import create_app
from multitudes.service.metrics import Metrics
from multitudes.service.startup import Dependencies, open_dependencies
from multitudes.service.state_guard import GuardConfig
from multitudes.state.sqlite import SQLiteStateStore
from tests.release.small_release import publish_small
from tests.service.conftest import ask, patient
from tests.service.test_metrics import value


@pytest.fixture
def real(releases: Path, monkeypatch) -> Iterator[Dependencies]:
    """The dependencies of a real service, whose circuit breaker opens at the first failure."""
    monkeypatch.setattr(startup, "GuardConfig", partial(GuardConfig, failures=1, reset_timeout_s=60))
    monkeypatch.setattr("multitudes.retrieval.release_watcher._POLL_INTERVAL_S", 3600.0)  # the tests look for releases
    with open_dependencies(releases, patient(state={"read_s": 20})) as deps:
        yield deps


def looked(deps: Dependencies) -> Metrics:
    deps.metrics.render()
    return deps.metrics


def test_the_release_that_serves_is_told_and_the_one_before_is_not(real: Dependencies, releases: Path):
    measures = looked(real)
    created = real.get_retriever().release.manifest.created_at.timestamp()
    assert value(measures, "release_info", release="0001") == 1
    assert value(measures, "release_created_timestamp_seconds") == created
    assert (value(measures, "release_items"), value(measures, "processes")) == (20, 1)
    publish_small(releases)
    real.get_retriever.poll()  # type: ignore[attr-defined]
    measures = looked(real)
    assert (value(measures, "release_info", release="0001"), value(measures, "release_info", release="0002")) == (0, 1)
    assert (value(measures, "release_switches_total"), value(measures, "release_refused")) == (1, 0)


@pytest.mark.filterwarnings("ignore")
def test_a_release_that_is_refused_is_told(real: Dependencies, releases: Path, caplog):
    publish_small(releases)
    (ReleaseStore(releases).folder("0002") / "manifest.json").write_text("{")
    with caplog.at_level(logging.CRITICAL):
        real.get_retriever.poll()  # type: ignore[attr-defined]
    measures = looked(real)
    assert (value(measures, "release_refused"), value(measures, "release_info", release="0001")) == (1, 1)


def test_rows_lookups_memory_and_costs_are_counted_as_they_grow_and_after_a_new_begin(real: Dependencies, monkeypatch):
    remembered = real.get_retriever().vector_cache
    for counted, expected in ((5, 5), (7, 7), (2, 9), (2, 9), (3, 10)):
        remembered.misses = counted
        assert value(looked(real), "recalls_total", outcome="miss") == expected
    event = LoggedEvent("e", "ann", 105, 1, None, None)
    real.logs.log_events([event, event])
    assert value(looked(real), "log_rows_total", log="events") == 2
    real.logs.log_events([event])
    looked(real)
    assert value(looked(real), "log_rows_total", log="events") == 3, "looking twice counts once"
    real.logs.log_events([event._replace(item_id="no number")])
    assert value(looked(real), "log_lost_rows_total", log="events") == 1
    ask(create_app(real), "POST", "/v1/recommend", json={"history": [101], "n": 2})
    measures = looked(real)
    assert value(measures, "resident_bytes") > 10e6
    assert value(measures, "cost_seconds", degradation="full") > 0
    assert value(measures, "queue_length") == 0


def test_a_store_that_fails_opens_its_breaker(real: Dependencies, monkeypatch):
    def away(*given: object) -> None:
        raise StateError("away")

    app = create_app(real)
    ask(app, "POST", "/v1/recommend", json={"user_id": "ann", "n": 2})
    measures = looked(real)
    assert (value(measures, "state_breaker_open"), value(measures, "state_errors_total", call="read")) == (0, 0)
    assert value(measures, "state_seconds_count", call="read") == 1
    monkeypatch.setattr(SQLiteStateStore, "read", away)
    ask(app, "POST", "/v1/recommend", json={"user_id": "ann", "n": 2})
    measures = looked(real)
    assert (value(measures, "state_breaker_open"), value(measures, "state_errors_total", call="read")) == (1, 1)
    assert value(measures, "recalls_total", outcome="hit") == 1, "the vectors of the first answer are used again"
    assert value(measures, "remembered_users") == 1
