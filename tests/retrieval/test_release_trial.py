"""A release that hangs or fills the memory does so in a process of its own, and the one before serves on."""

import os
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import numpy as np
import onnx
import pytest
from onnx import helper

from multitudes.errors import ArtefactError, MultitudesError
from multitudes.release import manifest
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.release_trial import ReleaseTrial
from multitudes.retrieval.release_watcher import ReleaseWatcher
from tests.release.small_release import endless_loop, publish_small, put_before_vectors, user_tower

LONG_S = 300  # only so that a test that would hang fails


def use_tower(folder: Path, *nodes: onnx.NodeProto, constants: dict[str, np.ndarray]) -> None:
    """Put nodes before the vectors of a release's tower, from ``raw`` to ``vectors_BKD``, and make checksums anew."""
    tower = user_tower()
    put_before_vectors(tower, *nodes, constants=constants)
    onnx.save(tower, str(folder / "user_tower.onnx"))
    manifest.write_manifest(folder, manifest.read_manifest(folder))


def loop_for_ever(folder: Path) -> None:
    use_tower(folder, endless_loop(), constants={"always": np.array(True)})


def fill_memory(folder: Path) -> None:
    use_tower(
        folder,
        helper.make_node("ConstantOfShape", ["many"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["zero"], keepdims=0),
        helper.make_node("Add", ["raw", "zero"], ["vectors_BKD"]),
        constants={"many": np.array([2**32])},  # 16 GiB
    )


def change(folder: Path, method: str) -> None:
    """Make a release another one, of equal files."""
    manifest.write_manifest(folder, manifest.read_manifest(folder).model_copy(update={"method": method}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a folder with the releases 1 and 2, of which the first serves."""
    publish_small(tmp_path)
    publish_small(tmp_path)
    ReleaseStore(tmp_path).rollback()
    return tmp_path


def version(root: Path) -> Path:
    return ReleaseStore(root).folder("0002")


@pytest.mark.parametrize(
    ("harm", "words"),
    [(lambda _: None, "missing; publish the run again"), (os.mkfifo, "not a plain file")],
    ids=["missing", "a pipe"],
)
def test_a_damaged_release_is_refused_in_the_words_of_opening_it(
    harm: Callable[[Path], object], words: str, root: Path
):
    file = version(root) / "follow_topic.npy"
    file.unlink()
    harm(file)
    with pytest.raises(ArtefactError, match=rf"^/.*/0002/follow_topic.npy: {words}"):
        ReleaseTrial(LONG_S).run(version(root))


def test_a_trial_that_fills_the_memory_or_cannot_start_is_refused(root: Path):
    limited = ReleaseTrial(LONG_S, max_memory_gb=4)
    limited.run(version(root))  # the control
    fill_memory(version(root))
    with pytest.raises(ArtefactError, match=r"0002"):
        limited.run(version(root))
    with pytest.raises(ArtefactError, match=r"0002: ended a trial in a process of its own .*with up to 0.0 GB"):
        ReleaseTrial(LONG_S, max_memory_gb=0.01).run(version(root))


@pytest.fixture
def slow_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Replace the child by one that waits, as on a busy machine or for a disk, and uses no CPU time."""

    def wait(seconds: int) -> None:
        script = tmp_path / "child"
        script.write_text(f"#!/bin/sh\nexec sleep {seconds}\n")
        script.chmod(0o755)
        monkeypatch.setattr("sys.executable", str(script))

    return wait


def test_a_release_that_waits_for_the_cpu_is_not_refused_and_one_that_hangs_is(root: Path, slow_child, monkeypatch):
    slow_child(2)
    ReleaseTrial(1).run(version(root))
    slow_child(LONG_S)
    monkeypatch.setattr("multitudes.retrieval.release_trial._WAITS", 1)
    with pytest.raises(ArtefactError, match="did not answer within 1 s of CPU time, or 1 s by the clock, in a trial"):
        ReleaseTrial(1).run(version(root))


def test_a_release_that_served_here_needs_no_trial_unless_it_is_another_one(root: Path):
    class Trials(ReleaseTrial):
        def run(self, folder: Path, is_outdated: Callable[[], bool] = lambda: False) -> bool:
            del is_outdated
            tried.append(folder.name)
            return True

    tried: list[str] = []
    change(version(root), "single")
    watcher, store = ReleaseWatcher(root, trial=Trials(LONG_S)), ReleaseStore(root)
    for name in ("0002", "0001", "0002", "0001"):
        store.rollback(name)
        assert watcher.poll()
    assert tried == ["0002"]
    change(version(root), "mind")
    store.rollback("0002")
    assert watcher.poll()
    assert tried == ["0002", "0002"], "other files under the name of one that served"


def test_a_rollback_ends_the_trial_of_the_release_that_it_replaces(root: Path, slow_child):
    trial, store = ReleaseTrial(LONG_S), ReleaseStore(root)
    watcher = ReleaseWatcher(root, trial=trial)
    change(version(root), "single")
    slow_child(LONG_S)
    store.rollback("0002")
    polling = Thread(target=watcher.poll)
    polling.start()
    while trial._process is None:
        polling.join(0.01)
    store.rollback("0001")
    polling.join(LONG_S)
    assert not polling.is_alive()
    assert not watcher.poll(), "it serves already"
    assert watcher.state() == ("0001", 0, 0, "")


def test_the_watcher_serves_on_counts_the_refusal_and_follows_the_next(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("multitudes.retrieval.release_trial._WAITS", LONG_S)
    watcher = ReleaseWatcher(root, trial=ReleaseTrial(3))
    loop_for_ever(version(root))
    ReleaseStore(root).rollback("0002")
    assert not watcher.poll()
    state = watcher.state()
    assert (state.version, state.switches, state.rejections) == ("0001", 0, 1)
    assert "did not answer within 3 s of CPU time, or 900 s by the clock, in a trial" in state.problem
    assert f"{state.problem}; 0001 still serves" in caplog.text
    assert watcher().recommend("ann", n=3).release == "0001"
    publish_small(root)
    watcher._trial = ReleaseTrial(LONG_S)
    assert watcher.poll()
    assert watcher.state().version == "0003"


def test_closing_the_watcher_ends_a_trial(root: Path):
    trial = ReleaseTrial(LONG_S)
    watcher = ReleaseWatcher(root, trial=trial)
    loop_for_ever(version(root))
    ReleaseStore(root).rollback("0002")
    polling = Thread(target=watcher.poll)
    polling.start()
    while trial._process is None:
        polling.join(0.01)
    assert polling.is_alive()
    watcher.close()
    polling.join(LONG_S)
    assert not polling.is_alive()
    assert trial._process.poll() is not None, "the child is gone"
    with pytest.raises(MultitudesError, match="the service ends"):
        trial.run(version(root))
