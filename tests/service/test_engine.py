"""One thread answers what waits, together; a clock at the door; nobody waits for what failed. Time is played."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import pytest

from multitudes.errors import ArtefactError, UnavailableError, UsageError
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.release_watcher import ReleaseWatcher
from multitudes.retrieval.request import Degradation, Request, Shortfall
from multitudes.retrieval.response import Recommendation
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.search import StageTimer, no_timing
from multitudes.service.admission import AdmissionConfig, OverloadError
from multitudes.service.engine import Engine, QueueConfig
from multitudes.service.request_queue import EngineAnswer
from tests.clock import Clock
from tests.retrieval.planted import publish_planted


@dataclass
class Played(Retriever):
    """A retriever whose work takes played time; remembers its batches, and fails on those in ``failing``."""

    clock: Clock
    cost_s: float = 0.010
    failing: dict[object, Exception] = field(default_factory=dict)
    batches: list[tuple[list[object], Degradation]] = field(default_factory=list)
    setbacks: Counter[str] = field(default_factory=Counter)
    at_work: Callable[[], None] = lambda: None

    def answer(
        self, requests: Sequence[Request], *, degradation: Degradation = Degradation.NONE, timer: StageTimer = no_timing
    ) -> list[Recommendation]:
        self.batches.append(([ask.user_id for ask in requests], degradation))
        self.at_work()
        self.clock.now_s += len(requests) * self.cost_s / (1, 2, 4)[degradation]
        timer("tower")
        for ask in requests:
            if ask.user_id in self.failing:
                raise self.failing[ask.user_id]
        return [Recommendation(ask.user_id, "1", (), (), degradation=degradation) for ask in requests]

    def recommend_popular(self, request: Request, shortfall: Shortfall) -> Recommendation:
        return Recommendation(request.user_id, "1", (), (), (shortfall,), degradation=Degradation.POPULAR)


@pytest.fixture
def played() -> Played:
    return Played(Clock(100.0))


def engine(played: Played, **settings) -> Engine:
    def count(kind: str, requests: int) -> None:
        played.setbacks[kind] += requests

    admission = AdmissionConfig(headroom=1.0)
    return Engine(lambda: played, QueueConfig(**settings), admission, count=count, clock=played.clock)


async def ask(engine: Engine, request: Request, deadline_s: float) -> EngineAnswer:
    return (await answers(engine, [request], deadline_s))[0]


async def answers(engine: Engine, requests: Sequence[Request], deadline_s: float) -> list[EngineAnswer]:
    return [answer async for answer in engine.answer(requests, deadline_s, "interactive")]


def result(future: "Future[EngineAnswer]") -> Recommendation:
    assert future.done()
    return future.result().recommendation


def test_what_gathered_is_answered_together_interactive_before_batch(played: Played):
    some = engine(played, batch=3)
    later = some.submit([Request(10), Request(11)], 1.0, "batch")
    first = [some.submit([Request(user)], 1.0, "interactive")[0] for user in (1, 2)]
    assert [some.step(), some.step(), some.step()] == [3, 1, 0]
    assert played.batches == [([1, 2, 10], Degradation.NONE), ([11], Degradation.NONE)]
    assert [result(future).user_id for future in (*first, *later)] == [1, 2, 10, 11]


def test_a_small_batch_waits_for_no_more_of_a_large_one_than_it_asks_for(played: Played):
    some = engine(played, batch=1)
    some.submit([Request(user) for user in range(100, 140)], 1.0, "batch")
    for users in ([1, 2], [3]):
        some.submit([Request(user) for user in users], 1.0, "batch")
    while some.step():
        pass
    assert [users[0] for users, _ in played.batches] == [100, 1, 3, 101, 2, *range(102, 140)]


def test_a_batch_is_no_longer_than_all_in_it_may_have_to_wait(played: Played):
    some = engine(played, batch_s=0.035)
    some.submit([Request(0)], 1.0, "interactive")
    some.step()  # 10 ms
    some.submit([Request(user) for user in range(1, 6)], 1.0, "interactive")
    assert [some.step(), some.step(), some.step()] == [3, 2, 0]
    played.cost_s = 1.0
    some.submit([Request(7)], 9.0, "interactive")
    some.submit([Request(8)], 9.0, "interactive")
    assert some.step() == 2, "it is not known yet that they are dear"
    some.submit([Request(9), Request(10)], 9.0, "interactive")
    assert some.step() == 1, "one at least, however dear"


@pytest.mark.parametrize(("hurried", "together"), [(1, [[1], [2, 3, 4]]), (2, [[1, 2], [3, 4]])])
def test_nobody_gets_company_that_would_make_them_late(played: Played, hurried: int, together: list[list[int]]):
    some = engine(played, batch_s=0.1)
    some.submit([Request(0)], 1.0, "interactive")
    some.step()  # 10 ms
    futures = []
    for user in (1, 2, 3, 4):
        due_s = 0.010 * user + 0.005 if user == hurried else 1.0
        futures += some.submit([Request(user)], due_s, "interactive")
    while some.step():
        pass
    assert [users for users, _ in played.batches[1:]] == together
    assert {result(future).degradation for future in futures} == {Degradation.NONE}


def test_an_answer_says_how_long_it_waited_and_where_its_time_went(played: Played):
    some = engine(played)
    [future] = some.submit([Request(1)], 1.0, "interactive")
    played.clock.now_s += 0.05
    some.step()
    answered = future.result()
    assert answered.waited_s == pytest.approx(0.05)
    assert answered.stage_s == {"tower": pytest.approx(0.010)}


def test_measured_costs_lower_the_effort_then_answer_at_the_door(played: Played):
    some = engine(played)
    some.submit([Request(0)], 1.0, "interactive")
    some.step()  # 10 ms, so the next ones are known
    futures = [some.submit([Request(user)], 0.025, "interactive")[0] for user in range(1, 6)]
    assert futures[4].done(), "answered at the door: 10 + 10 + 5 ms leave no room"
    assert result(futures[4]).reason == "to be in time: popular items"
    while some.step():
        pass
    efforts = [result(future).degradation for future in futures]
    assert efforts[0] == Degradation.NONE
    assert efforts == sorted(efforts), "the later, the less"
    assert played.clock.now_s <= 100.010 + 0.025


def test_time_that_ran_short_in_the_queue_lowers_the_effort(played: Played):
    some = engine(played)
    some.submit([Request(0)], 1.0, "interactive")
    some.step()
    [future] = some.submit([Request(1)], 0.1, "interactive")
    played.clock.now_s += 0.093  # something unforeseen
    some.step()
    assert result(future).degradation == Degradation.FEWER


def test_no_more_wait_than_the_queue_holds(played: Played):
    some = engine(played, queue=2)
    futures = [some.submit([Request(user)], 9.0, "interactive")[0] for user in range(4)]
    assert [future.done() for future in futures] == [False, False, True, True]
    with pytest.raises(OverloadError, match="try again later"):
        some.submit([Request(5)], 9.0, "batch")
    assert some.state().queued == 2


def test_a_wrong_request_is_refused_at_once_and_takes_no_other_with_it(played: Played):
    some = engine(played)
    with pytest.raises(UsageError, match="0 candidates"):
        some.submit([Request(1), Request(2, n=0)], 1.0, "batch")
    played.failing[3] = UsageError("this one is wrong")
    good, wrong = (some.submit([Request(user)], 1.0, "interactive")[0] for user in (1, 3))
    some.step()
    assert result(good).degradation == Degradation.NONE
    assert isinstance(wrong.exception(), UsageError)


def test_what_fails_gets_popular_items_and_its_company_does_not_suffer(played: Played, caplog):
    some = engine(played)
    played.failing[2] = ArtefactError("tower: broken")
    futures = [some.submit([Request(user)], 1.0, "interactive")[0] for user in (1, 2, 3)]
    some.step()
    assert [result(future).reason for future in futures] == ["", "the retrieval failed: popular items", ""]
    assert played.setbacks["failed"] == 1
    assert caplog.messages == ["retrieval failed"]


def test_an_index_that_hangs_soon_seems_too_dear_and_is_asked_once_in_a_while(played: Played, caplog):
    some = engine(played)
    played.failing[1], played.cost_s = UnavailableError("index: no answer in 3 s"), 3.0
    together = [some.submit([Request(user)], 0.1, "interactive")[0] for user in (1, 2)]
    some.step()
    assert played.batches == [([1, 2], Degradation.NONE)], "not asked again for each of them"
    assert {result(future).degradation for future in together} == {Degradation.POPULAR}
    asked = [some.submit([Request(1)], 0.1, "interactive")[0] for _ in range(20)]
    assert sum(not future.done() for future in asked) == 1, "the probe"
    played.failing.clear()
    played.cost_s = 0.010
    some.step()
    [after] = some.submit([Request(1)], 0.1, "interactive")
    some.step()
    assert result(after).degradation == Degradation.NONE


def test_what_runs_now_is_ahead_of_who_comes_and_what_is_late_is_expected_to_be_as_late_again(played: Played):
    some = engine(played, batch_s=1.0)
    some.submit([Request(0)], 1.0, "interactive")
    some.step()  # 10 ms
    ahead_s = []

    def work() -> None:
        for seconds in (0, 0.005, 0.045):
            played.clock.now_s += seconds
            ahead_s.append(some.state().backlog_s)

    played.at_work = work
    some.submit([Request(1), Request(2)], 1.0, "interactive")
    assert some.state().backlog_s == pytest.approx(0.020)
    some.step()
    assert ahead_s == pytest.approx([0.020, 0.015, 0.030]), "nobody waits, and two are worked for"
    assert some.state().backlog_s == 0


class Held(Played):
    """A retriever that does not answer until it is let go."""

    def __init__(self):
        super().__init__(Clock(100.0))
        self.began, self.go = Event(), Event()

    def answer(self, requests, *, degradation=Degradation.NONE, timer=no_timing):
        self.began.set()
        assert self.go.wait(20)
        return super().answer(requests, degradation=degradation, timer=timer)


def test_nobody_waits_beyond_the_deadline_for_a_search_that_hangs(monkeypatch):
    patience_s, timeout_at, held = [], asyncio.timeout_at, Held()

    def noted(until_s: float) -> asyncio.Timeout:
        now_s = asyncio.get_running_loop().time()
        patience_s.append(until_s - now_s)
        assert held.began.wait(20), "else the request is cancelled before it is taken up"
        return timeout_at(now_s)  # as if that time were over

    monkeypatch.setattr(asyncio, "timeout_at", noted)
    setbacks = list[str]()
    some = Engine(lambda: held, count=lambda kind, _: setbacks.append(kind))
    some.start()
    answered = asyncio.run(ask(some, Request(1), 20.0))
    assert answered.recommendation.reason == "to be in time: popular items"
    assert len(patience_s) == 1
    assert 0 < patience_s[0] <= 0.9 * 20
    assert not held.go.is_set(), "the search still hangs"
    assert setbacks == ["late"]
    held.go.set()
    some.close()


def test_who_was_answered_in_time_keeps_the_answer_where_another_is_late(played: Played, monkeypatch):
    some, timeout_at, left_s = engine(played, batch=1), asyncio.timeout_at, iter((60.0, 0.0))
    monkeypatch.setattr(asyncio, "timeout_at", lambda _: timeout_at(asyncio.get_running_loop().time() + next(left_s)))

    async def together() -> list[EngineAnswer]:
        waiting = asyncio.create_task(answers(some, [Request(1), Request(2)], 20.0))
        await asyncio.sleep(0)
        some.step()  # and nobody ever takes the second
        return await waiting

    first, second = asyncio.run(together())
    assert [one.recommendation.degradation for one in (first, second)] == [Degradation.NONE, Degradation.POPULAR]


def test_closing_answers_what_was_accepted_and_refuses_what_comes_later():
    held = Held()
    some = Engine(lambda: held, QueueConfig(batch=1))
    some.start()

    async def close_while_three_wait() -> list[EngineAnswer]:
        asked = [asyncio.create_task(ask(some, Request(user), 20.0)) for user in range(3)]
        await asyncio.to_thread(held.began.wait, 20)
        closing = asyncio.create_task(asyncio.to_thread(some.close))
        while not some._closing:
            await asyncio.sleep(0)
        with pytest.raises(OverloadError):
            await ask(some, Request(9), 20.0)
        held.go.set()
        await closing
        return await asyncio.gather(*asked)

    given = asyncio.run(close_while_three_wait())
    assert [answered.recommendation.user_id for answered in given] == [0, 1, 2]


def test_a_caller_who_goes_away_is_not_worked_for():
    held = Held()
    some = engine(held, batch=1)
    some.start()

    async def go_away() -> None:
        first = asyncio.create_task(ask(some, Request(1), 20.0))
        await asyncio.to_thread(held.began.wait, 20)
        second = asyncio.create_task(ask(some, Request(2), 20.0))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        held.go.set()
        await first

    asyncio.run(go_away())
    some.close()
    assert [users for users, _ in held.batches] == [[1]]
    assert held.setbacks == {"cancelled": 1}


def test_a_release_that_was_replaced_is_free_while_the_engine_idles(tmp_path: Path):
    for k in (1, 2):
        publish_planted(tmp_path, k, turned_tower=False, turned_index=False)
    current = ReleaseWatcher(tmp_path)
    some = Engine(current)
    some.start()
    asyncio.run(ask(some, Request("ann", n=3), 20.0))
    ReleaseStore(tmp_path).rollback()
    assert current.poll()
    assert asyncio.run(ask(some, Request("ann", n=3), 20.0)).recommendation.release == "0001"
    assert f"{tmp_path}/versions/0002/" not in Path("/proc/self/maps").read_text()
    some.close()
