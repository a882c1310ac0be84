"""A loop that is held up while requests are in flight is late, and says so; without requests it never wakes."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from multitudes.service import loop_lag
from multitudes.service.loop_lag import LoopLagMonitor
from multitudes.service.request_context import RequestContextMiddleware
from multitudes.service.startup import Dependencies

INTERVAL_S = loop_lag._INTERVAL_S


class Clock:
    """A loop whose timers fire when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        self.timers: list[Callable[[], None]] = []
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self)

    def __call__(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, call: Callable[[], None]) -> "Clock":
        assert delay_s == INTERVAL_S
        self.timers.append(call)
        return self

    def cancel(self) -> None:
        self.timers.clear()

    def fire(self, late_s: float = 0.0) -> None:
        self.now_s += INTERVAL_S + late_s
        self.timers.pop()()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def beat(clock: Clock) -> LoopLagMonitor:
    beat = LoopLagMonitor(clock)
    beat.start()
    return beat


def test_a_loop_that_is_held_up_is_late_and_then_no_more(beat: LoopLagMonitor, clock: Clock):
    assert beat.lag_s() == 0.0, "nobody asks"
    beat.enter()
    clock.now_s += INTERVAL_S
    assert beat.lag_s() == 0.0, "it is just due"
    clock.now_s += 0.3
    assert beat.lag_s() == pytest.approx(0.3), "late before it has beaten"
    clock.now_s -= INTERVAL_S + 0.3
    clock.fire(late_s=0.3)
    assert beat.lag_s() == pytest.approx(0.3), "it beat, and was late"
    clock.fire()
    assert beat.lag_s() == 0.0
    clock.now_s += 9.0
    beat.stop()
    assert (beat.lag_s(), clock.timers) == (0.0, [])


def test_it_never_beats_without_requests(beat: LoopLagMonitor, clock: Clock):
    assert not clock.timers, "nobody has asked yet"
    beat.enter()
    beat.enter()
    beat.leave()
    for _ in range(5):
        clock.fire()
    assert len(clock.timers) == 1, "one request is in flight, and has one timer"
    beat.leave()
    clock.fire()
    clock.fire()
    assert not clock.timers


def test_a_lag_counts_for_those_who_come_next_and_for_nobody_later(beat: LoopLagMonitor, clock: Clock):
    beat.enter()
    beat.leave()
    clock.fire(late_s=0.3)
    assert beat.lag_s() == pytest.approx(0.3), "others waited in the loop meanwhile"
    clock.fire(late_s=0.3)
    clock.now_s += 60.0
    assert beat.lag_s() == 0.0, "nobody asked for a minute"
    beat.enter()
    assert beat.lag_s() == 0.0, "a stale lag would reject the first"


def test_it_beats_by_itself():
    beat = LoopLagMonitor()

    async def watch() -> None:
        beat.start()
        beat.enter()
        first_s = beat._due_s
        async with asyncio.timeout(60):
            while beat._due_s == first_s:
                await asyncio.sleep(0)
        beat.stop()

    asyncio.run(watch())


def test_a_request_that_is_cancelled_is_counted_no_more(deps: Dependencies):
    monitor, in_flight = LoopLagMonitor(), list[int]()

    async def hang(*_: Any) -> Any:
        in_flight.append(monitor._in_flight)
        raise asyncio.CancelledError

    middleware = RequestContextMiddleware(hang, deps.metrics, deps.journal, monitor)
    scope = {"type": "http", "method": "GET", "path": "/healthz", "headers": [], "query_string": b""}
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(middleware(scope, hang, hang))
    assert [*in_flight, monitor._in_flight] == [1, 0]
