"""An erased user is in no segment and comes out of no spool; all other rows stay."""

import errno
import time
from concurrent.futures import ThreadPoolExecutor
from threading import get_ident
from unittest.mock import Mock

import pytest

from multitudes.logs.erasure import apply_erasures
from multitudes.logs.folder import lock_log
from multitudes.logs.schemas import IdTypes
from tests.logs.worlds import Process, answer, erasure_requests, event, logs, rows, segments


def users(folder):
    return rows(folder)["user_id"].to_list()


def erase_at_once(monkeypatch):
    """Let a spool with rows to erase become a segment without its minute."""
    monkeypatch.setattr("multitudes.logs.logs._ERASURE_S", 0.0)


def test_a_user_is_erased_from_segments_and_from_the_spool(tmp_path, monkeypatch):
    earlier = logs(tmp_path)
    earlier.log_served(answer("ann"))
    earlier.log_served(answer("bob"))
    earlier.log_served(answer(None))
    earlier.close()
    written = logs(tmp_path)
    written.log_served(answer("ann"))
    written.log_served(answer(None))
    written.log_events([event(1, "ann"), event(2, "bob"), event(3, "ann")])
    assert written.erase_user("ann") == 3
    assert users(tmp_path / "served") == ["bob"] * 3 + [None] * 3
    written.maintain(0)
    assert users(tmp_path / "events") == []  # the spool keeps its minute
    erase_at_once(monkeypatch)
    written.maintain(0)
    assert users(tmp_path / "served") == ["bob"] * 3 + [None] * 6
    assert users(tmp_path / "events") == ["bob"]
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and b"ann" in file.read_bytes()]
    written.log_events([event(4, "ann")])
    written.close()
    assert users(tmp_path / "events") == ["bob", "ann"]  # a user who returns is new


def test_many_erasures_make_no_segment_each_and_later_rows_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("multitudes.logs.logs._ERASURE_S", 3_600.0)
    written = logs(tmp_path)
    for number in range(20):
        written.log_events([event(number, "ann"), event(20 + number, "bob")])
        written.erase_user("ann")
        written.maintain(0)
    written.log_events([event(40, "ann")])
    written.close()
    assert users(tmp_path / "events") == ["bob"] * 20 + ["ann"]
    assert len(segments(tmp_path / "events")) == 1


def test_control_other_users_are_not_changed(tmp_path):
    written = logs(tmp_path)
    written.log_served(answer("ann"))
    written.close()
    before = [(file.name, file.read_bytes()) for file in sorted((tmp_path / "served").glob("*.parquet"))]
    assert logs(tmp_path).erase_user("an") == 0
    assert [(file.name, file.read_bytes()) for file in sorted((tmp_path / "served").glob("*.parquet"))] == before


def test_a_segment_with_only_that_user_is_deleted(tmp_path):
    written = logs(tmp_path, IdTypes("int64", "int64"))
    written.log_served(answer(7))
    written.close()
    assert logs(tmp_path, IdTypes("int64", "int64")).erase_user(7) == 3
    assert segments(tmp_path / "served") == []


def test_rows_in_the_spool_of_another_process_are_erased_when_it_becomes_a_segment(tmp_path):
    other, written = Process(tmp_path), logs(tmp_path)
    try:
        other.log_events(1, 2, user="ann")
        other.log_events(3, user="bob")
        assert written.erase_user("ann") == 0
        other.log_events(4, user="ann")  # after the request: a new user
        assert len(erasure_requests(tmp_path / "events")) == 1  # the request stays while it is needed
    finally:
        other.kill()
    written.close()
    assert rows(tmp_path / "events")["event_id"].to_list() == ["e3", "e4"]
    assert erasure_requests(tmp_path / "events") == []


def test_a_request_that_another_process_has_just_completed_does_no_harm(tmp_path, monkeypatch):
    erase_at_once(monkeypatch)
    one, two = logs(tmp_path), logs(tmp_path)
    one.log_events([event(1, "ann"), event(2, "bob")])
    two.erase_user("ann")
    (tmp_path / "events" / "open" / "forget-0.json").symlink_to("gone")  # listed, but already gone
    one.maintain(0)
    assert one.counts()["events"]["failures"] == 0
    assert users(tmp_path / "events") == ["bob"]


def test_erasures_that_wait_for_each_other_are_one_pass(tmp_path, monkeypatch):
    names = ["ann", "bob", "cid", "dan"]
    earlier = logs(tmp_path)
    earlier.log_events([event(number, name) for number, name in enumerate([*names, "eve"])])
    earlier.close()
    written = logs(tmp_path)
    passes = Mock(side_effect=apply_erasures)
    monkeypatch.setattr("multitudes.logs.logs.apply_erasures", passes)
    with ThreadPoolExecutor(len(names)) as threads:
        with lock_log(tmp_path / "served"), lock_log(tmp_path / "events"):
            erasing = [threads.submit(written.erase_user, name) for name in names]
            end_s = time.monotonic() + 60
            while len(erasure_requests(tmp_path / "served")) < len(names):
                assert time.monotonic() < end_s, "an erasure is not on record while it waits"
                time.sleep(0.01)
        assert sum(one.result(60) for one in erasing) == len(names)
    assert users(tmp_path / "events") == ["eve"]
    assert erasure_requests(tmp_path / "events") == []
    assert [call.args[0].name for call in passes.call_args_list].count("served") == 1


def test_segments_are_read_and_written_in_one_thread(tmp_path, monkeypatch):
    monkeypatch.setattr("multitudes.logs.logs._MAINTENANCE_INTERVAL_S", 0.01)
    threads = []

    def noted(folder):
        threads.append(get_ident())
        return apply_erasures(folder)

    monkeypatch.setattr("multitudes.logs.logs.apply_erasures", noted)
    written = logs(tmp_path)
    written.start()
    with ThreadPoolExecutor(4) as senders:
        for _ in senders.map(written.erase_user, [f"user {number}" for number in range(8)]):
            pass
    passes = len(threads)
    end_s = time.monotonic() + 60
    while len(threads) < passes + 2:  # by the maintenance
        assert time.monotonic() < end_s
        time.sleep(0.01)
    assert len(set(threads)) == 1
    assert threads[0] != get_ident()
    written.close()


def test_an_interrupted_erasure_leaves_each_segment_old_or_new_and_is_completed_later(tmp_path, monkeypatch):
    for number in range(3):
        earlier = logs(tmp_path)
        earlier.log_events([event(2 * number, "ann"), event(2 * number + 1, "bob")])
        earlier.close()
    calls = []

    def once(_):
        calls.append(1)
        if len(calls) > 6:  # a request in each of the two logs, and the first segment: two flushes each
            raise OSError(errno.EIO, "cut off")

    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", once)
        with pytest.raises(OSError, match="cut off"):
            logs(tmp_path).erase_user("ann")
    assert users(tmp_path / "events") == ["bob", "ann", "bob", "ann", "bob"]
    logs(tmp_path).maintain(0)
    assert users(tmp_path / "events") == ["bob"] * 3
