"""A published run serves what its model says, without torch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from multitudes.batches.histories import follows, gather
from multitudes.cli.main import run as command
from multitudes.data.planted import PlantedConfig, plant, write
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import Prepared
from multitudes.errors import ArtefactError
from multitudes.nn.user_config import UserTowerConfig
from multitudes.publish.publish import publish, recent_events, seen_items
from multitudes.release.release import USER_TOWER, Release
from multitudes.release.store import ReleaseStore
from multitudes.retrieve.plan import RetrieveConfig
from multitudes.retrieve.retriever import Retriever
from multitudes.retrieve.tower import user_vectors
from multitudes.train.config import RunConfig, TrainConfig
from multitudes.train.loop import train
from multitudes.train.run import TrainedRun

LENGTH = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder: Path = tmp_path_factory.mktemp("planted")
    write(plant(PlantedConfig(users=60, items=90, events=1_500, niches=9, topics=6)), folder / "data")
    prepare(folder / "data", folder / "prepared", PrepareConfig(split="user"))
    return Prepared.open(folder / "prepared")


def trained(data: Prepared, out: Path, seed: int) -> TrainedRun:
    model = UserTowerConfig.model_validate({"width": 16, "history": LENGTH})
    return train(data, RunConfig(method="joint", seed=seed, model=model, train=TrainConfig(epochs=1)), out)


@pytest.fixture(scope="module")
def run(data: Prepared, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return trained(data, tmp_path_factory.mktemp("run") / "run", seed=0)


@pytest.fixture(scope="module")
def releases(run: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("releases")
    assert command(["publish", str(run.path), "--to", str(root), "--json"]) == 0
    return root


def copying(tower: Path):
    """Stand in for the export, which takes seconds: the release gets this tower."""

    def export(run, file, topics):
        shutil.copy(tower, file)

    return export


def test_the_command_says_what_was_checked(run, releases, monkeypatch, tmp_path, capsys):
    served = ReleaseStore(releases).folder() / USER_TOWER
    monkeypatch.setattr("multitudes.publish.onnx.export_user_tower", copying(served))
    assert command(["publish", str(run.path), "--to", str(tmp_path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (record["version"], record["checked_users"]) == ("0001", 60)
    unchanged = {"added": 0, "replaced": 0, "removed": 0}
    assert record["index"] == {"kind": "exact", "items": run.prepared.n_items, "dimension": 16} | unchanged


def test_the_release_gives_the_vectors_of_the_model(run: TrainedRun, releases: Path):
    release, data = Release.open(releases), run.prepared
    users = np.arange(data.n_users)
    histories = gather(data, users, data.event_offset[1:], LENGTH)
    topics = follows(data, users)[:, : RetrieveConfig().topics_per_request]
    expected, served = run.user_vectors(histories, topics), user_vectors(release, histories, topics)
    assert served.kinds == expected.kinds
    assert set(served.kinds) == {"unconditioned", "implicit", "explicit"}
    assert (served.mask_BK == expected.mask_BK).all()
    assert (served.topic_BK == expected.topic_BK).all()
    np.testing.assert_allclose(served.vectors_BKD[served.mask_BK], expected.vectors_BKD[served.mask_BK], atol=1e-5)
    np.testing.assert_allclose(served.weight_BK, expected.weight_BK, atol=1e-5)
    np.testing.assert_allclose(release.index.vectors(np.arange(1, data.n_items + 1)), run.item_vectors()[1:])


def test_the_release_knows_each_user_as_the_data_does(run: TrainedRun, releases: Path):
    release, data = Release.open(releases), run.prepared
    users = np.arange(data.n_users)
    assert release.user_ids.to_list() == data.user_ids.to_list()
    stored = gather(release, users, release.event_offset[1:], LENGTH)
    for ours, theirs in zip(stored, gather(data, users, data.event_offset[1:], LENGTH), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for user in users.tolist():
        events = data.event_item[data.event_offset[user] : data.event_offset[user + 1]]
        assert release.seen(user).tolist() == sorted(set(events.tolist()) - {0})
    assert np.diff(data.event_offset).max() > LENGTH, "a history longer than the tower sees is among them"


def test_only_the_most_recent_events_are_kept_and_everything_is_seen(data: Prepared):
    short = recent_events(data, 3)
    assert (np.diff(short["event_offset"]) == np.minimum(np.diff(data.event_offset), 3)).all()
    for user in range(data.n_users):
        mine = short["event_time"][short["event_offset"][user] : short["event_offset"][user + 1]]
        theirs = data.event_time[data.event_offset[user] : data.event_offset[user + 1]]
        assert (mine == theirs[-3:]).all()
    assert len(seen_items(data)["seen_offset"]) == data.n_users + 1


def test_it_serves_in_a_process_without_torch(releases: Path):
    code = (
        "import sys; from multitudes import Retriever; r = Retriever.open(sys.argv[1]);"
        "answers = list(r.recommend_all(n=5)); assert all(len(a.candidates) == 5 for a in answers);"
        "assert not any(name.partition('.')[0] == 'torch' for name in sys.modules); print(len(answers))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(releases)], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout) == ("", "60\n")


def test_candidates_are_unseen_and_name_their_interest(releases: Path, run: TrainedRun):
    retriever = Retriever.open(releases)
    for user, answer in enumerate(retriever.recommend_all(n=10)):
        items = [int(np.flatnonzero(retriever.release.items["item_id"] == c.item_id)[0]) + 1 for c in answer.candidates]
        assert not set(items) & set(retriever.release.seen(user).tolist())
        assert all(c.interest in c.found_by for c in answer.candidates if c.interest is not None)


def test_a_tower_that_differs_from_its_model_is_refused_and_nothing_is_published(
    data: Prepared, run: TrainedRun, releases: Path, monkeypatch, tmp_path: Path
):
    foreign = ReleaseStore(releases).folder() / USER_TOWER
    monkeypatch.setattr("multitudes.publish.onnx.export_user_tower", copying(foreign))
    other = trained(data, tmp_path / "run", seed=1)
    with pytest.raises(ArtefactError, match=r"differs from the model by .* Nothing was published"):
        publish(other.path, tmp_path / "releases")
    assert ReleaseStore(tmp_path / "releases").versions() == []
    assert publish(run.path, tmp_path / "releases").version == "0001"  # the control: with its own tower it passes


def test_a_run_that_is_not_there_is_refused(tmp_path: Path, capsys):
    assert command(["publish", str(tmp_path / "no-run"), "--to", str(tmp_path / "releases")]) == 4
    assert not (tmp_path / "releases").exists()
