"""A published run serves what its model says, without torch."""

import json
import subprocess
import sys
from pathlib import Path
from shutil import copy, copytree
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from multitudes.batches.histories import followed_topics, gather_histories
from multitudes.batches.user_vectors import InterestKind, UserHistories, UserVectors
from multitudes.cli.main import run as command
from multitudes.data.prepared import PreparedData
from multitudes.errors import ArtefactError, UsageError
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.publishing import gate as gate_room
from multitudes.publishing.gate import GateConfig, check_gate
from multitudes.publishing.onnx_export import export_item_tower, vectors_without_ids
from multitudes.publishing.publish import permuted_difference, publish
from multitudes.release.release import ITEM_TOWER, USER_TOWER, Release
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.item_updates import add_items
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.user_vectors import user_vectors
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.loop import train
from multitudes.training.trained_run import TrainedRun
from tests.worlds import planted

LENGTH = 12


@pytest.fixture(scope="module")
def data() -> PreparedData:
    return planted(users=60, items=90, events=1_500, niches=9)[1]


def trained(data: PreparedData, out: Path, seed: int) -> TrainedRun:
    model = UserTowerConfig.model_validate({"width": 16, "history": LENGTH, "interests": 3})
    return train(data, RunConfig(method="joint", seed=seed, model=model, train=TrainConfig(epochs=1)), out)


