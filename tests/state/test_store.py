"""Loading prepared data into a store: repeatable, and without bringing back erased users."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from multitudes.cli.main import run
from multitudes.cli.state import user_states
from multitudes.ids import Id
from multitudes.state.protocol import Event, StateConfig, UserState
from multitudes.state.sqlite import SQLiteStateStore
from multitudes.state.store import LoadResult, load_users
from tests.worlds import planted

NOW = 1_000_000


def person(user_id: Id, *times_s: int, follows: tuple[str, ...] | None = None) -> UserState:
    return UserState(user_id, tuple(Event(f"{user_id}@{t}", user_id, 7, t, "view") for t in times_s), follows)


@pytest.fixture
def states(tmp_path: Path):
    store = SQLiteStateStore(tmp_path / "state.db", StateConfig(remember_ids_s=1))
    yield store
    store.close()


def test_loading_twice_changes_nothing(states: SQLiteStateStore):
    world = [person("ann", 1, 2, follows=("Drama",)), person("bob", 3)]
    said: list[tuple[object, ...]] = []
    assert load_users(states, world, 2, lambda *report: said.append(report)) == LoadResult(2, 3, 3, 1, 0)
    assert said == [(2, 2)]
    assert states.read(["ann", "bob"]) == world
    assert load_users(states, world, 2) == LoadResult(2, 3, 0, 0, 0)
    assert states.read(["ann", "bob"]) == world


def test_an_event_stored_under_another_id_is_not_loaded_again(states: SQLiteStateStore):
    states.append([Event("from the service", "ann", 7, 1, "view")])
    assert load_users(states, [person("ann", 1, 2)], 1).new_events == 1
    assert [event.event_id for event in states.read(["ann"])[0].events] == ["from the service", "ann@2"]


def test_loading_does_not_overwrite_what_the_store_has(states: SQLiteStateStore):
    states.set_followed_topics("ann", [])
    states.erase("bob")
    loaded = load_users(states, [person("ann", follows=("Drama",)), person("bob", NOW * 1_000, follows=("Drama",))], 2)
    assert loaded == LoadResult(2, 1, 0, 0, erased=1)
    ann, bob = states.read(["ann", "bob"])
    assert (ann, bob[:4]) == (UserState("ann", followed_topics=()), UserState("bob", erased=True)[:4])


def test_an_interrupted_load_continues(states: SQLiteStateStore):
    world = [person(number, 1, follows=("Drama",)) for number in range(150)]
    calls: list[int] = []

    class Failing:
        def __getattr__(self, name: str):
            return getattr(states, name)

        def append(self, events: Sequence[Event]):
            calls.append(len(events))
            if len(calls) == 2:
                raise KeyboardInterrupt
            return states.append(events)

    with pytest.raises(KeyboardInterrupt):
        load_users(Failing(), world, 150)
    assert load_users(states, world, 150) == LoadResult(150, 150, 50, 50, 0)


def test_the_command_loads_every_prepared_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    prepared, file = planted()[1], tmp_path / "state.db"
    call = ["state", "load", str(prepared.path), str(file), "--keep", "20", "--json"]
    assert run(call) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert first["users"] == prepared.n_users
    assert first["events"] == first["new_events"] > 1_000
    everybody = list(user_states(prepared, 20))
    store = SQLiteStateStore(file)
    assert store.read([each.user_id for each in everybody]) == everybody
    store.close()
    assert max(len(each.events) for each in everybody) == 20
    assert any(each.followed_topics for each in everybody)
    last = everybody[-1].events[-1]
    end = int(prepared.event_offset[-1]) - 1
    assert prepared.items["item_id"][int(prepared.event_item[end]) - 1] == last.item_id
    assert prepared.event_time[end] == last.time_s
    assert run(call) == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    new = ("new_events", "new_followed_topics")
    assert again | {name: first[name] for name in new} == first
    assert [again[name] for name in new] == [0, 0]


@pytest.mark.parametrize(
    ("store", "code", "words"),
    [
        ("redis://:hidden@127.0.0.1:1", 6, "redis://127.0.0.1:1"),
        ("postgres://db", 2, "expected a path, or redis://HOST:PORT"),
        (" redis://:hidden@127.0.0.1:1", 6, "redis://127.0.0.1:1"),
        ("redis+sentinel://:hidden@127.0.0.1:1", 2, "expected a path, or redis://HOST:PORT"),
    ],
)
def test_a_store_that_cannot_be_filled_is_one_line(store: str, code: int, words: str, capsys):
    assert run(["state", "load", str(planted()[1].path), store]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert "hidden" not in line
