"""A killed process loses no acknowledged row; a line that differs from what was written is invalid."""

import errno
import os
import subprocess
import sys
from time import time

import pytest

from multitudes.locks import lock
from multitudes.logs import folder as places
from multitudes.logs.spool import Spool, encode_events, read_lines
from tests.logs.worlds import TEXT, Process, event, logs, rows, segments, spools

# Appends events and says each time how many there are; the control keeps them in a buffer of its own, which is larger
# than all that it can say before somebody reads it.
_WRITER = """
import sys
from pathlib import Path
from multitudes.logs.spool import Spool

class Buffered(Spool):
    def append(self, payload):
        self.stream = getattr(self, "stream", None) or open(self._descriptor, "ab", 2**24, closefd=False)
        self.stream.write(b"%08x %b\\n" % (__import__("zlib").crc32(payload), payload))

spool = (Spool if sys.argv[2] == "spool" else Buffered)(Path(sys.argv[1]))
for i in range(10**9):
    columns = '"event_id":["e%d"],"user_id":["ann"],"item_id":[1],"timestamp":[1],"action":[null],"request_id":[null]'
    spool.append(("{" + columns % i + "}").encode())
    sys.stdout.write(f"{i + 1}\\n")
    sys.stdout.flush()
"""


def killed(folder, kind: str) -> tuple[list[str], int]:
    """Kill a process that appends events; return those in parts afterwards, and how many it said were there."""
    heir = logs(folder)
    spool = places.new_spool_path(folder / "events", time())
    child = subprocess.Popen([sys.executable, "-c", _WRITER, str(spool), kind], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    said = [next(child.stdout) for _ in range(500)]
    child.kill()
    said += [line for line in child.stdout if line.endswith("\n")]
    child.stdout.close()
    child.wait()
    heir.maintain(0)
    return rows(folder / "events")["event_id"].to_list(), int(said[-1])


def test_every_event_acknowledged_by_a_killed_process_is_in_a_segment(tmp_path):
    found, said = killed(tmp_path, "spool")
    assert said >= 500
    assert found[:said] == [f"e{number}" for number in range(said)]
    assert len(found) <= said + 1


def test_control_a_buffer_loses_acknowledged_events(tmp_path):
    found, said = killed(tmp_path, "buffered")
    assert len(found) < said


def test_a_torn_last_line_is_recognised_wherever_it_is_torn(tmp_path):
    file = tmp_path / "a.spool"
    spool = Spool(file)
    spool.append(b'{"a":1}')
    spool.append(b'{"b":"\xc3\xa9"}')
    spool.close()
    whole = file.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first + 1, len(whole)):
        file.write_bytes(whole[:length])
        assert [line.payload for line in read_lines(file)] == [b'{"a":1}', None]
    file.write_bytes(whole)
    assert [line.end for line in read_lines(file)] == [first, len(whole)]


@pytest.mark.parametrize("at", [0, 8, 9, 12, -2])
def test_a_line_with_one_changed_byte_is_invalid(tmp_path, at):
    file = tmp_path / "a.spool"
    spool = Spool(file)
    spool.append(b'{"a":1}')
    spool.close()
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    assert [line.payload for line in read_lines(file)] == [None]


def test_a_spool_belongs_to_its_writer_until_it_is_closed(tmp_path):
    spool = Spool(tmp_path / "a.spool")
    with lock(tmp_path / "a.spool", wait=False) as mine:
        assert not mine
    spool.close()
    with lock(tmp_path / "a.spool", wait=False) as mine:
        assert mine


def test_a_line_that_the_disk_takes_in_part_is_removed(tmp_path, monkeypatch):
    spool, write = Spool(tmp_path / "a.spool"), os.write
    spool.append(b"1")
    monkeypatch.setattr("os.write", lambda descriptor, line: write(descriptor, line[:5]))
    with pytest.raises(OSError, match="No space left"):
        spool.append(b"2")
    monkeypatch.undo()
    spool.append(b"3")
    assert [line.payload for line in read_lines(tmp_path / "a.spool")] == [b"1", b"3"]