@pytest.fixture(scope="module")
def run(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return trained(data, tmp_path_factory.mktemp("run") / "run", seed=0)


@pytest.fixture(scope="module")
def releases(run: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("releases")
    assert command(["publish", str(run.path), "--to", str(root), "--json"]) == 0
    return root


def export_nothing(monkeypatch: pytest.MonkeyPatch, user_tower: Path, item_tower: Path) -> None:
    """Stand in for the exports, which take seconds: the release gets these towers."""

    def user(model, history, features, topics, file):
        copy(user_tower, file)

    def item(run, file):
        copy(item_tower, file)

    monkeypatch.setattr("multitudes.publishing.onnx_export.export_user_tower", user)
    monkeypatch.setattr("multitudes.publishing.onnx_export.export_item_tower", item)


def test_the_command_says_what_was_checked(run, releases, monkeypatch, tmp_path, capsys):
    served = ReleaseStore(releases).folder()
    export_nothing(monkeypatch, served / USER_TOWER, served / ITEM_TOWER)
    assert command(["publish", str(run.path), "--to", str(tmp_path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (record["version"], record["checked_users"]) == ("0001", 60)
    unchanged = {"added": 0, "replaced": 0, "removed": 0}
    assert record["index"] == {"kind": "exact", "items": run.prepared.n_items, "dimension": 16} | unchanged


def test_the_release_gives_the_vectors_of_the_model_and_knows_each_user_as_the_data_does(
    run: TrainedRun, releases: Path
):
    release, data = Release.open(releases), run.prepared
    users = np.arange(data.n_users)
    histories = gather_histories(data, users, data.event_offset[1:], LENGTH)
    topics = followed_topics(data, users)[:, : RetrieveConfig().topics_per_request]
    given = UserHistories(histories, topics)
    expected, served = run.user_vectors(given), user_vectors(release, given)
    assert served.kinds == expected.kinds
    assert set(served.kinds) == {"unconditioned", "implicit", "explicit"}
    assert (served.mask_BK == expected.mask_BK).all()
    assert (served.topic_BK == expected.topic_BK).all()
    assert served.events_B is not None
    assert expected.events_B is not None
    assert (served.events_B == expected.events_B).all()
    np.testing.assert_allclose(served.vectors_BKD[served.mask_BK], expected.vectors_BKD[served.mask_BK], atol=1e-5)
    np.testing.assert_allclose(served.weight_BK, expected.weight_BK, atol=1e-5)
    np.testing.assert_allclose(release.index.vectors(np.arange(1, data.n_items + 1)), run.item_vectors()[1:])
    assert release.user_ids.to_list() == data.user_ids.to_list()
    stored = gather_histories(release, users, release.event_offset[1:], LENGTH)
    for ours, theirs in zip(stored, gather_histories(data, users, data.event_offset[1:], LENGTH), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for user in users.tolist():
        events = data.event_item[data.event_offset[user] : data.event_offset[user + 1]]
        assert release.seen_items(user).tolist() == sorted(set(events.tolist()) - {0})
    assert np.diff(data.event_offset).max() > LENGTH, "a history longer than the tower sees is among them"


def test_a_run_answers_in_memory_as_its_release_does(run: TrainedRun, releases: Path):
    """The towers of torch and of ONNX differ by rounding, so scores are close and the lists equal."""
    retriever, data = Retriever.open(releases), run.prepared
    described = {"history": data.items["item_id"][:5].to_list(), "followed_topics": data.topics[1:3]}
    asked = [*({"user_id": user} for user in data.user_ids.to_list()), described, {"user_id": 10**9}]
    for who in asked:
        ours, theirs = run.recommend(**who, n=20), retriever.recommend(**who, n=20)
        assert [one.item_id for one in ours.candidates] == [one.item_id for one in theirs.candidates]
        assert [one.because for one in ours.candidates] == [one.because for one in theirs.candidates]
        assert [one.name for one in ours.interests] == [one.name for one in theirs.interests]
        np.testing.assert_allclose(
            [one.score for one in ours.candidates], [one.score for one in theirs.candidates], atol=1e-5
        )
    assert not np.allclose(run.item_vectors()[1:], np.roll(run.item_vectors()[1:], 1, axis=0)), "the control"


def test_it_serves_in_a_process_without_torch(releases: Path):
    code = (
        "import sys; from multitudes import Retriever; r = Retriever.open(sys.argv[1]);"
        "answers = list(r.recommend_all(n=5)); assert all(len(a.candidates) == 5 for a in answers);"
        "assert not any(name.partition('.')[0] == 'torch' for name in sys.modules); print(len(answers))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(releases)], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout) == ("", "60\n")


def test_a_tower_that_differs_from_its_model_is_refused_and_nothing_is_published(
    data: PreparedData, run: TrainedRun, releases: Path, monkeypatch, tmp_path: Path
):
    served = ReleaseStore(releases).folder()
    export_nothing(monkeypatch, served / USER_TOWER, served / ITEM_TOWER)
    other = trained(data, tmp_path / "run", seed=1)
    with pytest.raises(ArtefactError, match=r"user tower differs from the model by .* Nothing was published"):
        publish(other.path, tmp_path / "releases")
    assert publish(run.path, tmp_path / "releases").version == "0001"  # the control: with its own tower it passes
    with torch.no_grad():
        other.model.items.topic_embedding.weight += 1
    export_item_tower(other, tmp_path / "other.onnx")
    export_nothing(monkeypatch, served / USER_TOWER, tmp_path / "other.onnx")
    with pytest.raises(ArtefactError, match=r"item tower differs from the model by .* Nothing was published"):
        publish(run.path, tmp_path / "releases")
    assert ReleaseStore(tmp_path / "releases").versions() == ["0001"]


def test_a_folder_of_something_else_takes_no_release(run: TrainedRun):
    folder = run.prepared.path
    before = sorted(folder.rglob("*"))
    with pytest.raises(UsageError, match="holds something else than releases; give a new folder"):
        publish(run.path, folder)
    assert sorted(folder.rglob("*")) == before


def test_a_new_item_gets_the_vector_that_its_description_has_in_the_model(run: TrainedRun, releases: Path, tmp_path):
    data, item = run.prepared, int(np.diff(run.prepared.item_topic_offset).argmax())
    topics = [data.topics[topic] for topic in np.split(data.item_topic, data.item_topic_offset[1:-1])[item]]
    pl.DataFrame({"item_id": [10_001, 10_002], "topics": [topics, []]}).write_parquet(tmp_path / "new.parquet")
    copytree(releases, tmp_path / "releases")
    add_items(tmp_path / "releases", tmp_path / "new.parquet")
    release, number = Release.open(tmp_path / "releases"), data.n_items + 1
    (input_D,), (vector_D,) = vectors_without_ids(run, np.array([item]))
    np.testing.assert_allclose(release.input_vectors(np.array([number]))[0], input_D, atol=1e-5)
    np.testing.assert_allclose(release.index.vectors(np.array([number]))[0], vector_D, atol=1e-5)
    assert not np.allclose(release.index.vectors(np.array([number + 1]))[0], vector_D, atol=1e-5)  # the control
    assert number in release.index.items_of(data.topics.index(topics[0]))
    assert release.item_usable[number:].tolist() == [True, False]


def test_interests_in_another_order_are_the_same_and_of_another_kind_or_weight_are_not():
    kinds: tuple[InterestKind, ...] = ("unconditioned", "implicit", "implicit", "explicit")
    vectors = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    weights, nothing = np.array([[1, 0.3, 0.7, 1]], dtype=np.float32), np.zeros((1, 4), dtype=np.int64)
    expected = UserVectors(kinds, vectors, weights, np.ones((1, 4), dtype=np.bool_), nothing, nothing)

    def apart(order: list[int], weight_order: list[int]) -> float:
        served = expected._replace(vectors_BKD=vectors[:, order], weight_BK=expected.weight_BK[:, weight_order])
        return permuted_difference(served, expected, 0, 1.0)

    assert apart([0, 2, 1, 3], [0, 2, 1, 3]) == 0
    assert apart([0, 2, 1, 3], [0, 1, 2, 3]) == pytest.approx(0.004)
    assert apart([1, 0, 2, 3], [1, 0, 2, 3]) > 1
    assert apart([0, 1, 1, 3], [0, 1, 1, 3]) == float("inf")


def test_the_gate_publishes_what_is_no_worse_and_nothing_else(run, data, tmp_path, monkeypatch):
    root = tmp_path / "releases"
    monkeypatch.setattr(gate_room, "_MIN_USERS", 3)  # of a small world
    gate = GateConfig(n=10, margin=0.05, max_degraded=1)
    first = publish(run.path, root, gate=gate).gate
    assert first is not None
    assert first.serving is None, "the first release only has to answer"
    again = publish(run.path, root, gate=gate).gate
    assert again is not None
    assert (again.serving, again.difference, again.low) == ("0001", 0.0, 0.0), "a release is no worse than itself"
    assert again.recall == first.recall > 0
    serving = Retriever.open(root)
    worse: Any = EmptyRetriever(serving)
    with pytest.raises(
        ArtefactError, match=r"recall@10 is 0\.0000, and .* the gate needs at least .* Nothing was published"
    ):
        check_gate(worse, serving, data, gate)
    half: Any = EmptyRetriever(serving, every=2)
    with pytest.raises(ArtefactError, match="an interval that is not below zero"):  # of a loss within the margin
        check_gate(half, serving, data, GateConfig(n=10, margin=0.99, max_degraded=1))
    rare: Any = EmptyRetriever(serving, every=40)
    assert check_gate(rare, serving, data, GateConfig(n=10, margin=0.99, max_degraded=1)).recall > 0, "nothing is shown"
    monkeypatch.setattr(gate_room, "_MIN_USERS", 10_000)
    with pytest.raises(ArtefactError, match="users of the validation split have a history and a new target"):
        publish(run.path, root, gate=gate)
    monkeypatch.setattr(gate_room, "_MIN_USERS", 3)
    with pytest.raises(ArtefactError, match=r"answered 100\.0% of .* than its full method; at most .* Nothing was"):
        check_gate(worse, serving, data, GateConfig(n=10, max_degraded=0))
    with pytest.raises(ArtefactError, match=r"answered 100\.0% of .* than its full method"):  # nor is it a measure
        check_gate(serving, worse, data, GateConfig(n=10, max_degraded=0))
    names = SimpleNamespace(numbers=lambda ids: np.zeros(len(ids), dtype=np.int64))
    foreign: Any = SimpleNamespace(release=SimpleNamespace(path=root, item_names=names))
    with pytest.raises(ArtefactError, match=r"has none of the items of .* so there is nothing to compare"):
        check_gate(serving, foreign, data, gate)
    assert ReleaseStore(root).versions() == ["0001", "0002"]


class EmptyRetriever:
    """Answers as a retriever, but every so many requests without a candidate."""

    def __init__(self, retriever: Retriever, every: int = 1) -> None:
        self._retriever, self.release, self._every = retriever, retriever.release, every

    def answer(self, requests):
        empty = SimpleNamespace(candidates=(), degraded=True)
        return [answer if i % self._every else empty for i, answer in enumerate(self._retriever.answer(requests))]
