"""A loop that is held up is late, and says so to whoever asks."""

import asyncio

import pytest

from multitudes.service import loop_lag
from multitudes.service.loop_lag import LoopLagMonitor


def test_a_loop_that_is_held_up_is_late_and_then_no_more():
    now = [0.0]
    beat = LoopLagMonitor(lambda: now[0])

    async def watch() -> None:
        assert beat.lag_s() == 0.0, "it has not begun"
        beat.start()
        now[0] += loop_lag._INTERVAL_S
        assert beat.lag_s() == 0.0, "it is just due"
        now[0] += 0.3
        assert beat.lag_s() == pytest.approx(0.3), "late before it has beaten"
        beat._tick()
        assert beat.lag_s() == pytest.approx(0.3), "it beat, and was late"
        now[0] += loop_lag._INTERVAL_S
        beat._tick()
        assert beat.lag_s() == 0.0
        now[0] += 9.0
        beat.stop()
        assert beat.lag_s() == 0.0

    asyncio.run(watch())


def test_it_beats_by_itself():
    beat = LoopLagMonitor()

    async def watch() -> float | None:
        beat.start()
        first = beat._due_s
        while beat._due_s == first:
            await asyncio.sleep(0)
        beat.stop()
        return first

    assert asyncio.run(watch()) is not None
