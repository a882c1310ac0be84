"""The SQLite store: crashes, several processes, erasure without traces, and rejected files."""

import sqlite3
from pathlib import Path
from threading import Thread
from time import sleep

import pytest

from multitudes.errors import ArtefactError, MissingError, MultitudesError, StateError, UsageError
from multitudes.state.protocol import Event, StateConfig, UserState
from multitudes.state.sqlite import SQLiteStateStore
from multitudes.state.store import open_state_store
from tests.state.appender import USERS, numbers, start
from tests.waiting import until

NOW = 1_000_000


@pytest.mark.slow
def test_an_event_that_two_processes_append_is_new_to_one_of_them(tmp_path: Path):
    file = tmp_path / "state.db"
    children = [start(file, 2 * USERS) for _ in range(2)]
    found = [numbers(child) for child in children]
    assert sorted(found[0] + found[1]) == list(range(2 * USERS))


def test_queued_writes_share_a_commit(tmp_path: Path):
    """Not the exact number, which depends on who is fast; but never one flush for each."""
    states = SQLiteStateStore(tmp_path / "state.db", StateConfig(timeout_s=60))
    statements: list[str] = []
    states._writer.run(lambda connection: connection.set_trace_callback(statements.append))
    hold = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    hold.execute("BEGIN IMMEDIATE")  # while another process writes, work gathers
    threads = [Thread(target=states.append, args=([Event(str(n), "ann", n, NOW)],)) for n in range(20)]
    for thread in threads:
        thread.start()
    until(lambda: states._writer._queue.qsize() >= 10)  # the other half may still begin, or wait for the file
    hold.execute("COMMIT")
    hold.close()
    for thread in threads:
        thread.join()
    assert len(states.read(["ann"])[0].events) == 20
    assert 1 <= statements.count("COMMIT") < 20
    states.close()