def test_a_full_disk_loses_only_rows_and_they_are_counted(tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    written = logs(tmp_path)
    assert written.log_events([event(1)])
    monkeypatch.setattr("os.write", full)
    assert not written.log_events([event(2), event(3)])
    assert not written.log_events([event(4)])
    assert written.problem() == "rows cannot be written, and events are rejected; often the disk is full"
    monkeypatch.undo()
    assert written.log_events([event(5)])
    assert written.problem() == ""
    written.close()
    assert rows(tmp_path / "events")["event_id"].to_list() == ["e1", "e5"]
    assert written.counts()["events"]["lost"] == 3
    assert caplog.text.count("rows are lost") == 1


def test_a_segment_that_cannot_be_written_is_written_later(tmp_path, monkeypatch):
    written = logs(tmp_path, segment_s=1e-9)
    written.log_events([event(1)])
    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        written.maintain(2e9)
    assert segments(tmp_path / "events") == []
    assert written.counts()["events"]["failures"] == 1
    assert written.log_events([event(2)])
    written.close()
    assert rows(tmp_path / "events")["event_id"].to_list() == ["e1", "e2"]


def test_spools_of_dead_processes_become_segments_once_and_those_of_live_processes_do_not(tmp_path):
    dead, alive = Process(tmp_path), Process(tmp_path)
    try:
        dead.log_events(1, 2)
        alive.log_events(3)
        dead.log_events(4)
    finally:
        dead.kill()
    heirs = logs(tmp_path), logs(tmp_path)
    for heir in heirs:
        heir.maintain(0)
    try:
        assert rows(tmp_path / "events")["event_id"].to_list() == ["e1", "e2", "e4"]
        assert len(spools(tmp_path / "events")) == 1
        alive.log_events(5)
    finally:
        alive.kill()
    for heir in heirs:
        heir.close()
    assert sorted(rows(tmp_path / "events")["event_id"]) == ["e1", "e2", "e3", "e4", "e5"]


def test_the_torn_last_line_of_a_dead_process_is_dropped_and_counted(tmp_path, caplog):
    heir = logs(tmp_path)
    spool = Spool(places.new_spool_path(tmp_path / "events", time()))
    for number in (1, 2):
        spool.append(encode_events([event(number)], TEXT))
    spool.close()
    spool.file.write_bytes(spool.file.read_bytes()[:-3])
    heir.close()
    assert rows(tmp_path / "events")["event_id"].to_list() == ["e1"]
    assert heir.counts()["events"]["torn"] == 1
    assert "dropped 1 torn line" in caplog.text


def test_a_rotation_interrupted_before_the_spool_is_deleted_makes_no_second_segment(tmp_path, monkeypatch):
    written = logs(tmp_path)
    written.log_events([event(1)])
    with monkeypatch.context() as broken:
        broken.setattr("pathlib.Path.unlink", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "cut off")))
        written.close()
    assert len(segments(tmp_path / "events")) == len(spools(tmp_path / "events")) == 1
    logs(tmp_path).close()
    assert rows(tmp_path / "events")["event_id"].to_list() == ["e1"]
    assert spools(tmp_path / "events") == []


def test_a_spool_that_is_read_wrongly_for_a_while_stays_and_holds_up_nothing(tmp_path):
    written, later = logs(tmp_path), Spool(places.new_spool_path(tmp_path / "events", time()))
    written.log_events([event(1), event(2, "bob")])
    later.append(encode_events([event(3), event(4, "bob")], TEXT))
    later.close()
    right = later.file.read_bytes()
    later.file.write_bytes(bytes(byte ^ 0x10 for byte in right))
    written.close()
    assert sorted(rows(tmp_path / "events")["event_id"]) == ["e1", "e2"]
    logs(tmp_path).erase_user("bob")
    assert rows(tmp_path / "events")["event_id"].to_list() == ["e1"]
    later.file.write_bytes(right)
    logs(tmp_path).close()
    assert sorted(rows(tmp_path / "events")["event_id"]) == ["e1", "e3"], "nothing is lost, but who was erased"
