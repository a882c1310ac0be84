"""What is done again and again goes on after a failure, and ends when it is closed."""

import logging
from threading import Event

from multitudes.periodic import PeriodicTask


def test_it_is_done_again_after_a_failure_until_it_is_closed(caplog):
    calls: list[int] = []
    enough = Event()

    def do() -> None:
        calls.append(len(calls))
        if len(calls) == 3:
            enough.set()
        raise ValueError("no luck")

    again = PeriodicTask(1e-3, do, "trying")
    with caplog.at_level(logging.ERROR):
        again.start()
        assert enough.wait(20), "one failure ended it"
        again.close()
    made = len(calls)
    assert not again._thread.is_alive()
    assert caplog.messages == ["trying: failed; tried again"] * made
    assert caplog.records[0].exc_info is not None, "who reads the journal wants the reason"


def test_a_call_that_is_under_way_ends_before_close_returns():
    begun, may_end, ended = Event(), Event(), Event()

    def do() -> None:
        begun.set()
        may_end.wait(20)
        ended.set()

    slow = PeriodicTask(1e-3, do, "slow")
    slow.start()
    assert begun.wait(20)
    may_end.set()
    slow.close()
    assert ended.is_set()


def test_what_was_never_begun_may_be_closed():
    calls: list[None] = []
    PeriodicTask(1e-3, lambda: calls.append(None), "never").close()
    assert not calls
