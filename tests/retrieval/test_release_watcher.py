"""Releases change while they serve: nobody gets an answer of two of them, and what is replaced is freed."""

import os
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from threading import enumerate as enumerate_threads
from time import monotonic, sleep

import pytest

from multitudes.errors import ArtefactError
from multitudes.release.store import CURRENT, ReleaseStore
from multitudes.retrieval.release_watcher import ReleaseWatcher
from multitudes.retrieval.request import Request, time_shortfall
from multitudes.retrieval.response import Recommendation
from multitudes.retrieval.retriever import Retriever
from tests.release.small_release import publish_small
from tests.retrieval.planted import publish_planted

# What each release answers, as local item numbers: 100 k is taken off.
ASKS = [
    Request("ann", n=6),
    Request("bob", n=5, request_id="x"),
    Request(history=[], followed_topics=["Drama"], n=4),
    Request("zoe", n=3),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a folder with the releases 1 and 2, of which the second serves."""
    publish_planted(tmp_path, 1, turned_tower=False, turned_index=False)
    publish_planted(tmp_path, 2, turned_tower=True, turned_index=True)
    return tmp_path


def local(answers: list[Recommendation]) -> tuple[set[int], list[list[int]]]:
    """Return of which releases the answers are, by their items, and the items by local number."""
    ids = [[c.item_id for c in answer.candidates if isinstance(c.item_id, int)] for answer in answers]
    return {item // 100 for row in ids for item in row}, [[item % 100 for item in row] for row in ids]


def mapped(root: Path, version: str) -> bool:
    """Tell whether this process still maps a file of a version."""
    return f"{root}/versions/{version}/" in Path("/proc/self/maps").read_text()


def test_the_planted_releases_answer_alike_and_a_mixture_of_them_does_not(root: Path):
    store = ReleaseStore(root)
    one, two = (Retriever.open(store.folder(version)).answer(ASKS) for version in ("0001", "0002"))
    assert (local(one)[0], local(two)[0]) == ({1}, {2})
    assert local(one)[1] == local(two)[1]
    publish_planted(root, 3, turned_tower=True, turned_index=False)
    assert local(Retriever.open(root).answer(ASKS))[1] != local(one)[1], "the control: a tower with another's index"


def test_answers_under_many_switches_are_whole_and_of_one_release(root: Path):
    current, store, stop = ReleaseWatcher(root), ReleaseStore(root), Event()
    expected = local(current().answer(ASKS))[1]
    wrong: list[object] = []
    answered = {"0001": 0, "0002": 0}

    def ask() -> None:
        while not stop.is_set():
            try:
                answers = current().answer(ASKS)
                releases, items = local(answers)
                versions = {answer.release for answer in answers}
                if len(versions) != 1 or releases != {int(*versions)} or items != expected:
                    wrong.append((versions, items))
                answered[versions.pop()] += 1
            except Exception as error:
                wrong.append(error)

    threads = [Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for version in ["0001", "0002"] * 4:
        store.rollback(version)
        assert current.poll()
        assert not current.poll(), "once is enough"
        before, end_s = answered[version], monotonic() + 60
        while answered[version] == before and not wrong:
            assert monotonic() < end_s, "it does not serve"
            sleep(0.001)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert current.state() == ("0002", 8, 0, "")


def test_what_was_replaced_is_freed_when_its_last_request_ends(root: Path):
    current = ReleaseWatcher(root)
    began = current()
    began.answer(ASKS)
    old = weakref.ref(began.release)
    ReleaseStore(root).rollback()
    assert current.poll()
    assert mapped(root, "0002"), "the control: a request is still under way"
    assert local(began.answer(ASKS))[0] == {2}, "and ends with what it began with"
    del began
    assert old() is None
    assert not mapped(root, "0002")
    assert mapped(root, "0001")


def damage_a_byte(folder: Path) -> None:
    file = folder / "item_input.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def lose_a_file(folder: Path) -> None:
    (folder / "user_tower.onnx").unlink()


def name_nothing(folder: Path) -> None:
    (folder.parent.parent / CURRENT).write_text("9999\n")


def cut_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def put_a_pipe(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")


@pytest.mark.parametrize("harm", [damage_a_byte, lose_a_file, name_nothing, cut_the_manifest, put_a_pipe])
def test_a_damaged_release_is_refused_and_the_old_one_stays(root: Path, harm: Callable[[Path], None], caplog):
    current, store = ReleaseWatcher(root), ReleaseStore(root)
    harm(store.folder(publish_planted(root, 3, turned_tower=False, turned_index=False)))
    assert [current.poll() for _ in range(3)] == [False] * 3
    assert local(current().answer(ASKS))[0] == {2}
    state = current.state()
    assert (state.version, state.switches, state.rejections) == ("0002", 0, 1)
    assert state.problem
    assert len(caplog.messages) == 1, "said once, not at every look"
    publish_planted(root, 4, turned_tower=True, turned_index=True)
    assert current.poll()
    assert local(current().answer(ASKS))[0] == {4}
    assert current.state() == ("0004", 1, 1, "")


def test_what_cannot_answer_is_refused_before_it_serves(root: Path):
    current = ReleaseWatcher(root)
    publish_small(root, history_length=9)  # every file is sound, and the tower does not take such histories
    assert not current.poll()
    assert "does not accept this input" in current.state().problem
    with pytest.raises(ArtefactError, match="does not accept this input"):
        ReleaseWatcher(root)


def test_a_defect_while_a_release_is_opened_is_a_refusal_too(root: Path, monkeypatch, caplog):
    def defect(*given: object, **how: object) -> Retriever:
        raise RuntimeError("a defect")

    current = ReleaseWatcher(root)
    monkeypatch.setattr(Retriever, "open", defect)
    ReleaseStore(root).rollback()
    assert not current.poll()
    assert current.state() == ("0002", 0, 1, "a defect")
    assert local(current().answer(ASKS))[0] == {2}
    assert any(record.exc_info for record in caplog.records), "the journal has the place"


def test_a_release_that_is_removed_from_the_disk_serves_on(root: Path):
    current = ReleaseWatcher(root)
    expected = [Retriever.open(root).answer([ask]) for ask in ASKS]
    shutil.rmtree(root / "versions" / "0002")
    assert not current.poll()
    assert [current().answer([ask]) for ask in ASKS] == expected
    assert current().recommend_popular(Request("ann", n=2), time_shortfall("popular items")).candidates


def test_a_refused_release_is_tried_again_after_a_while(root: Path, monkeypatch):
    monkeypatch.setattr("multitudes.retrieval.release_watcher._POLLS_UNTIL_RETRY", 3)
    current, store = ReleaseWatcher(root), ReleaseStore(root)
    file = store.folder("0001") / "item_input.npy"
    file.rename(file.with_suffix(".away"))
    store.rollback()
    assert [current.poll() for _ in range(7)] == [False] * 7
    assert current.state().rejections == 1, "the same again, however often it is tried"
    file.with_suffix(".away").rename(file)
    assert True in [current.poll() for _ in range(3)]
    assert current.state() == ("0001", 1, 1, "")


def test_one_versions_own_folder_is_served_and_never_left(root: Path):
    current = ReleaseWatcher(root / "versions" / "0001")
    current.start()
    assert local(current().answer(ASKS))[0] == {1}
    assert not current.poll()
    current.close()


def test_the_thread_follows_and_ends(root: Path, monkeypatch):
    monkeypatch.setattr("multitudes.retrieval.release_watcher._POLL_INTERVAL_S", 0.001)
    look, switched = ReleaseWatcher.poll, Event()

    def looked(current: ReleaseWatcher) -> bool:
        if switch := look(current):
            switched.set()
        return switch

    monkeypatch.setattr(ReleaseWatcher, "poll", looked)
    current = ReleaseWatcher(root)
    current.start()
    ReleaseStore(root).rollback()
    assert switched.wait(20)
    current.close()
    assert "releases" not in {thread.name for thread in enumerate_threads()}
    assert current.state().version == "0001"
