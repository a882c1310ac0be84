"""When a connection is closed on which nobody asks anything: looked at by hand."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from multitudes.service import request_limits

DONE, GOING = SimpleNamespace(response_complete=True), SimpleNamespace(response_complete=False)


@pytest.mark.parametrize(
    ("cycle", "resting", "before", "closed"),
    [
        (None, False, None, True),  # nothing was ever asked
        (DONE, False, DONE, True),  # a head began behind an answer, and has not ended since the last look
        (DONE, False, None, False),  # it began behind an answer, a moment ago for all that is known
        (DONE, True, DONE, False),  # it lies idle after an answer: another rule
        (GOING, False, GOING, False),  # it is being answered, however long that takes
    ],
)
def test_a_connection_is_closed_when_no_request_came_between_two_looks(cycle, resting, before, closed):
    shut = list[bool]()
    transport = SimpleNamespace(is_closing=lambda: bool(shut), close=lambda: shut.append(True))
    connection = SimpleNamespace(
        transport=transport, cycle=cycle, timeout_keep_alive_task=object() if resting else None
    )

    async def look() -> None:
        request_limits._close_if_idle(cast("request_limits._Connection", connection), 60.0, before)

    asyncio.run(look())
    assert bool(shut) == closed
