"""A published run of PinnerSage serves what it was evaluated as, in a process that has no torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from multitudes.batches.histories import event_times, gather_histories
from multitudes.batches.user_vectors import UserHistories
from multitudes.index.factory import build_index
from multitudes.pinnersage.clustering import PinnerSageConfig
from multitudes.pinnersage.run import PinnerSageRun
from multitudes.publishing.publish import publish
from multitudes.release.release import USER_TOWER, Release
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.user_vectors import user_vectors
from multitudes.training.runs import make_pinnersage_run
from tests.worlds import planted

SETTINGS = PinnerSageConfig(history=12, interests=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> PinnerSageRun:
    return make_pinnersage_run(planted(embedding_width=8)[1], tmp_path_factory.mktemp("run") / "run", SETTINGS)


@pytest.fixture(scope="module")
def releases(run: PinnerSageRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("releases")
    assert publish(run.path, root).largest_difference == 0
    return root


def test_the_release_gives_the_vectors_of_the_run(run: PinnerSageRun, releases: Path):
    release, data = Release.open(releases), run.prepared
    users = np.arange(data.n_users)
    histories = gather_histories(data, users, data.event_offset[1:], SETTINGS.history)
    time_BL = event_times(data.event_time, data.event_offset[1:], SETTINGS.history)
    none = np.zeros((len(users), 0), dtype=np.int64)
    served, expected = (
        user_vectors(release, UserHistories(histories, none, time_BL)),
        run.user_vectors(UserHistories(histories, none, time_BL)),
    )
    for ours, theirs in zip(served[1:], expected[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    without_times = user_vectors(release, UserHistories(histories, none))
    assert (without_times.weight_BK != served.weight_BK).any()  # the control: the times matter
    assert not (release.path / USER_TOWER).exists()


def test_users_get_unseen_items_that_have_a_vector_turn_by_turn(run: PinnerSageRun, releases: Path):
    retriever = Retriever.open(releases)
    assert retriever.config.blend == "round_robin"
    assert Retriever.open(releases, RetrieveConfig(topics_per_request=1)).config.blend == "round_robin"
    assert Retriever.open(releases, RetrieveConfig(blend="global_top")).config.blend == "global_top"
    number = {item: i for i, item in enumerate(retriever.release.items["item_id"].to_list(), start=1)}
    has_vector = np.asarray(run.item_vectors().any(axis=1))
    for user, answer in enumerate(retriever.recommend_all(n=8)):
        items = [number[candidate.item_id] for candidate in answer.candidates]
        assert len(items) == 8
        assert has_vector[items].all()
        assert not set(items) & set(retriever.release.seen_items(user).tolist())


def test_somebody_described_gets_one_interest_for_each_kind_of_item(run: PinnerSageRun, releases: Path):
    world, _ = planted(embedding_width=8)
    vectors = run.item_vectors()
    one = int(np.flatnonzero(vectors.any(axis=1))[0])
    other = int((vectors @ vectors[one]).argmin())
    ids = run.prepared.items["item_id"]
    answer = Retriever.open(releases).recommend(history=[ids[one - 1], ids[other - 1]], n=4)
    assert [interest.n_items for interest in answer.interests] == [1, 1]
    niches = [world.item_niche[int(str(candidate.item_id))] for candidate in answer.candidates]
    assert niches == [world.item_niche[ids[i - 1]] for i in (other, one, other, one)]


def test_the_whole_path_needs_no_torch(run: PinnerSageRun, tmp_path: Path):
    code = """
import sys
for name in ("torch", "safetensors", "onnx", "onnxscript"):
    sys.modules[name] = None
from multitudes.cli.main import run
prepared, out = sys.argv[1:]
assert run(["train", prepared, "--method", "pinnersage", "--out", f"{out}/run"]) == 0
assert run(["evaluate", f"{out}/run", "--set", "evaluate.max_users=20"]) == 0
assert run(["publish", f"{out}/run", "--to", f"{out}/releases"]) == 0
assert run(["recommend", f"{out}/releases", "--user", "3", "--n", "5"]) == 0
assert run(["train", prepared, "--out", f"{out}/joint"]) == 5
"""
    call = [sys.executable, "-c", code, str(run.prepared.path), str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "evaluation-test.json").exists()
    assert len(done.stderr.splitlines()) == 1  # of the control, which needs torch


def test_an_index_on_a_server_gets_names_is_activated_with_its_release_and_discarded_without(
    run: PinnerSageRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told: list[object] = []

    def build(ids, *given, names, **options):
        index = build_index(ids, *given, **options)
        told.append(dict(zip(ids.tolist(), names["item_id"].to_list(), strict=True)))
        monkeypatch.setattr(index, "activate", told.append)
        monkeypatch.setattr(index, "discard", lambda: told.append("discarded"))
        return index

    monkeypatch.setattr("multitudes.publishing.corpus.build_index", build)
    publish(run.path, tmp_path)
    release = Release.open(tmp_path)
    names = {number: release.item_names.name(number).id for number in release.index.ids().tolist()}
    assert told == [names, "0001"]
    assert names
    monkeypatch.delattr(ReleaseStore, "commit")
    with pytest.raises(AttributeError, match="commit"):
        publish(run.path, tmp_path)
    assert told[2:] == [names, "discarded"]
