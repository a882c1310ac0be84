"""Who asks to be forgotten is in no part and comes out of no spool; everybody else keeps every row."""

import errno

import pytest

from multitudes.logs.schemas import IdTypes
from tests.logs.worlds import Process, answer, event, logs, notes, parts, rows


def users(folder):
    return rows(folder)["user_id"].to_list()


def test_a_user_goes_from_parts_and_from_what_is_being_written(tmp_path):
    earlier = logs(tmp_path)
    earlier.log_served(answer("ann"))
    earlier.log_served(answer("bob"))
    earlier.log_served(answer(None))
    earlier.close()
    written = logs(tmp_path)
    written.log_served(answer("ann"))
    written.log_served(answer(None))
    written.log_events([event(1, "ann"), event(2, "bob"), event(3, "ann")])
    assert written.erase_user("ann") == 8
    assert users(tmp_path / "served") == ["bob"] * 3 + [None] * 6
    assert users(tmp_path / "events") == ["bob"]
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and b"ann" in file.read_bytes()]
    written.log_events([event(4, "ann")])
    written.close()
    assert users(tmp_path / "events") == ["bob", "ann"]  # who comes back is somebody new


def test_control_nobody_else_is_touched(tmp_path):
    written = logs(tmp_path)
    written.log_served(answer("ann"))
    written.close()
    before = [(file.name, file.read_bytes()) for file in sorted((tmp_path / "served").glob("*.parquet"))]
    assert logs(tmp_path).erase_user("an") == 0
    assert [(file.name, file.read_bytes()) for file in sorted((tmp_path / "served").glob("*.parquet"))] == before


def test_a_part_of_nobody_else_goes_whole(tmp_path):
    written = logs(tmp_path, IdTypes("int64", "int64"))
    written.log_served(answer(7))
    written.close()
    assert logs(tmp_path, IdTypes("int64", "int64")).erase_user(7) == 3
    assert parts(tmp_path / "served") == []


def test_what_another_process_is_writing_goes_when_it_becomes_a_part(tmp_path):
    other, written = Process(tmp_path), logs(tmp_path)
    try:
        other.engaged(1, 2, user="ann")
        other.engaged(3, user="bob")
        assert written.erase_user("ann") == 0
        other.engaged(4, user="ann")  # after it was asked: somebody new
        assert len(notes(tmp_path / "events")) == 1  # the note stays while it is needed
    finally:
        other.kill()
    written.close()
    assert rows(tmp_path / "events")["event_id"].to_list() == ["e3", "e4"]
    assert notes(tmp_path / "events") == []


def test_who_writes_lets_go_of_a_spool_that_holds_somebody_who_is_to_be_forgotten(tmp_path):
    one, two = logs(tmp_path), logs(tmp_path)
    one.log_events([event(1, "ann"), event(2, "bob")])
    two.erase_user("ann")
    assert parts(tmp_path / "events") == []
    one.maintain(0)  # long before it would be due
    assert users(tmp_path / "events") == ["bob"]
    assert notes(tmp_path / "events") == []


def test_a_note_that_another_process_has_just_done_with_stops_nobody(tmp_path):
    one, two = logs(tmp_path), logs(tmp_path)
    one.log_events([event(1, "ann"), event(2, "bob")])
    two.erase_user("ann")
    (tmp_path / "events" / "open" / "forget-0.json").symlink_to("gone")  # it was listed, and is no more
    one.maintain(0)
    assert one.counts()["events"]["failures"] == 0
    assert users(tmp_path / "events") == ["bob"]


def test_cut_off_each_part_is_old_or_new_and_the_rest_is_done_later(tmp_path, monkeypatch):
    for number in range(3):
        earlier = logs(tmp_path)
        earlier.log_events([event(2 * number, "ann"), event(2 * number + 1, "bob")])
        earlier.close()
    calls = []

    def once(_):
        calls.append(1)
        if len(calls) > 6:  # a note in each of the two logs, and the first part: two flushes each
            raise OSError(errno.EIO, "cut off")

    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", once)
        with pytest.raises(OSError, match="cut off"):
            logs(tmp_path).erase_user("ann")
    assert users(tmp_path / "events") == ["bob", "ann", "bob", "ann", "bob"]
    logs(tmp_path).maintain(0)
    assert users(tmp_path / "events") == ["bob"] * 3
