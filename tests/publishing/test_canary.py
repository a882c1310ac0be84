"""The canary: a service that fails with the new release gets the old one back."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from multitudes.api import RecommendRequest
from multitudes.errors import ArtefactError, UnavailableError
from multitudes.publishing.canary import Canary, CanaryConfig
from multitudes.records import to_body
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.request import Request
from tests.release.small_release import publish_small

REQUESTS = [RecommendRequest(history=("item",), request_id=f"r{i}") for i in range(20)]


class Service:
    """Answers with the release that serves, a few looks after the switch; what it answers can be changed."""

    def __init__(self, store: ReleaseStore, *, late: int = 0) -> None:
        self.store, self.late, self.now_s = store, late, 0.0
        self.serves = store.current()
        self.failing: set[str] = set()  # requests, or versions
        self.changes: dict[str, Any] = {}

    def ask(self, request: RecommendRequest) -> Any:
        self.now_s += 0.01
        if self.serves != self.store.current():
            self.late -= 1
            if self.late < 0:
                self.serves = self.store.current()
        if {self.serves, str(request.request_id)} & self.failing:
            raise UnavailableError("no time")
        return SimpleNamespace(**({"release": self.serves, "candidates": ("a",), "degraded": False} | self.changes))

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def canary(self, releases: Path, **settings: float) -> Canary:
        config = CanaryConfig(requests=20, **settings)
        return Canary(self.ask, REQUESTS, releases, config, clock=lambda: self.now_s, sleep=self.sleep)


def publish_again(releases: Path) -> tuple[str, str]:
    """Return the new version, and the one that served before."""
    former = ReleaseStore(releases).current()
    publish_small(releases)
    return ReleaseStore(releases).current(), former


def test_a_service_that_answers_keeps_the_new_release(releases: Path):
    service = Service(ReleaseStore(releases), late=3)
    canary = service.canary(releases)
    assert canary.ask_before().failed == 0
    answered = canary.ask_after(*publish_again(releases))
    assert (answered.requests, answered.failed, answered.degraded) == (20, 0, 0)
    assert service.serves == ReleaseStore(releases).current() == "0002"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"candidates": ()},
            "20 of 20 requests failed and 0 were degraded .* no candidates. Version 0001 serves again",
        ),
        ({"degraded": True}, "0 of 20 requests failed and 20 were degraded"),
    ],
)
def test_what_fails_with_the_new_release_brings_the_old_one_back(releases: Path, changes, message):
    service = Service(ReleaseStore(releases))
    canary = service.canary(releases)
    canary.ask_before()
    published = publish_again(releases)
    service.changes = changes
    with pytest.raises(ArtefactError, match=message):
        canary.ask_after(*published)
    assert ReleaseStore(releases).current() == "0001"


def test_requests_without_an_answer_bring_it_back_unless_they_failed_before(releases: Path):
    service = Service(ReleaseStore(releases))
    service.failing = {"r3", "r7"}
    canary = service.canary(releases)
    assert canary.ask_before().failed == 2
    assert canary.ask_after(*publish_again(releases)).failed == 2, "as many as before"
    service.failing.add("0003")
    canary = service.canary(releases)
    canary.ask_before()
    with pytest.raises(
        ArtefactError, match=r"20 of 20 requests failed .*the first: no time\. Version 0002 serves again"
    ):
        canary.ask_after(*publish_again(releases))
    assert ReleaseStore(releases).current() == "0002"


def test_a_service_that_does_not_take_the_release_up_gets_the_old_one(releases: Path):
    service = Service(ReleaseStore(releases), late=10_000)
    canary = service.canary(releases, wait_s=5)
    canary.ask_before()
    with pytest.raises(ArtefactError, match=r"still answers with version 0001 after 5 s\. Version 0001 serves again"):
        canary.ask_after(*publish_again(releases))
    assert ReleaseStore(releases).current() == "0001"


def test_a_release_that_another_process_published_meanwhile_stays(releases: Path):
    service = Service(ReleaseStore(releases), late=10_000)
    canary = service.canary(releases)
    canary.ask_before()
    published = publish_again(releases)
    publish_again(releases)
    message = (
        r"version 0002: version 0003 was made current meanwhile\. Version 0001 does not return: .* 0003 serves now"
    )
    with pytest.raises(ArtefactError, match=message):
        canary.ask_after(*published)
    assert ReleaseStore(releases).current() == "0003"
    assert service.now_s < 1, "nobody waits for a release that no longer serves"


def test_a_failure_brings_the_release_back_that_served_last_not_the_one_at_the_start(releases: Path):
    service = Service(ReleaseStore(releases))
    canary = service.canary(releases)
    canary.ask_before()
    publish_again(releases)  # by another process, before this one has the lock
    published = publish_again(releases)
    service.changes = {"degraded": True}
    with pytest.raises(ArtefactError, match=r"Version 0002 serves again"):
        canary.ask_after(*published)
    assert ReleaseStore(releases).current() == "0002"


def test_it_asks_before_anything_is_published(releases: Path, tmp_path: Path):
    service = Service(ReleaseStore(releases))
    service.failing = {"0001"}
    with pytest.raises(UnavailableError, match="no time"):
        service.canary(releases).ask_before()
    with pytest.raises(ArtefactError, match="no releases here"):
        service.canary(tmp_path / "empty")


def test_a_request_of_the_gate_is_sent_as_the_service_accepts_it():
    request = Request(history=("item",), followed_topics=(), n=5, exclude_seen=True, request_id="gate-1")
    body = {"history": ["item"], "followed_topics": [], "n": 5, "exclude_seen": True, "request_id": "gate-1"}
    assert to_body(request) == body
