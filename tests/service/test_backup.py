"""A backup of a service that runs, and what a restore brings back: everything but who asked to be erased since."""

import asyncio
import json
import time
from pathlib import Path

import polars as pl
import pytest

from multitudes.cli.main import run
from multitudes.errors import ArtefactError, UsageError
from multitudes.service.backup import back_up, restore
from multitudes.service.state_guard import GuardConfig, GuardedStates
from multitudes.state.erasure_requests import ErasureRequests
from multitudes.state.protocol import Event
from multitudes.state.sqlite import SQLiteStateStore
from tests.logs.worlds import answer, event, logs

NOW = int(time.time())


def guarded(data: Path) -> GuardedStates:
    store, patient = SQLiteStateStore(data / "state.sqlite"), GuardConfig(read_s=60, write_s=60)
    return GuardedStates(store, ErasureRequests(data / "forgotten"), lambda *_: None, patient)


@pytest.fixture
def backed_up(tmp_path: Path) -> tuple[Path, Path]:
    """A backup of a data folder with a segment and a spool that is being written; Ann is erased after it."""
    data, out = tmp_path / "data", tmp_path / "backup"
    data.mkdir()
    store = SQLiteStateStore(data / "state.sqlite")
    store.append([Event("a", "ann", 1, NOW - 60), Event("b", "bob", 1, NOW - 60)])
    earlier = logs(data / "logs")
    earlier.log_served(answer("ann", time_s=NOW - 60))
    earlier.log_served(answer(None, time_s=NOW - 60))
    earlier.close()
    running = logs(data / "logs")
    running.log_events([event(number, user, time_s=NOW - 60) for number, user in enumerate(("ann", "bob"))])
    running.log_events([event(3, "ann", time_s=int(time.time()) + 600)])
    assert back_up(data, out).log_files == 2
    store.close()
    states = guarded(data)
    asyncio.run(states.erase("ann"))
    states.close()
    running.erase_user("ann")
    return data, out


def test_a_restored_backup_holds_everything_but_who_asked_to_be_erased_since(backed_up):
    data, out = backed_up
    (data / "state.sqlite").unlink()
    (data / "logs").rename(data.parent / "away")
    result = restore(out, data)
    assert (result.state, result.erased_rows) == (True, 4)
    assert pl.read_parquet(data / "logs" / "served" / "*.parquet")["user_id"].to_list() == [None] * 3
    events = pl.read_parquet(data / "logs" / "events" / "*.parquet")
    assert events.select("event_id", "user_id").rows() == [("e1", "bob"), ("e3", "ann")], "after the erasure: as new"
    states = guarded(data)
    ann, bob = asyncio.run(states.read(["ann", "bob"], 30))
    states.close()
    assert (ann.events, ann.erased, len(bob.events)) == ((), True, 1)
    assert [path for path in data.rglob("*") if path.name.startswith(".")] == []


def test_control_without_the_marks_of_since_the_backup_brings_all_back(backed_up, tmp_path):
    _, out = backed_up
    assert restore(out, tmp_path / "elsewhere").erased_rows == 0
    events = pl.read_parquet(tmp_path / "elsewhere" / "logs" / "events" / "*.parquet")
    assert events["user_id"].to_list() == ["ann", "bob", "ann"]
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o700
    logs(tmp_path / "elsewhere" / "logs").close()  # a service goes on with it


def test_wrong_folders_are_rejected(backed_up, tmp_path):
    data, out = backed_up
    with pytest.raises(UsageError, match="exists; a backup is a new folder"):
        back_up(data, out)
    with pytest.raises(UsageError, match="expected the data folder of a service"):
        back_up(tmp_path, tmp_path / "new")
    with pytest.raises(ArtefactError, match=r"has no backup\.json"):
        restore(data, tmp_path / "new")
    with pytest.raises(UsageError, match="exists; end the service, move it away"):
        restore(out, data)


def test_the_commands_print_json_and_a_backup_brings_its_marks(backed_up, tmp_path, capsys):
    data, _ = backed_up
    assert run(["state", "backup", str(data), str(tmp_path / "b"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["state"] is True
    assert run(["state", "restore", str(tmp_path / "b"), str(tmp_path / "c"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["erased_rows"] == 0
    assert "ann" in ErasureRequests(tmp_path / "c" / "forgotten"), "also on another machine"