def test_an_error_of_one_write_rolls_back_its_whole_transaction(tmp_path: Path):
    states = SQLiteStateStore(tmp_path / "state.db")

    def half(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO follows VALUES (x'00', '[]')")
        connection.execute("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(sqlite3.OperationalError):
        states._writer.run(half)
    assert states._writer.run(lambda c: c.execute("SELECT count(*) FROM follows").fetchone()) == (0,)
    states.append([Event("a", "ann", 1, NOW)])
    assert len(states.read(["ann"])[0].events) == 1
    states.close()


def test_an_erased_user_leaves_no_trace_in_the_vacuumed_files(tmp_path: Path):
    file = tmp_path / "state.db"
    states = SQLiteStateStore(file, StateConfig(keep=50))
    people = [f"person-{n:03d}-of-many" for n in range(60)]
    for person in people:  # of everybody: their name nowhere but in the names of their events
        states.append([Event(f"{person}/{n}", person, f"secret-{person}-{n}", NOW + n, "view") for n in range(60)])
        states.set_followed_topics(person, [f"topic-of-{person}"])

    def traces(person: str) -> int:
        return sum(each.read_bytes().count(person.encode()) for each in tmp_path.iterdir())

    assert all(traces(person) > 0 for person in people), "control: it can be found"
    for person in people[::2]:
        assert states.erase(person)
    others = sqlite3.connect(file)
    others.execute("VACUUM")  # unused parts of pages may hold remains until then
    others.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    others.close()
    assert [traces(person) for person in people[::2]] == [0] * 30
    assert states.read([people[0]])[0]._replace(erased_at_s=None) == UserState(people[0], erased=True)
    assert all(len(person.events) == 50 for person in states.read(people[1::2]))
    states.close()


def test_the_files_have_no_user_id_and_deleted_rows_are_overwritten_at_once(tmp_path: Path):
    states = SQLiteStateStore(tmp_path / "state.db")
    states.append([Event("a", "ann", "item-7", NOW), Event("b", "somebody-with-a-name", "item-8", NOW)])
    states.erase("ann")
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"somebody" not in files
    assert b"item-7" not in files
    assert b"item-8" in files, "control"
    states.close()


def test_a_user_is_erased_while_a_backup_reads_and_the_log_is_emptied_when_it_ends(tmp_path: Path):
    states = SQLiteStateStore(tmp_path / "state.db", StateConfig(timeout_s=600))
    states.append([Event("a", "ann", "item-7", NOW)])
    backup = sqlite3.connect(tmp_path / "state.db")
    backup.execute("BEGIN")
    backup.execute("SELECT count(*) FROM event").fetchone()
    assert states.erase("ann"), "it does not wait for the backup"
    assert states.read(["ann"])[0].events == ()

    def traces() -> int:
        return sum(file.read_bytes().count(b"item-7") for file in tmp_path.iterdir())

    assert traces() > 0, "control: the backup still needs it"
    backup.execute("COMMIT")
    backup.close()
    for _ in range(600):
        if not traces():
            break
        sleep(0.05)
    assert traces() == 0
    states.close()


def test_event_ids_expire_a_few_at_a_time(tmp_path: Path):
    clock = [float(NOW)]
    states = SQLiteStateStore(tmp_path / "state.db", StateConfig(remember_ids_s=100), lambda: clock[0])
    states.append([Event(str(n), "ann", n, NOW) for n in range(10)])
    clock[0] += 100
    for n in range(6):
        states.append([Event(f"later {n}", "bob", n, NOW)])
    assert states._writer.run(lambda c: c.execute("SELECT count(*) FROM told").fetchone()) == (6,)
    states.close()


def refused(file: Path, kind: type[MultitudesError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        open_state_store(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_a_store_is_rejected_in_one_line(tmp_path: Path):
    (tmp_path / "text.db").write_text("this is no database, however long it may be " * 100)
    refused(tmp_path / "text.db", ArtefactError, "not an SQLite file")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE mine (a)")
    other.close()
    refused(tmp_path / "other.db", ArtefactError, "not a store of user states")
    refused(tmp_path / "nowhere" / "state.db", UsageError, "its folder does not exist")
    refused(tmp_path, UsageError, "cannot be opened for writing")
    SQLiteStateStore(tmp_path / "newer.db").close()
    newer = sqlite3.connect(tmp_path / "newer.db")
    newer.execute("PRAGMA user_version = 2")
    newer.close()
    refused(tmp_path / "newer.db", ArtefactError, "of version 2; expected 1")


def test_a_full_disk_stores_nothing_and_reports_it(tmp_path: Path):
    """As if the disk were full: the database may not grow."""
    states = SQLiteStateStore(tmp_path / "state.db")
    pages = states._writer.run(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
    states._writer.run(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    with pytest.raises(MissingError, match="no space left"):
        states.append([Event(f"{n}" * 100, "ann", f"{n}" * 100, NOW) for n in range(200)])
    assert states.read(["ann"]) == [UserState("ann")]
    states._writer.run(lambda connection: connection.execute("PRAGMA max_page_count = 100000").fetchone())
    assert states.append([Event("a", "ann", 1, NOW)]).new == [True]
    states.close()


def test_a_file_that_another_process_locks_for_too_long(tmp_path: Path):
    states = SQLiteStateStore(tmp_path / "state.db", StateConfig(timeout_s=0.01))
    hold = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    hold.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError, match="another process locks it"):
        states.append([Event("a", "ann", 1, NOW)])
    assert states.read(["ann"]) == [UserState("ann")], "who reads does not wait for who writes"
    hold.close()
    assert states.append([Event("a", "ann", 1, NOW)]).new == [True]
    states.close()


def test_the_files_are_their_owners_alone(tmp_path: Path):
    states = SQLiteStateStore(tmp_path / "state.db")
    states.append([Event("a", "ann", 1, NOW)])
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("state.db", "state.db-wal", "state.db-shm"), 0o600)
    states.close()
