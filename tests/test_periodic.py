"""A periodic task goes on after a failure and ends when it is closed; a file watch reports each change once."""

import logging
from threading import Event

from multitudes.periodic import FileWatch, PeriodicTask


def test_a_task_goes_on_after_a_failure_until_it_is_closed(caplog):
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
    assert caplog.messages == ["trying: failed; will be tried again"] * made
    assert caplog.records[0].exc_info is not None, "the log has the traceback"


def test_a_running_call_ends_before_close_returns():
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


def test_a_change_of_a_file_is_reported_once(tmp_path):
    file = tmp_path / "file"
    watch = FileWatch(file)
    assert [watch.poll(), watch.poll()] == [True, False], "a file that is missing is seen once as well"
    for text in ("appeared", "has grown"):
        file.write_text(text)
        assert [watch.poll(), watch.poll()] == [True, False]
    other = tmp_path / "other"
    other.write_text("has grown")
    other.replace(file)
    assert [watch.poll(), watch.poll()] == [True, False], "replaced by one of the same size"
    file.unlink()
    assert [watch.poll(), watch.poll()] == [True, False]
    watch.reset()
    assert [watch.poll(), watch.poll()] == [True, False]


def test_a_file_is_examined_at_most_once_in_the_interval(tmp_path):
    watch = FileWatch(tmp_path / "file", interval_s=3600)
    assert watch.poll()
    (tmp_path / "file").touch()
    assert not watch.poll()
