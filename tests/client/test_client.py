"""The client against the service itself, and against services that are busy, slow, gone, or something else."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import httpx
import numpy as np
import pytest

from multitudes import Client
from multitudes.api import MAX_BATCH, Candidate, FoundItems
from multitudes.client import AuthError, BusyError, CallError, Event, NoAnswerError, NotFoundError, RecommendRequest
from multitudes.errors import UnavailableError, UsageError
from multitudes.records import from_record
from multitudes.service.app import create_app
from tests import clock
from tests.service.conftest import ask, deps, written  # noqa: F401

REFUSED = {"error": {"code": "overloaded", "message": "no time"}, "request_id": "r-1"}


@dataclass
class Clock(clock.Clock):
    """Time that passes only when somebody sleeps, or a reply takes its time."""

    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


def client(reply: Callable[[httpx.Request], httpx.Response], clock: Clock | None = None, **how) -> Client:
    clock = clock or Clock()
    how = {"deadline_s": 2.0, **how}
    return Client("http://127.0.0.1", transport=httpx.MockTransport(reply), clock=clock, sleep=clock.sleep, **how)


def refuse(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


@pytest.fixture
def service(deps):  # noqa: F811
    app = create_app(deps)

    def reply(request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        answer = ask(app, request.method, path, content=request.content, headers=dict(request.headers))
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    with client(reply) as made:
        yield made


def test_every_method_speaks_to_the_service(service, deps):  # noqa: F811
    answer = service.recommend(RecommendRequest(user_id="ann", n=3, exclude=[105], context={"page": "home"}))
    assert [c.rank for c in answer.candidates] == [1, 2, 3]
    assert (answer.user_id, answer.release, answer.degraded) == ("ann", "0001", False)
    assert answer.interests[0].name == "whole history"
    assert isinstance(answer.candidates[0].found_by, tuple)
    (row, _) = service.recommend(RecommendRequest(user_id="ann", n=3, rows=5)).rows
    assert (row.title, row.kind, row.interest) == ("Drama", "implicit", 1)
    assert [c.rank for c in row.candidates] == [1, 2, 3]
    request = RecommendRequest(user_id="ann", n=3, exclude=[105])
    asked = service.vectors(request)
    assert [(one.interest, one.topic, len(one.vector)) for one in asked.vectors] == [
        (0, None, 2),
        (1, None, 2),
        (2, "Crime", 2),
    ]
    found = [FoundItems(one.interest, [*range(101, 121)]) for one in asked.vectors]
    assert service.recommend(replace(request, found=found)).candidates == answer.candidates
    described = service.recommend_batch(
        [RecommendRequest(history=[101], n=1), RecommendRequest(followed_topics=["Crime"], n=2)]
    )
    assert [len(one.candidates) for one in described] == [1, 2]
    event = Event("ann", 106, action="view", time_s=1_700_000_000, request_id=answer.request_id)
    assert service.events([event, event]).new == 1
    assert deps.logs.events[0].request_id == answer.request_id
    assert service.follow("ann", ["Drama"]).followed_topics == ("Drama",)
    (kept,) = service.user("ann").events
    assert (kept.event_id, kept.item_id, kept.action) == (event.event_id, 106, "view")
    assert service.forget("ann") is True
    assert service.user("ann").forgotten
    assert [item.item_id for item in service.similar(103, n=2)] == [101, 102]
    assert [(one.version, one.serves) for one in service.releases()] == [("0001", True)]


def test_the_line_of_the_service_is_the_line_of_the_error(service):
    with pytest.raises(NotFoundError, match="item 999 is not in release 0001") as caught:
        service.similar(999)
    assert (caught.value.status, caught.value.code, caught.value.exit_code) == (404, "not_found", 2)
    with pytest.raises(CallError, match=r"body\.n = 0: input should be greater than or equal to 1") as wrong:
        service.recommend(RecommendRequest(user_id="ann", n=0))
    assert wrong.value.request_id
    with pytest.raises(CallError, match="either user_id, or history and followed_topics"):
        service.recommend(RecommendRequest())


def test_a_busy_service_is_asked_again_when_it_said_under_the_same_name():
    seen, clock = [], Clock()

    def reply(request: httpx.Request) -> httpx.Response:
        seen.append((json.loads(request.content)["events"], int(request.headers["x-deadline-ms"])))
        if len(seen) < 3:
            return httpx.Response(429, headers={"retry-after": "1"}, json=REFUSED)
        return httpx.Response(200, json={"new": 1, "repeated": 0, "cut": 0})

    assert client(reply, clock, deadline_s=5).events([Event("ann", 1)]).new == 1
    assert clock.slept == [1.0, 1.0]
    assert seen[0][0] == seen[1][0] == seen[2][0], "or it would count twice"
    assert [ms for _, ms in seen] == [5_000, 4_000, 3_000], "the service is told what is left"


def test_a_request_has_a_name_before_it_is_sent_and_keeps_it():
    seen: list[str] = []

    def reply(request: httpx.Request) -> httpx.Response:
        seen.extend(one["request_id"] for one in json.loads(request.content)["requests"])
        return httpx.Response(503, json=REFUSED)

    with pytest.raises(BusyError):
        client(reply).recommend_batch(
            [RecommendRequest("ann"), RecommendRequest("ann"), RecommendRequest("ann", request_id="r")]
        )
    assert len(seen) >= 6, "sent again"
    assert seen == seen[:3] * (len(seen) // 3)
    assert len(set(seen)) == 3


def test_a_key_is_not_carried_to_where_an_answer_points():
    asked = []

    def reply(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(307, headers={"location": "/elsewhere"}, json={})

    with pytest.raises(NoAnswerError):
        client(reply, key="mult_k").releases()
    assert {url.path for url in asked} == {"/v1/releases"}


def test_what_does_not_fit_before_the_deadline_is_not_tried():
    tried, clock = [], Clock()

    def reply(request: httpx.Request) -> httpx.Response:
        tried.append(request)
        return httpx.Response(503, headers={"retry-after": "9"}, json=REFUSED)

    with pytest.raises(BusyError, match="no time") as caught:
        client(reply, clock).recommend(RecommendRequest(user_id="ann"))
    assert (len(tried), clock.slept, caught.value.retry_after_s) == (1, [], 9.0)
    assert isinstance(caught.value, UnavailableError)


def test_nobody_there_is_tried_again_ever_more_slowly_until_the_deadline():
    clock = Clock()

    with pytest.raises(NoAnswerError, match="cannot be reached"):
        client(refuse, clock).user("ann")
    assert len(clock.slept) >= 4
    assert sum(clock.slept) < 2.0
    assert all(0.025 * 2**k <= pause <= 0.05 * 2**k for k, pause in enumerate(clock.slept))


@pytest.mark.parametrize(("status", "kind"), [(401, AuthError), (403, AuthError), (422, CallError), (413, CallError)])
def test_a_wrong_call_is_not_sent_again(status, kind):
    tried = []

    def reply(request: httpx.Request) -> httpx.Response:
        tried.append(request)
        return httpx.Response(status, json={"error": {"code": "c", "message": "wrong"}, "request_id": "r"})

    with pytest.raises(kind, match="wrong"):
        client(reply).recommend(RecommendRequest(user_id="ann"))
    assert len(tried) == 1


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"user_id": "ann"}),
        httpx.Response(302, json={}),
        httpx.Response(502, text="bad gateway"),
        httpx.Response(404, json={"detail": "Not Found"}),
        httpx.Response(500, json={"error": {"code": "defect", "message": "failed"}, "request_id": "r"}),
    ],
    ids=lambda answer: f"{answer.status_code}-{answer.text[:9]}",
)
def test_something_else_that_answers_is_no_answer(answer):
    with pytest.raises(NoAnswerError) as caught:
        client(lambda _: answer, deadline_s=0.01).user("ann")
    assert "\n" not in str(caught.value)


def test_keys_and_passwords_are_sent_and_never_shown():
    seen = []

    def reply(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return refuse(request)

    for key in ("s3cret", "s3cret\n"):  # a file of one line
        made = client(reply, key=key, deadline_s=0.01)
        with pytest.raises(NoAnswerError) as caught:
            made.user("ann")
        assert "s3cret" not in str(caught.value) + repr(made)
    assert set(seen) == {"Bearer s3cret"}
    for key in ("s3cret\ns3cret", "s3crét", ""):
        with pytest.raises(UsageError, match="as `multitudes keys add` shows it") as rejected:
            client(reply, key=key)
        assert "s3cr" not in str(rejected.value)
    with pytest.raises(NoAnswerError, match="cannot be reached") as caught:
        Client("http://bob:s3cret@127.0.0.1", transport=httpx.MockTransport(refuse), deadline_s=0.01).user("ann")
    assert "s3cret" not in str(caught.value)


def test_a_field_of_a_newer_service_is_passed_over_and_a_missing_one_is_not():
    record = dict.fromkeys(("item_id", "title", "score", "rank", "source", "interest", "interest_name", "found_by"), 1)
    assert from_record(Candidate, record | {"more": 2}) == from_record(Candidate, record)
    del record["rank"]
    with pytest.raises(KeyError, match="rank"):
        from_record(Candidate, record)


@pytest.mark.parametrize("deadline_s", [0, -1, float("nan"), float("inf"), 3_601])
def test_a_deadline_that_cannot_be_is_refused(deadline_s):
    with pytest.raises(UsageError, match="3600 at most"):
        Client("http://127.0.0.1", deadline_s=deadline_s)
    with pytest.raises(UsageError, match="3600 at most"):
        client(lambda _: httpx.Response(200, json={})).recommend(RecommendRequest(user_id="ann"), deadline_s=deadline_s)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8000", "localhost", "ftp://127.0.0.1", "http://", "http://127.0.0.1:port", None]
)
def test_an_address_that_is_none_is_refused_before_anything_is_sent(url):
    with pytest.raises(UsageError, match="expected one such as http://127"):
        Client(url)


def test_an_answer_counts_if_it_is_whole_at_its_deadline():
    clock = Clock()

    def late() -> Iterator[bytes]:
        clock.sleep(2.5)
        yield b'{"new": 1, "repeated": 0, "cut": 0}'

    assert client(lambda _: httpx.Response(200, content=late()), clock).events([Event("ann", 1)]).new == 1
    clock = Clock()

    def drops() -> Iterator[bytes]:
        for _ in range(20):
            clock.sleep(0.25)
            yield b" "
        raise AssertionError("it was read to its end")

    with pytest.raises(NoAnswerError, match="no answer within 2 s"):
        client(lambda _: httpx.Response(200, content=drops()), clock).user("ann")
    assert sum(clock.slept) == 2.25, "the piece after the deadline is the last"


def test_integers_of_numpy_are_ids_like_any_other():
    items, asked = np.array([7, 2**60]), []

    def reply(request: httpx.Request) -> httpx.Response:
        asked.append((request.url.path, json.loads(request.content)))
        return httpx.Response(422, json=REFUSED)

    made = client(reply)
    with pytest.raises(CallError):
        made.recommend(RecommendRequest(history=items, exclude=items, n=np.int64(5)))  # type: ignore[arg-type]
    with pytest.raises(CallError):
        made.follow(np.int64(7), ["Drama"])  # type: ignore[arg-type]
    (_, sent), (path, _) = asked
    assert (sent["history"], sent["exclude"], sent["n"]) == ([7, 2**60], [7, 2**60], 5)
    assert path == "/v1/users/7"


@pytest.mark.parametrize(
    "ask",
    [RecommendRequest("\ud800"), RecommendRequest("ann", context={"score": float("nan")})],
    ids=["surrogate", "nan"],
)
def test_what_cannot_be_sent_is_said_in_a_line(ask):
    with pytest.raises(UsageError, match="this cannot be sent"):
        client(lambda _: httpx.Response(200, json={})).recommend(ask)


def test_a_text_in_place_of_a_list_is_refused():
    made = client(lambda _: httpx.Response(200, json={}))
    with pytest.raises(UsageError, match=r"followed_topics = 'Drama': expected a list; give \['Drama'\]"):
        made.follow("ann", "Drama")
    with pytest.raises(UsageError, match=r"exclude = 'm1': expected a list"):
        made.recommend(RecommendRequest("ann", exclude="m1"))
    with pytest.raises(UsageError, match="256,000 candidates"):
        made.recommend_batch([RecommendRequest("ann", n=1_000)] * MAX_BATCH)
